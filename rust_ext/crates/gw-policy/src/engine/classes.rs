//! Classes of nodes and the links between them.
use super::atoms::{Atom, POSTURE};
use super::links::{ClassId, Link, Reach};
use super::portsets::PortSetId;
use rustc_hash::FxHashMap;

/// Nodes with the same atoms, of identity or of addresses.
#[derive(Debug, Clone, Default)]
pub struct Class {
    pub atoms: Box<[Atom]>,
    pub of_addresses: bool,
    /// Slots of the nodes in it, in order.
    pub members: Vec<u32>,
}

#[derive(Debug, Clone, Default)]
pub struct Classes {
    pub list: Vec<Class>,
    by_atoms: [FxHashMap<Box<[Atom]>, ClassId>; 2],
    /// Classes that have an atom.
    by_atom: FxHashMap<Atom, Vec<ClassId>>,
}

impl Classes {
    pub fn find(&self, atoms: &[Atom], of_addresses: bool) -> Option<ClassId> {
        self.by_atoms[usize::from(of_addresses)].get(atoms).copied()
    }

    pub fn add(&mut self, atoms: Vec<Atom>, of_addresses: bool) -> ClassId {
        let id = self.list.len() as ClassId;
        let atoms: Box<[Atom]> = atoms.into();
        for atom in &atoms {
            self.by_atom.entry(*atom).or_default().push(id);
        }
        self.by_atoms[usize::from(of_addresses)].insert(atoms.clone(), id);
        self.list.push(Class { atoms, of_addresses, members: Vec::new() });
        id
    }

    pub fn with_atom(&self, atom: Atom) -> &[ClassId] {
        self.by_atom.get(&atom).map_or(&[], Vec::as_slice)
    }

    pub fn get(&self, id: ClassId) -> &Class {
        &self.list[id as usize]
    }

    pub fn insert(&mut self, id: ClassId, slot: u32) {
        let members = &mut self.list[id as usize].members;
        if let Err(place) = members.binary_search(&slot) {
            members.insert(place, slot);
        }
    }

    pub fn remove(&mut self, id: ClassId, slot: u32) {
        let members = &mut self.list[id as usize].members;
        if let Ok(place) = members.binary_search(&slot) {
            members.remove(place);
        }
    }
}

/// More pairs of atoms than this are not written out for one link.
const PLAIN_PAIRS: usize = 256;

/// Links by what they ask of either side.
#[derive(Debug, Clone, Default)]
pub struct Links {
    pub list: Vec<Link>,
    by_source: FxHashMap<Atom, Vec<u32>>,
    by_target: FxHashMap<Atom, Vec<u32>>,
    /// Plain links between nodes, written out: what an atom reaches, and what reaches it.
    out: FxHashMap<Atom, Vec<(Atom, PortSetId)>>,
    into: FxHashMap<Atom, Vec<Atom>>,
    /// The same as `out` of links between prefixes.
    between: FxHashMap<Atom, Vec<(Atom, PortSetId)>>,
    /// Links between nodes that are not plain, by what they name.
    special_sources: FxHashMap<Atom, Vec<u32>>,
    special_targets: FxHashMap<Atom, Vec<u32>>,
    /// Links between nodes whose source, target, or both may be any.
    pub from_any: Vec<u32>,
    pub to_any: Vec<u32>,
    pub any_to_any: Vec<u32>,
    /// Links between devices of one owner.
    pub own: Vec<u32>,
    /// Links of address queries only.
    pub routed: Vec<u32>,
    attached: usize,
    highest_atom: Atom,
}

/// Neither side is any, nothing more is asked, and it is small enough to be written out.
fn is_plain(link: &Link) -> bool {
    let pairs = link.sources.atoms.len() * link.targets.atoms.len();
    link.reach == Reach::Nodes && link.needs.is_empty() && (1..=PLAIN_PAIRS).contains(&pairs)
}

impl Links {
    /// Keep a link that is not in force yet.
    pub fn keep(&mut self, link: Link) -> u32 {
        self.list.push(link);
        self.list.len() as u32 - 1
    }

    /// Put a link in force.
    pub fn attach(&mut self, id: u32) {
        let Self { list, by_source, by_target, special_sources, special_targets, .. } = self;
        let link = &list[id as usize];
        match (link.reach, link.sources.any, link.targets.any) {
            (Reach::Routed, ..) => self.routed.push(id),
            (Reach::Own, ..) => self.own.push(id),
            (Reach::Nodes, true, true) => self.any_to_any.push(id),
            (Reach::Nodes, true, false) => self.from_any.push(id),
            (Reach::Nodes, false, true) => self.to_any.push(id),
            _ => {}
        }
        let name = |index: &mut FxHashMap<Atom, Vec<u32>>, atoms: &[Atom]| {
            atoms.iter().for_each(|atom| index.entry(*atom).or_default().push(id));
        };
        if link.reach != Reach::Routed {
            name(by_source, &link.sources.atoms);
            name(by_target, &link.targets.atoms);
        }
        if is_plain(link) {
            let out = if link.is_between_prefixes() { &mut self.between } else { &mut self.out };
            for source in &link.sources.atoms {
                let out = out.entry(*source).or_default();
                out.extend(link.targets.atoms.iter().map(|target| (*target, link.ports)));
            }
            for target in &link.targets.atoms {
                self.into.entry(*target).or_default().extend(&link.sources.atoms);
            }
        } else if link.reach == Reach::Nodes {
            name(special_sources, &link.sources.atoms);
            name(special_targets, &link.targets.atoms);
        }
        self.attached += 1;
        let atoms = link.sources.atoms.iter().chain(&link.targets.atoms);
        self.highest_atom = atoms.fold(self.highest_atom, |highest, atom| highest.max(*atom));
    }

    /// Whether no link is in force.
    pub fn is_empty(&self) -> bool {
        self.attached == 0
    }

    /// No link in force names a higher one.
    pub fn highest_atom(&self) -> Atom {
        self.highest_atom
    }

    /// Put a link out of force.
    pub fn detach(&mut self, id: u32) {
        self.attached -= 1;
        let link = self.list[id as usize].clone();
        let drop = |list: &mut Vec<u32>| list.retain(|other| *other != id);
        for atom in &link.sources.atoms {
            self.by_source.get_mut(atom).map(drop);
            self.special_sources.get_mut(atom).map(drop);
        }
        for atom in &link.targets.atoms {
            self.by_target.get_mut(atom).map(drop);
            self.special_targets.get_mut(atom).map(drop);
        }
        let Self { from_any, to_any, any_to_any, own, routed, .. } = self;
        for list in [from_any, to_any, any_to_any, own, routed] {
            drop(list);
        }
        if is_plain(&link) {
            self.write_anew(&link);
        }
    }

    /// Write out again what the atoms of a link that is gone reach and are reached by.
    fn write_anew(&mut self, gone: &Link) {
        let Self { list, by_source, by_target, into, .. } = self;
        let is_between = gone.is_between_prefixes();
        let out = if is_between { &mut self.between } else { &mut self.out };
        for atom in &gone.sources.atoms {
            let links =
                by_source.get(atom).into_iter().flatten().map(|id| &list[*id as usize]).filter(|link| is_plain(link));
            let links = links.filter(|link| link.is_between_prefixes() == is_between);
            let pairs = links.flat_map(|link| link.targets.atoms.iter().map(|target| (*target, link.ports)));
            out.insert(*atom, pairs.collect());
        }
        for atom in &gone.targets.atoms {
            let links =
                by_target.get(atom).into_iter().flatten().map(|id| &list[*id as usize]).filter(|link| is_plain(link));
            into.insert(*atom, links.flat_map(|link| link.sources.atoms.iter().copied()).collect());
        }
    }

    pub fn get(&self, id: u32) -> &Link {
        &self.list[id as usize]
    }

    /// What atoms reach by plain links.
    pub fn out<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = &'a (Atom, PortSetId)> {
        self.out_beside(atoms).chain(self.out_between(atoms))
    }

    /// The same by links between prefixes.
    pub fn out_between<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = &'a (Atom, PortSetId)> {
        atoms.iter().filter_map(|atom| self.between.get(atom)).flatten()
    }

    /// The same by all others.
    pub fn out_beside<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = &'a (Atom, PortSetId)> {
        atoms.iter().filter_map(|atom| self.out.get(atom)).flatten()
    }

    /// What reaches atoms by plain links.
    pub fn into<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = &'a Atom> {
        atoms.iter().filter_map(|atom| self.into.get(atom)).flatten()
    }

    /// Links between nodes, other than plain ones, that atoms are a source of by name.
    pub fn special_from<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = &'a Link> {
        let links = self.named(&self.special_sources, atoms).map(|(_, link)| link);
        links.filter(|link| meets(&link.needs, atoms))
    }

    /// Links between nodes, other than plain ones, that atoms are a target of by name.
    pub fn special_to<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = &'a Link> {
        self.named(&self.special_targets, atoms).map(|(_, link)| link)
    }

    /// Links that atoms are a source of by name, `any` apart. A link may come more than once.
    pub fn from<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = (u32, &'a Link)> {
        self.named(&self.by_source, atoms).filter(|(_, link)| meets(&link.needs, atoms))
    }

    /// Links that atoms are a source of by name, whatever else they ask.
    pub fn sourced<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = &'a Link> {
        self.named(&self.by_source, atoms).map(|(_, link)| link)
    }

    /// Links that atoms are a target of by name, `any` apart. A link may come more than once.
    pub fn to<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = (u32, &'a Link)> {
        self.named(&self.by_target, atoms)
    }

    /// Links that name one of these atoms on either side, whatever else they ask.
    pub fn naming<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = &'a Link> {
        self.named(&self.by_source, atoms).chain(self.named(&self.by_target, atoms)).map(|(_, link)| link)
    }

    fn named<'a>(
        &'a self,
        index: &'a FxHashMap<Atom, Vec<u32>>,
        atoms: &'a [Atom],
    ) -> impl Iterator<Item = (u32, &'a Link)> {
        atoms.iter().filter_map(|atom| index.get(atom)).flatten().map(|id| (*id, &self.list[*id as usize]))
    }

    /// Whether links name an atom as a target.
    pub fn is_target(&self, atom: Atom) -> bool {
        self.by_target.get(&atom).is_some_and(|links| !links.is_empty())
    }
}

/// Whether one of the postures asked for holds.
pub fn meets(needs: &[Atom], atoms: &[Atom]) -> bool {
    needs.is_empty() || needs.iter().any(|need| need & 7 == POSTURE && atoms.binary_search(need).is_ok())
}

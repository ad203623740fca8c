//! Classes of nodes and the links between them.
use super::atoms::{Atom, POSTURE};
use super::links::{ClassId, Link, Reach};
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
    /// Classes of identity that have an atom, for filters.
    by_atom: FxHashMap<Atom, Vec<ClassId>>,
}

impl Classes {
    pub fn find(&self, atoms: &[Atom], of_addresses: bool) -> Option<ClassId> {
        self.by_atoms[usize::from(of_addresses)].get(atoms).copied()
    }

    pub fn add(&mut self, atoms: Vec<Atom>, of_addresses: bool) -> ClassId {
        let id = self.list.len() as ClassId;
        let atoms: Box<[Atom]> = atoms.into();
        for atom in atoms.iter().filter(|_| !of_addresses) {
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

/// Links by what they ask of either side.
#[derive(Debug, Clone, Default)]
pub struct Links {
    pub list: Vec<Link>,
    by_source: FxHashMap<Atom, Vec<u32>>,
    by_target: FxHashMap<Atom, Vec<u32>>,
    /// Links between nodes whose source, target, or both may be any.
    pub from_any: Vec<u32>,
    pub to_any: Vec<u32>,
    pub any_to_any: Vec<u32>,
    /// Links between devices of one owner, for any source.
    pub own_any: Vec<u32>,
    /// Links of address queries only.
    pub routed: Vec<u32>,
    dead: Vec<bool>,
}

impl Links {
    /// Add a link; its classes stay to be found.
    pub fn add(&mut self, link: Link) -> u32 {
        let id = self.list.len() as u32;
        self.index(&link, id);
        self.list.push(link);
        self.dead.push(false);
        id
    }

    fn index(&mut self, link: &Link, id: u32) {
        match (link.reach, link.sources.any, link.targets.any) {
            (Reach::Routed, ..) => self.routed.push(id),
            (Reach::Own, true, _) => self.own_any.push(id),
            (Reach::Nodes, true, true) => self.any_to_any.push(id),
            (Reach::Nodes, true, false) => self.from_any.push(id),
            (Reach::Nodes, false, true) => self.to_any.push(id),
            _ => {}
        }
        if link.reach == Reach::Routed {
            return;
        }
        for atom in &link.sources.atoms {
            self.by_source.entry(*atom).or_default().push(id);
        }
        for atom in &link.targets.atoms {
            self.by_target.entry(*atom).or_default().push(id);
        }
    }

    /// Forget a link. Its number is not used again.
    pub fn remove(&mut self, id: u32) {
        let link = self.list[id as usize].clone();
        self.dead[id as usize] = true;
        let drop = |list: &mut Vec<u32>| list.retain(|other| *other != id);
        for atom in &link.sources.atoms {
            self.by_source.get_mut(atom).map(drop);
        }
        for atom in &link.targets.atoms {
            self.by_target.get_mut(atom).map(drop);
        }
        for list in [&mut self.from_any, &mut self.to_any, &mut self.any_to_any, &mut self.own_any, &mut self.routed] {
            drop(list);
        }
    }

    pub fn is_dead(&self, id: u32) -> bool {
        self.dead[id as usize]
    }

    pub fn get(&self, id: u32) -> &Link {
        &self.list[id as usize]
    }

    /// Links that atoms are a source of by name, `any` apart. A link may come more than once.
    pub fn from<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = (u32, &'a Link)> {
        self.named(&self.by_source, atoms).filter(|(_, link)| meets(&link.needs, atoms))
    }

    /// Links that atoms are a target of by name, `any` apart. A link may come more than once.
    pub fn to<'a>(&'a self, atoms: &'a [Atom]) -> impl Iterator<Item = (u32, &'a Link)> {
        self.named(&self.by_target, atoms)
    }

    fn named<'a>(
        &'a self,
        index: &'a FxHashMap<Atom, Vec<u32>>,
        atoms: &'a [Atom],
    ) -> impl Iterator<Item = (u32, &'a Link)> {
        atoms.iter().filter_map(|atom| index.get(atom)).flatten().map(|id| (*id, &self.list[*id as usize]))
    }

    /// Put a new class into the links that it is on a side of.
    pub fn place(&mut self, id: ClassId, atoms: &[Atom]) {
        let Self { list, by_source, by_target, .. } = self;
        for atom in atoms {
            for link in by_source.get(atom).into_iter().flatten() {
                let link = &mut list[*link as usize];
                if link.sources.classes.last() != Some(&id) && meets(&link.needs, atoms) {
                    link.sources.classes.push(id);
                }
            }
            for link in by_target.get(atom).into_iter().flatten() {
                let classes = &mut list[*link as usize].targets.classes;
                if classes.last() != Some(&id) {
                    classes.push(id);
                }
            }
        }
    }
}

/// Whether one of the postures asked for holds.
pub fn meets(needs: &[Atom], atoms: &[Atom]) -> bool {
    needs.is_empty() || needs.iter().any(|need| need & 7 == POSTURE && atoms.binary_search(need).is_ok())
}

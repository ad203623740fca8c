//! Which nodes a class sees: rows of the class-by-class relation, kept while they are asked for.
use super::atoms::Atom;
use super::classes::{Class, meets};
use super::links::{Both, ClassId, Effect, Link};
use super::{Engine, Slot, bits};
use roaring::RoaringBitmap;

/// Changes of membership after which members are packed anew.
const LOG_LIMIT: usize = 1 << 12;

/// Where fewer than one in so many are members, these are looked up; else all nodes are asked.
const SPARSE: usize = 8;

/// The classes that one class sees.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// One bit per class; not looked at when `all` holds.
    pub classes: Vec<u64>,
    pub all: bool,
}

impl Seen {
    /// The classes that are seen once and not the other time, one bit each.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u64> + 'a {
        let word = |seen: &Self, place: usize| match seen.all {
            true => u64::MAX,
            false => seen.classes.get(place).copied().unwrap_or(0),
        };
        (0..).map(move |place| word(self, place) ^ word(other, place))
    }
}

/// What one class sees.
#[derive(Debug, Clone, Default)]
struct View {
    seen: Seen,
    nodes: RoaringBitmap,
    /// Changes up to this one are in `nodes`; none where it was not asked for.
    stamp: Option<u64>,
}

/// Rows that have been asked for, and what changed since.
#[derive(Debug, Clone, Default)]
pub struct Views {
    rows: Both<Vec<Option<Box<View>>>>,
    log: Vec<(ClassId, u32, bool)>,
    trimmed: u64,
    /// Members of all classes one after another, as before the log, and where each class begins.
    packed: Vec<u32>,
    starts: Vec<u32>,
    /// The same by slot: the classes of a node's identity and of its addresses, or one more than there are.
    homes: Vec<[u32; 2]>,
    /// One bit per slot and one byte per class, for building rows.
    scratch: Vec<u8>,
    seen: Vec<u8>,
}

impl Views {
    fn now(&self) -> u64 {
        self.trimmed + self.log.len() as u64
    }

    /// Note that a slot came into a class or went.
    pub fn note(&mut self, class: ClassId, slot: u32, came: bool) {
        self.log.push((class, slot, came));
    }

    /// Whether so much has changed since members were last packed that packing them again pays.
    fn is_packed_late(&self) -> bool {
        self.starts.is_empty() || self.log.len() >= LOG_LIMIT
    }

    /// Take the members as they are; rows that have not taken in the log are forgotten with it.
    fn pack(&mut self, classes: &[Class]) {
        self.trimmed += self.log.len() as u64;
        self.log.clear();
        self.packed.clear();
        self.starts.clear();
        self.homes.clear();
        let slots = classes.iter().filter_map(|class| class.members.last()).max().map_or(0, |last| *last as usize + 1);
        self.homes.resize(slots, [classes.len() as u32; 2]);
        for (id, class) in classes.iter().enumerate() {
            self.starts.push(self.packed.len() as u32);
            self.packed.extend(&class.members);
            for slot in &class.members {
                self.homes[*slot as usize][usize::from(class.of_addresses)] = id as u32;
            }
        }
        self.starts.push(self.packed.len() as u32);
    }

    /// Members of classes as they were packed, one bit per slot of `slots`.
    fn gather(&mut self, classes: &[u64], slots: usize) {
        let Self { starts, packed, homes, scratch, seen, .. } = self;
        scratch.clear();
        scratch.resize(slots.div_ceil(64) * 8, 0);
        // Classes that came after the packing have their members in the log.
        let last = starts.len() - 1;
        let known = bits(classes).take_while(|class| (*class as usize) < last);
        let ranges = known.clone().map(|class| starts[class as usize] as usize..starts[class as usize + 1] as usize);
        if ranges.clone().map(|range| range.len()).sum::<usize>() < homes.len() / SPARSE {
            for slot in ranges.flat_map(|range| &packed[range]) {
                scratch[*slot as usize / 8] |= 1 << (slot % 8);
            }
            return;
        }
        seen.clear();
        seen.resize(starts.len(), 0);
        known.for_each(|class| seen[class as usize] = 1);
        for (eight, homes) in scratch.chunks_exact_mut(8).zip(homes.chunks(64)) {
            let mut word = 0u64;
            for (bit, [identity, place]) in homes.iter().enumerate() {
                word |= u64::from(seen[*identity as usize] | seen[*place as usize]) << bit;
            }
            eight.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Whether any row is kept.
    pub fn is_used(&self, effect: Effect) -> bool {
        !self.rows.get(effect).is_empty()
    }

    pub fn forget(&mut self, effect: Effect, class: ClassId) {
        if let Some(row) = self.rows.get_mut(effect).get_mut(class as usize) {
            *row = None;
        }
    }

    /// A new class that sees `classes` (or all): rows that are kept see it too.
    pub fn widen(&mut self, effect: Effect, id: ClassId, seen: &Seen) {
        for (other, row) in self.rows.get_mut(effect).iter_mut().enumerate() {
            if let Some(row) = row
                && (seen.all || has(&seen.classes, other as ClassId))
            {
                set(&mut row.seen.classes, id);
            }
        }
    }
}

fn set(bits: &mut Vec<u64>, class: ClassId) {
    let word = class as usize / 64;
    if bits.len() <= word {
        bits.resize(word + 1, 0);
    }
    bits[word] |= 1 << (class % 64);
}

fn has(bits: &[u64], class: ClassId) -> bool {
    bits.get(class as usize / 64).is_some_and(|word| word >> (class % 64) & 1 == 1)
}

impl Engine {
    /// The classes that links of one effect connect with these atoms, either way, and whether these are all.
    pub(super) fn sight(&self, effect: Effect, atoms: &[Atom], of_addresses: bool) -> Seen {
        let links = self.links.get(effect);
        let mut all = !of_addresses && !links.any_to_any.is_empty();
        // One bit per atom: most are named by many links.
        let mut seen = vec![0u64; links.highest_atom() as usize / 64 + 1];
        let mut see = |atom: &Atom| seen[*atom as usize / 64] |= 1 << (atom % 64);
        links.out(atoms).for_each(|(target, _)| see(target));
        links.into(atoms).for_each(&mut see);
        let mut needy: Vec<&Link> = Vec::new();
        for link in links.special_from(atoms) {
            all |= link.targets.any;
            link.targets.atoms.iter().for_each(&mut see);
        }
        let wide: &[u32] = if of_addresses { &[] } else { &links.to_any };
        for link in links.special_to(atoms).chain(wide.iter().map(|id| links.get(*id))) {
            all |= link.sources.any;
            if link.needs.is_empty() { link.sources.atoms.iter().for_each(&mut see) } else { needy.push(link) }
        }
        if !of_addresses {
            links.from_any.iter().flat_map(|id| &links.get(*id).targets.atoms).for_each(&mut see);
        }
        let mut classes = vec![0u64; self.classes.list.len().div_ceil(64)];
        if !all {
            let seen: Vec<Atom> = bits(&seen).collect();
            self.mark(seen.iter(), &mut classes);
            needy.iter().for_each(|link| self.mark_sources(link, &mut classes));
        }
        Seen { classes, all }
    }

    /// Set the bits of the classes that have one of the atoms.
    pub(super) fn mark<'a>(&self, atoms: impl Iterator<Item = &'a Atom>, bits: &mut [u64]) {
        for class in atoms.flat_map(|atom| self.classes.with_atom(*atom)) {
            bits[*class as usize / 64] |= 1 << (class % 64);
        }
    }

    /// Set the bits of the classes that are sources of a link by name, under its postures.
    pub(super) fn mark_sources(&self, link: &Link, bits: &mut [u64]) {
        if link.needs.is_empty() {
            return self.mark(link.sources.atoms.iter(), bits);
        }
        for class in link.sources.atoms.iter().flat_map(|atom| self.classes.with_atom(*atom)) {
            if meets(&link.needs, &self.classes.get(*class).atoms) {
                bits[*class as usize / 64] |= 1 << (class % 64);
            }
        }
    }

    /// Members of classes, as a set.
    pub(super) fn members(&mut self, classes: &[u64]) -> RoaringBitmap {
        if self.views.is_packed_late() {
            self.views.pack(&self.classes.list);
        }
        self.views.gather(classes, self.slots.len());
        let Views { scratch, log, .. } = &mut self.views;
        for (_, slot, came) in log.iter().filter(|(class, ..)| has(classes, *class)) {
            let (byte, bit) = (*slot as usize / 8, 1 << (slot % 8));
            if *came { scratch[byte] |= bit } else { scratch[byte] &= !bit }
        }
        RoaringBitmap::from_lsb0_bytes(0, scratch)
    }

    /// The row of a class, its nodes perhaps not up to date.
    fn view(&mut self, effect: Effect, class: ClassId) -> &mut View {
        let index = class as usize;
        let rows = self.views.rows.get_mut(effect);
        if rows.len() < self.classes.list.len() {
            rows.resize(self.classes.list.len(), None);
        }
        if rows[index].is_none() {
            let own = self.classes.get(class);
            let seen = self.sight(effect, &own.atoms, own.of_addresses);
            self.views.rows.get_mut(effect)[index] = Some(Box::new(View { seen, ..View::default() }));
        }
        self.views.rows.get_mut(effect)[index].get_or_insert_default()
    }

    /// The classes that links of one effect connect with one.
    pub(super) fn seen_by(&mut self, effect: Effect, class: ClassId) -> Seen {
        self.view(effect, class).seen.clone()
    }

    pub(super) fn nodes_of(&mut self, seen: &Seen) -> RoaringBitmap {
        if seen.all { self.everyone.clone() } else { self.members(&seen.classes) }
    }

    /// The nodes that links of one effect connect with a class, brought up to date. Everyone comes as `None`.
    pub(super) fn row(&mut self, effect: Effect, class: ClassId) -> Option<&RoaringBitmap> {
        if self.views.is_packed_late() {
            self.views.pack(&self.classes.list);
        }
        let (now, trimmed) = (self.views.now(), self.views.trimmed);
        let view = self.view(effect, class);
        if view.seen.all {
            return None;
        }
        let stamp = view.stamp.filter(|stamp| *stamp >= trimmed);
        if stamp.is_none() {
            let classes = std::mem::take(&mut view.seen.classes);
            let nodes = self.members(&classes);
            *self.view(effect, class) = View { seen: Seen { classes, all: false }, nodes, stamp: Some(now) };
        }
        let Views { rows, log, .. } = &mut self.views;
        let view = rows.get_mut(effect)[class as usize].as_mut()?;
        for (changed, slot, came) in &log[(stamp.unwrap_or(now) - trimmed) as usize..] {
            if has(&view.seen.classes, *changed) {
                if *came {
                    view.nodes.insert(*slot)
                } else {
                    view.nodes.remove(*slot)
                };
            }
        }
        view.stamp = Some(now);
        Some(&view.nodes)
    }

    /// The peers with which traffic may flow, in either direction.
    pub fn visible(&mut self, id: u32) -> RoaringBitmap {
        let Some(slot) = self.slots.get(id as usize).copied().flatten() else { return RoaringBitmap::new() };
        let mut found = self.connected(Effect::Accept, slot);
        self.add_own(id, &mut found);
        found.remove(id);
        self.hide(id, slot, &mut found);
        found
    }

    /// The nodes that links of one effect connect with one in this slot, those for devices of one owner apart.
    pub(super) fn connected(&mut self, effect: Effect, slot: Slot) -> RoaringBitmap {
        let mut found = match self.row(effect, slot.identity) {
            None => self.everyone.clone(),
            Some(nodes) => nodes.clone(),
        };
        match self.row(effect, slot.place) {
            None => found = self.everyone.clone(),
            Some(nodes) => found |= nodes,
        }
        found
    }

    /// Devices of the same owner, where a rule connects these.
    pub(super) fn add_own(&self, id: u32, found: &mut RoaringBitmap) {
        if self.links.accept.own.is_empty() {
            return;
        }
        let Some(owner) = self.nodes.get(&id).and_then(|node| node.untagged_owner()) else { return };
        let Some(devices) = self.by_owner.get(&owner) else { return };
        let mine = self.is_own_source(id);
        if mine {
            devices.iter().for_each(|other| _ = found.insert(*other));
            return;
        }
        let reached = devices.iter().filter(|other| self.is_own_source(**other));
        reached.for_each(|other| _ = found.insert(*other));
    }
}

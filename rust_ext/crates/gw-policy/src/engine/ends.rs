//! Until when nodes see each other: what agents are told, so that they close windows without being told again.
use super::atoms::{Atom, IDENTITY, atom};
use super::classes::{Class, meets};
use super::links::{ClassId, Effect, Link, Reach};
use super::standing::Standing;
use super::{Engine, Slot};
use crate::window::Instant;
use roaring::RoaringBitmap;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// What ends by itself, of all that is in force: accepting rules by number, memberships by their atoms.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ends {
    rules: FxHashMap<u32, Instant>,
    atoms: FxHashMap<Atom, Instant>,
}

impl Ends {
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.atoms.is_empty()
    }

    fn of_rule(&self, link: &Link) -> Instant {
        self.rules.get(&link.rule).copied().unwrap_or(0)
    }

    fn of_atom(&self, atom: &Atom) -> Instant {
        self.atoms.get(atom).copied().unwrap_or(0)
    }
}

/// Until when a node sees those whom it will not see for good. `nodes` are those of whom something else holds than of
/// their class, 0 standing for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SightEnds {
    pub classes: Vec<(ClassId, Instant)>,
    pub nodes: Vec<(u32, Instant)>,
}

/// What is connected, and until when (0 for good).
#[derive(Debug, Default)]
struct Connected {
    /// Every class of identity.
    any: Option<Instant>,
    atoms: FxHashMap<Atom, Instant>,
    /// Sources of links that ask for more than a name.
    classes: FxHashMap<ClassId, Instant>,
}

/// The earlier of two ends, where 0 is none.
pub(super) fn earlier(one: Instant, other: Instant) -> Instant {
    if one == 0 || other == 0 { one.max(other) } else { one.min(other) }
}

/// The later of two ends, where 0 is none.
pub(super) fn later(one: Instant, other: Instant) -> Instant {
    if one == 0 || other == 0 { 0 } else { one.max(other) }
}

/// The later of two ends of what may not be at all.
fn longer(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(later(one, other)),
        (one, other) => one.or(other),
    }
}

fn lengthen<K: std::hash::Hash + Eq>(known: &mut FxHashMap<K, Instant>, key: K, end: Instant) {
    known.entry(key).and_modify(|old| *old = later(*old, end)).or_insert(end);
}

impl Engine {
    /// Look anew at what ends by itself. Attributes that members of groups have for a time count for the filter alone:
    /// a class does not know whether its nodes have them for another reason as well.
    pub(super) fn restate(&mut self) {
        let mut ends = Ends::default();
        for made in self.rules.iter().chain(self.access.iter().map(|(_, made)| made)) {
            if let Standing::Open(until @ 1..) = made.standing
                && !made.rule.denies()
            {
                ends.rules.insert(made.number, until);
            }
        }
        for (known, standing) in self.policy.memberships.iter().zip(&self.memberships) {
            if let Standing::Open(until @ 1..) = standing {
                ends.atoms.insert(atom(known.selector, IDENTITY), *until);
            }
        }
        self.ends = ends;
    }

    /// Until when a node sees those whom it will not see for good.
    pub fn sight_ends(&mut self, id: u32) -> SightEnds {
        let Some(slot) = self.slots.get(id as usize).copied().flatten() else { return SightEnds::default() };
        if self.ends.is_empty() {
            return SightEnds::default();
        }
        let seen = self.visible(id);
        let connected = self.connected_until(&[slot.identity, slot.place]);
        let classes = self.ending(&connected);
        let apart = self.apart(id, &connected, &classes);
        let mut nodes: Vec<(u32, Instant)> = Vec::new();
        for other in &(apart & &seen) {
            let Some(there) = self.slots[other as usize] else { continue };
            let told = classes.get(&there.identity).copied();
            let until = longer(self.class_end(&connected, there.identity), self.class_end(&connected, there.place));
            let until = longer(until, self.own_end((id, slot), (other, there))).unwrap_or(0);
            if until != told.unwrap_or(0) {
                nodes.push((other, until));
            }
        }
        // Classes of which denials hide everybody come and go without a word to this node.
        let is_hidden =
            |class: &Class| !self.links.deny.is_empty() && !class.members.iter().any(|id| seen.contains(*id));
        let is_told = |(id, _): &(ClassId, Instant)| {
            let class = self.classes.get(*id);
            !class.of_addresses && !is_hidden(class)
        };
        SightEnds { classes: classes.into_iter().filter(is_told).collect(), nodes }
    }

    /// The nodes that may be told of this one apart from its class, where anything ends at all.
    pub fn told_apart(&mut self, id: u32) -> RoaringBitmap {
        let Some(slot) = self.slots.get(id as usize).copied().flatten() else { return RoaringBitmap::new() };
        if self.ends.is_empty() {
            return RoaringBitmap::new();
        }
        let mut found = RoaringBitmap::new();
        self.add_own(id, &mut found);
        if !self.classes.get(slot.place).atoms.is_empty() {
            found |= self.visible(id);
        }
        found.remove(id);
        found
    }

    /// The classes that one sees for a time only, and until when.
    pub(super) fn class_ends(&self, class: ClassId) -> BTreeMap<ClassId, Instant> {
        if self.ends.is_empty() { BTreeMap::new() } else { self.ending(&self.connected_until(&[class])) }
    }

    /// What links connect with these classes of one node.
    fn connected_until(&self, classes: &[ClassId]) -> Connected {
        let mut found = Connected::default();
        for class in classes {
            let class = self.classes.get(*class);
            for atom in &class.atoms {
                let end = self.ends.of_atom(atom);
                let links = self.links.get(Effect::Accept);
                let asked = std::slice::from_ref(atom);
                let out = links.sourced(asked).filter(|link| meets(&link.needs, &class.atoms));
                out.for_each(|link| self.follow_out(link, end, &mut found));
                links.to(asked).for_each(|(_, link)| self.follow_in(link, end, &mut found));
            }
            if !class.of_addresses {
                self.follow_wide(&mut found);
            }
        }
        found
    }

    /// Links that every node is a source or a target of.
    fn follow_wide(&self, found: &mut Connected) {
        let links = &self.links.accept;
        for link in links.from_any.iter().chain(&links.any_to_any).map(|id| links.get(*id)) {
            self.follow_out(link, 0, found);
        }
        for link in links.to_any.iter().map(|id| links.get(*id)) {
            self.follow_in(link, 0, found);
        }
    }

    fn follow_out(&self, link: &Link, source: Instant, found: &mut Connected) {
        if link.reach != Reach::Nodes {
            return;
        }
        let end = earlier(self.ends.of_rule(link), source);
        if link.targets.any {
            found.any = longer(found.any, Some(end));
        }
        for atom in &link.targets.atoms {
            lengthen(&mut found.atoms, *atom, earlier(end, self.ends.of_atom(atom)));
        }
    }

    fn follow_in(&self, link: &Link, target: Instant, found: &mut Connected) {
        if link.reach != Reach::Nodes {
            return;
        }
        let end = earlier(self.ends.of_rule(link), target);
        if link.sources.any {
            found.any = longer(found.any, Some(end));
        }
        for atom in &link.sources.atoms {
            let end = earlier(end, self.ends.of_atom(atom));
            if link.needs.is_empty() {
                lengthen(&mut found.atoms, *atom, end);
                continue;
            }
            let classes = self.classes.with_atom(*atom).iter();
            let holding = classes.filter(|class| meets(&link.needs, &self.classes.get(**class).atoms));
            holding.for_each(|class| lengthen(&mut found.classes, *class, end));
        }
    }

    fn class_end(&self, connected: &Connected, class: ClassId) -> Option<Instant> {
        let known = self.classes.get(class);
        let any = connected.any.filter(|_| !known.of_addresses);
        let named = known.atoms.iter().map(|atom| connected.atoms.get(atom).copied());
        named.fold(longer(any, connected.classes.get(&class).copied()), longer)
    }

    /// The classes that are connected for a time only.
    fn ending(&self, connected: &Connected) -> BTreeMap<ClassId, Instant> {
        let mut candidates: FxHashSet<ClassId> = FxHashSet::default();
        let atoms = connected.atoms.iter().filter(|(_, end)| **end != 0);
        candidates.extend(atoms.flat_map(|(atom, _)| self.classes.with_atom(*atom)));
        candidates.extend(connected.classes.iter().filter(|(_, end)| **end != 0).map(|(class, _)| class));
        if connected.any.is_some_and(|end| end != 0) {
            candidates.extend(0..self.classes.list.len() as ClassId);
        }
        let until = |class: ClassId| self.class_end(connected, class).filter(|end| *end != 0);
        candidates.into_iter().filter_map(|class| until(class).map(|end| (class, end))).collect()
    }

    /// The nodes of whom something else may hold than of their class: those that are named by their addresses as well,
    /// and devices of the same owner.
    fn apart(&self, id: u32, connected: &Connected, ending: &BTreeMap<ClassId, Instant>) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        self.add_own(id, &mut found);
        let places: FxHashSet<ClassId> =
            connected.atoms.keys().flat_map(|atom| self.classes.with_atom(*atom)).copied().collect();
        let places = places.into_iter().chain(connected.classes.keys().copied());
        for class in places.map(|class| (class, self.classes.get(class))).filter(|(_, class)| class.of_addresses) {
            let (number, class) = class;
            let ends = ending.contains_key(&number);
            let identity = |slot: &u32| self.slots[*slot as usize].map(|slot| slot.identity);
            let differs = |slot: &&u32| ends || identity(slot).is_some_and(|class| ending.contains_key(&class));
            found.extend(class.members.iter().filter(differs).copied());
        }
        found
    }

    /// Until when a rule for devices of one owner connects two of them, if one does.
    fn own_end(&self, one: (u32, Slot), other: (u32, Slot)) -> Option<Instant> {
        let owner = |id: u32| self.nodes.get(&id).and_then(|node| node.untagged_owner());
        if self.links.accept.own.is_empty() || owner(one.0).is_none() || owner(one.0) != owner(other.0) {
            return None;
        }
        let links = self.links.accept.own.iter().map(|id| self.links.accept.get(*id));
        links.flat_map(|link| [self.own_source_end(link, one.1), self.own_source_end(link, other.1)]).fold(None, longer)
    }

    /// Until when a node is a source of a link for devices of one owner, if it is.
    fn own_source_end(&self, link: &Link, slot: Slot) -> Option<Instant> {
        let (identity, place) = (&self.classes.get(slot.identity).atoms, &self.classes.get(slot.place).atoms);
        if !meets(&link.needs, identity) {
            return None;
        }
        let end = self.ends.of_rule(link);
        let named = identity.iter().chain(place.iter()).filter(|atom| link.sources.atoms.contains(atom));
        let named = named.map(|atom| Some(earlier(end, self.ends.of_atom(atom))));
        named.fold(link.sources.any.then_some(end), longer)
    }
}

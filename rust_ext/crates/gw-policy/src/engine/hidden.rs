//! What denials leave of the sight between nodes: two see each other while something that a rule accepts between
//! them, or through the routes that one of them serves, is not denied.
use super::atoms::{Atom, POSTURE, SERVED, V4, V6, VIA};
use super::classes::meets;
use super::links::{Both, Effect, Link, Reach, Side};
use super::portsets::{PortSet, SEEN};
use super::{Engine, Slot};
use crate::address::{Span, Spans};
use crate::directory::Node;
use crate::selector::Selector;
use roaring::RoaringBitmap;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// More pairs of slots than this are not looked at one by one when denials change.
const MOST_PAIRS: usize = 1 << 18;

/// With so many near, what surrounds the one that looks is worth keeping.
const FEW: u64 = 256;
/// Slots of which the surroundings are kept.
const MOST_KEPT: usize = 1024;

/// What is known of the sight between slots until links change.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Whether traffic may flow between two slots, of one owner or not.
    flows: FxHashMap<(Slot, Slot, bool), bool>,
    wide: Option<Arc<Both<Wide>>>,
    around: FxHashMap<Slot, Arc<Around>>,
}

impl Known {
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Links with any source by what they name as targets, and the other way round.
#[derive(Debug, Default)]
struct Wide {
    by_target: FxHashMap<Atom, Vec<u32>>,
    by_source: FxHashMap<Atom, Vec<u32>>,
}

/// The links that name a node, by what they name at the other end ([`ANYONE`] where that is any node).
#[derive(Debug, Default)]
struct Paths {
    out: FxHashMap<Atom, Vec<u32>>,
    into: FxHashMap<Atom, Vec<u32>>,
}

/// A node's atoms, and what links it with others.
#[derive(Debug)]
struct Around {
    atoms: Vec<Atom>,
    paths: Both<Paths>,
    wide: Arc<Both<Wide>>,
}

const ANYONE: Atom = Atom::MAX;

/// What nodes in some slots see of others, before denials change.
#[derive(Default)]
pub(super) struct Sights {
    pairs: Vec<(Slot, Slot, bool, bool)>,
    sources: FxHashMap<Slot, Vec<u32>>,
    /// There are too many to compare: all sources count as changed.
    all: bool,
}

/// A node itself, or addresses behind it.
enum Part {
    Whole,
    Behind(Vec<Span>),
}

impl Engine {
    /// Take from `found` whom denials hide from a node.
    pub(super) fn hide(&mut self, id: u32, slot: Slot, found: &mut RoaringBitmap) {
        if self.links.deny.is_empty() {
            return;
        }
        let mut near = self.connected(Effect::Deny, slot);
        let owner = self.nodes.get(&id).and_then(Node::untagged_owner);
        if let Some(owner) = owner.filter(|_| !self.links.deny.own.is_empty()) {
            near.extend(self.by_owner.get(&owner).into_iter().flatten());
        }
        near &= &*found;
        let keep = near.len() > FEW;
        for other in near {
            let Some(there) = self.slots.get(other as usize).copied().flatten() else { continue };
            let own = owner.is_some() && self.nodes.get(&other).and_then(Node::untagged_owner) == owner;
            if !self.flows(slot, there, own, keep) {
                found.remove(other);
            }
        }
    }

    /// Whether some traffic may flow between nodes in two slots, in either direction. What surrounds one of them is
    /// kept: the left one's if so asked, as of a slot about which more is asked.
    fn flows(&mut self, left: Slot, right: Slot, own: bool, keep_left: bool) -> bool {
        let key = (left.min(right), left.max(right), own);
        if let Some(known) = self.hidden.flows.get(&key) {
            return *known;
        }
        let known = |slot: &Slot| self.hidden.around.contains_key(slot);
        let is_left = known(&left) || (!known(&right) && keep_left);
        let (here, other) = if is_left { (left, right) } else { (right, left) };
        let (around, there) = (self.around(here), self.atoms_in(other));
        let flows = [true, false].into_iter().any(|leaving| self.passes(&around, &there, own, leaving));
        self.hidden.flows.insert(key, flows);
        flows
    }

    fn around(&mut self, slot: Slot) -> Arc<Around> {
        if let Some(known) = self.hidden.around.get(&slot) {
            return known.clone();
        }
        let wide = match &self.hidden.wide {
            Some(wide) => wide.clone(),
            None => Arc::new(Both { accept: self.wide(Effect::Accept), deny: self.wide(Effect::Deny) }),
        };
        self.hidden.wide = Some(wide.clone());
        let atoms = self.atoms_in(slot);
        let paths = Both { accept: self.paths(Effect::Accept, &atoms), deny: self.paths(Effect::Deny, &atoms) };
        let around = Arc::new(Around { atoms, paths, wide });
        if self.hidden.around.len() >= MOST_KEPT {
            self.hidden.around.clear();
        }
        self.hidden.around.insert(slot, around.clone());
        around
    }

    fn wide(&self, effect: Effect) -> Wide {
        let (links, mut wide) = (self.links.get(effect), Wide::default());
        for id in &links.from_any {
            note(&mut wide.by_target, &links.get(*id).targets, *id);
        }
        for id in &links.to_any {
            note(&mut wide.by_source, &links.get(*id).sources, *id);
        }
        wide
    }

    fn paths(&self, effect: Effect, atoms: &[Atom]) -> Paths {
        let (links, mut paths) = (self.links.get(effect), Paths::default());
        for (id, link) in links.from(atoms).filter(|(_, link)| link.reach == Reach::Nodes) {
            note(&mut paths.out, &link.targets, id);
        }
        for (id, link) in links.to(atoms).filter(|(_, link)| link.reach == Reach::Nodes) {
            note(&mut paths.into, &link.sources, id);
        }
        paths
    }

    /// Whether some traffic may flow from a node to another, or (not `leaving`) from the other to it.
    fn passes(&self, around: &Around, there: &[Atom], own: bool, leaving: bool) -> bool {
        let (from, to) = if leaving { (&around.atoms[..], there) } else { (there, &around.atoms[..]) };
        let denied = self.between(Effect::Deny, around, there, own, leaving).filter(|link| !link.beyond);
        let denied: Vec<&PortSet> = denied.map(|link| self.sets.get(link.ports)).collect();
        let closed = denied.iter().any(|set| set.is_everything());
        self.between(Effect::Accept, around, there, own, leaving).any(|link| match (link.beyond, link.ports) {
            (true, _) => !self.is_denied_beyond(link, from, to),
            (false, _) if closed => false,
            (false, SEEN) => !PortSet::everything().is_within(&denied),
            (false, ports) => !self.sets.get(ports).is_within(&denied),
        })
    }

    /// The links of one effect between a node and another, some more than once.
    fn between<'a>(
        &'a self,
        effect: Effect,
        around: &'a Around,
        there: &'a [Atom],
        own: bool,
        leaving: bool,
    ) -> impl Iterator<Item = &'a Link> {
        let (links, paths, wide) = (self.links.get(effect), around.paths.get(effect), around.wide.get(effect));
        let from = if leaving { &around.atoms[..] } else { there };
        let (named, others) = if leaving { (&paths.out, &wide.by_target) } else { (&paths.into, &wide.by_source) };
        let ends = there.iter().chain(std::iter::once(&ANYONE));
        let named = ends.filter_map(move |atom| named.get(atom));
        let others = there.iter().filter_map(move |atom| others.get(atom));
        let beside = links.own.iter().filter(move |id| own && names(&links.get(**id).sources, from));
        let ids = named.chain(others).flatten().chain(&links.any_to_any).chain(beside);
        ids.map(move |id| links.get(*id)).filter(move |link| meets(&link.needs, from))
    }

    fn atoms_in(&self, slot: Slot) -> Vec<Atom> {
        let mut atoms = [&*self.classes.get(slot.identity).atoms, &*self.classes.get(slot.place).atoms].concat();
        atoms.sort_unstable();
        atoms.dedup();
        atoms
    }

    /// Whether all that a link opens through routes is denied: each part of it by one denial of everything.
    fn is_denied_beyond(&self, link: &Link, from: &[Atom], to: &[Atom]) -> bool {
        let sources = self.parts(link, &link.sources, from);
        let targets = self.parts(link, &link.targets, to);
        let denials: Vec<&Link> = self
            .rules
            .iter()
            .take_while(|made| made.rule.denies())
            .filter(|made| made.standing.is_open())
            .flat_map(|made| made.links.clone())
            .map(|id| self.links.deny.get(id))
            .filter(|link| link.reach == Reach::Nodes && self.sets.get(link.ports).is_everything())
            .collect();
        sources.iter().all(|source| {
            targets.iter().all(|target| {
                denials.iter().any(|denial| {
                    self.covers(&denial.sources, source, from)
                        && meets(&denial.needs, from)
                        && self.covers(&denial.targets, target, to)
                })
            })
        })
    }

    /// What of a node a link names: itself, or addresses behind it.
    fn parts(&self, link: &Link, side: &Side, atoms: &[Atom]) -> Vec<Part> {
        if side.any {
            return vec![Part::Whole];
        }
        let named = side.atoms.iter().filter(|atom| atoms.binary_search(atom).is_ok());
        let part = |atom: &Atom| match atom & 7 {
            SERVED => Part::Behind(self.spans_of(atom >> 3)),
            VIA => {
                let made = self.made(link.rule);
                let ids = made.map_or(&[][..], |made| &made.rule.destinations);
                Part::Behind(ids.iter().flat_map(|id| self.spans_of(*id)).collect())
            }
            _ => Part::Whole,
        };
        named.map(part).collect()
    }

    /// Whether one side of a denial names a part of a node altogether.
    fn covers(&self, side: &Side, part: &Part, atoms: &[Atom]) -> bool {
        match part {
            Part::Whole => names(side, atoms),
            Part::Behind(_) if side.any => true,
            // `*` under a posture names who holds it, and all behind them.
            Part::Behind(_) if side.atoms.iter().any(|atom| atom & 7 == POSTURE) => names(side, atoms),
            Part::Behind(spans) => {
                let addresses = side.atoms.iter().filter(|atom| [V4, V6].contains(&(*atom & 7)));
                let named: Spans = addresses.flat_map(|atom| self.spans_of(atom >> 3)).collect();
                spans.iter().all(|span| named.covers(span))
            }
        }
    }

    pub(super) fn spans_of(&self, id: u32) -> Vec<Span> {
        match &self.selectors[id as usize] {
            Selector::Internet => self.catalog.public().as_slice().to_vec(),
            selector => self.policy.spans(selector).map_or(Vec::new(), |spans| spans.to_vec()),
        }
    }

    /// What the nodes of some classes see of those of others; nodes of the classes `apart` are left out.
    pub(super) fn sights(&mut self, sources: &[u64], targets: &[u64], apart: &[u64]) -> Sights {
        let mut found = Sights::default();
        if sources.iter().all(|word| *word == 0) || targets.iter().all(|word| *word == 0) {
            return found;
        }
        let is = |marks: &[u64], slot: &Slot| {
            [slot.identity, slot.place].iter().any(|class| marks[*class as usize / 64] >> (class % 64) & 1 == 1)
        };
        let mut seen: FxHashSet<Slot> = FxHashSet::default();
        for (id, slot) in self.slots.iter().enumerate().filter_map(|(id, slot)| Some((id as u32, (*slot)?))) {
            if is(targets, &slot) {
                seen.insert(slot);
            }
            if is(sources, &slot) && !is(apart, &slot) {
                found.sources.entry(slot).or_default().push(id);
            }
        }
        if found.sources.len() * seen.len() > MOST_PAIRS {
            found.all = true;
            return found;
        }
        let keep = seen.len() > found.sources.len();
        for source in found.sources.keys() {
            for target in &seen {
                for own in [false, true] {
                    let flows = self.flows(*source, *target, own, keep);
                    found.pairs.push((*source, *target, own, flows));
                }
            }
        }
        found
    }

    /// The nodes that see others than before.
    pub(super) fn changed_sights(&mut self, before: Sights) -> RoaringBitmap {
        if before.all {
            return before.sources.into_values().flatten().collect();
        }
        let mut changed = RoaringBitmap::new();
        for (source, target, own, flowed) in before.pairs {
            if self.flows(source, target, own, false) == flowed {
                continue;
            }
            let nodes = &before.sources[&source];
            changed.extend(nodes.iter().filter(|id| !own || self.has_beside(**id, target)));
        }
        changed
    }

    /// Whether the owner of a node has a device in a slot.
    fn has_beside(&self, id: u32, slot: Slot) -> bool {
        let owner = self.nodes.get(&id).and_then(Node::untagged_owner);
        let devices = owner.and_then(|owner| self.by_owner.get(&owner)).into_iter().flatten();
        devices.into_iter().any(|other| self.slots[*other as usize] == Some(slot))
    }
}

fn names(side: &Side, atoms: &[Atom]) -> bool {
    side.any || side.atoms.iter().any(|atom| atoms.binary_search(atom).is_ok())
}

fn note(index: &mut FxHashMap<Atom, Vec<u32>>, side: &Side, id: u32) {
    let anyone = side.any.then_some(&ANYONE);
    side.atoms.iter().chain(anyone).for_each(|atom| index.entry(*atom).or_default().push(id));
}

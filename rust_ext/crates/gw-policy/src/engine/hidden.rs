//! What denials leave of the sight between nodes: two see each other while something that a rule accepts between
//! them, or through the routes that one of them serves, is not denied.
use super::atoms::{Atom, SERVED, V4, V6, VIA};
use super::links::{Effect, Link, Reach, Side};
use super::portsets::{PortSet, SEEN};
use super::{Engine, Slot};
use crate::address::{Span, Spans};
use crate::directory::Node;
use crate::selector::Selector;
use roaring::RoaringBitmap;
use rustc_hash::{FxHashMap, FxHashSet};

/// More pairs of slots than this are not looked at one by one when denials change.
const MOST_PAIRS: usize = 1 << 18;

/// Whether traffic may flow between two slots, of one owner or not, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Known(FxHashMap<(Slot, Slot, bool), bool>);

impl Known {
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

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
        for other in near {
            let Some(there) = self.slots.get(other as usize).copied().flatten() else { continue };
            let own = owner.is_some() && self.nodes.get(&other).and_then(Node::untagged_owner) == owner;
            if !self.flows(slot, there, own) {
                found.remove(other);
            }
        }
    }

    /// Whether some traffic may flow between nodes in two slots, in either direction.
    fn flows(&mut self, left: Slot, right: Slot, own: bool) -> bool {
        let key = (left.min(right), left.max(right), own);
        if let Some(known) = self.hidden.0.get(&key) {
            return *known;
        }
        let flows = self.passes(left, right, own) || self.passes(right, left, own);
        self.hidden.0.insert(key, flows);
        flows
    }

    fn passes(&self, source: Slot, target: Slot, own: bool) -> bool {
        let (from, to) = (self.atoms_in(source), self.atoms_in(target));
        let denied = self.between(Effect::Deny, &from, &to, own).into_iter().filter(|link| !link.beyond);
        let denied: Vec<&PortSet> = denied.map(|link| self.sets.get(link.ports)).collect();
        self.between(Effect::Accept, &from, &to, own).into_iter().any(|link| match (link.beyond, link.ports) {
            (true, _) => !self.is_denied_beyond(link, &from, &to),
            (false, SEEN) => !PortSet::everything().is_within(&denied),
            (false, ports) => !self.sets.get(ports).is_within(&denied),
        })
    }

    fn atoms_in(&self, slot: Slot) -> Vec<Atom> {
        let mut atoms = [&*self.classes.get(slot.identity).atoms, &*self.classes.get(slot.place).atoms].concat();
        atoms.sort_unstable();
        atoms.dedup();
        atoms
    }

    /// The links of one effect from one node to another, given their atoms.
    fn between(&self, effect: Effect, from: &[Atom], to: &[Atom], own: bool) -> Vec<&Link> {
        let links = self.links.get(effect);
        let mut ids: FxHashSet<u32> = links.from(from).map(|(id, _)| id).collect();
        ids.extend(links.from_any.iter().chain(&links.any_to_any).chain(&links.own_any));
        let fits = |link: &&Link| match link.reach {
            Reach::Routed => false,
            Reach::Own => own,
            Reach::Nodes => names(&link.targets, to),
        };
        ids.into_iter().map(|id| links.get(id)).filter(fits).collect()
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
                        && super::classes::meets(&denial.needs, from)
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
            Part::Behind(spans) => {
                let addresses = side.atoms.iter().filter(|atom| [V4, V6].contains(&(*atom & 7)));
                let named: Spans = addresses.flat_map(|atom| self.spans_of(atom >> 3)).collect();
                spans.iter().all(|span| named.covers(span))
            }
        }
    }

    fn spans_of(&self, id: u32) -> Vec<Span> {
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
        for source in found.sources.keys() {
            for target in &seen {
                for own in [false, true] {
                    found.pairs.push((*source, *target, own, self.flows(*source, *target, own)));
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
            if self.flows(source, target, own) == flowed {
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

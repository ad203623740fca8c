//! Decisions without cells, from the links that name a target. Cells between all classes take the square of these in
//! memory before the first answer; this takes what links to one target name, however many classes there are.
use super::atoms::Atom;
use super::classes::meets;
use super::links::{Both, Effect, Link, Reach};
use super::portsets::{PortSetId, SEEN};
use super::{Engine, Slot};
use crate::directory::Node;

/// What some links open, by what they ask of sources.
#[derive(Default)]
struct Opened<'a> {
    anyone: Vec<PortSetId>,
    /// By atoms, in order.
    named: Vec<(Atom, PortSetId)>,
    /// The same of links that ask for more of a source than an atom.
    asking: Vec<(Atom, &'a Link)>,
}

impl<'a> Opened<'a> {
    fn by(links: impl Iterator<Item = &'a Link>) -> Self {
        let mut new = Self::default();
        for link in links.filter(|link| link.ports != SEEN) {
            let atoms = link.sources.atoms.iter();
            if link.sources.any {
                new.anyone.push(link.ports);
            } else if link.needs.is_empty() {
                new.named.extend(atoms.map(|atom| (*atom, link.ports)));
            } else {
                new.asking.extend(atoms.map(|atom| (*atom, link)));
            }
        }
        new.anyone.sort_unstable();
        new.anyone.dedup();
        new.named.sort_unstable();
        new.named.dedup();
        new.asking.sort_unstable_by_key(|(atom, _)| *atom);
        new
    }

    /// Add what is open to a class.
    fn add_to(&self, found: &mut Vec<PortSetId>, class: &[Atom]) {
        for atom in class {
            found.extend(under(&self.named, *atom));
            let asking = under(&self.asking, *atom).filter(|link| meets(&link.needs, class));
            found.extend(asking.map(|link| link.ports));
        }
    }
}

/// What stands under an atom in a list by atoms, in order.
fn under<T: Copy>(list: &[(Atom, T)], atom: Atom) -> impl Iterator<Item = T> + '_ {
    let first = list.partition_point(|(other, _)| *other < atom);
    list[first..].iter().take_while(move |(other, _)| *other == atom).map(|(_, what)| *what)
}

impl Engine {
    /// Whether each source may open each protocol and port at its target, pair by pair: the answers of the cells.
    ///
    /// Pairs of one target belong side by side: links to it are gathered once.
    pub fn decide_each(&self, pairs: &[(u32, u32)], probes: &[(u8, u16)]) -> Vec<bool> {
        let own = self.opened(|effect| self.opened_to_own(effect));
        let mut column: Option<(Slot, Both<Opened<'_>>)> = None;
        let mut answers = vec![false; pairs.len() * probes.len()];
        let mut sets: Both<Vec<PortSetId>> = Both::default();
        for ((source, target), answers) in pairs.iter().zip(answers.chunks_exact_mut(probes.len().max(1))) {
            let Some((here, there)) = self.slot(*source).zip(self.slot(*target)) else { continue };
            if column.as_ref().is_none_or(|(slot, _)| *slot != there) {
                column = Some((there, self.opened(|effect| self.opened_at(effect, there))));
            }
            let Some((_, column)) = &column else { continue };
            let own = self.have_one_owner(*source, *target).then_some(&own);
            for effect in [Effect::Accept, Effect::Deny] {
                self.gather(here, column.get(effect), own.map(|own| own.get(effect)), sets.get_mut(effect));
            }
            let is_in = |sets: &[PortSetId], (protocol, port)| {
                sets.iter().any(|set| self.sets.get(*set).allows(protocol, port))
            };
            for (answer, probe) in answers.iter_mut().zip(probes) {
                *answer = is_in(&sets.accept, *probe) && !is_in(&sets.deny, *probe);
            }
        }
        answers
    }

    fn opened<'a>(&self, of: impl Fn(Effect) -> Opened<'a>) -> Both<Opened<'a>> {
        Both { accept: of(Effect::Accept), deny: of(Effect::Deny) }
    }

    /// What links between nodes open at those in a slot.
    fn opened_at(&self, effect: Effect, slot: Slot) -> Opened<'_> {
        let links = self.links.get(effect);
        let classes = [slot.identity, slot.place].map(|class| &self.classes.get(class).atoms);
        let naming = classes.into_iter().flat_map(|atoms| links.to(atoms));
        let naming = naming.filter(|(_, link)| link.reach == Reach::Nodes).map(|(id, _)| id);
        let mut ids: Vec<u32> = naming.chain(links.to_any.iter().chain(&links.any_to_any).copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        Opened::by(ids.into_iter().map(|id| links.get(id)))
    }

    /// What links between devices of one owner open.
    fn opened_to_own(&self, effect: Effect) -> Opened<'_> {
        let links = self.links.get(effect);
        Opened::by(links.own.iter().map(|id| links.get(*id)))
    }

    /// The port sets that are open to a node, those between devices of one owner included where they are given.
    fn gather(&self, source: Slot, column: &Opened<'_>, own: Option<&Opened<'_>>, found: &mut Vec<PortSetId>) {
        found.clear();
        found.extend(&column.anyone);
        for class in [source.identity, source.place] {
            column.add_to(found, &self.classes.get(class).atoms);
        }
        if let Some(own) = own {
            found.extend(&own.anyone);
            own.add_to(found, &self.classes.get(source.identity).atoms);
        }
        found.sort_unstable();
        found.dedup();
    }

    fn slot(&self, id: u32) -> Option<Slot> {
        self.slots.get(id as usize).copied().flatten()
    }

    fn have_one_owner(&self, left: u32, right: u32) -> bool {
        let owner = |id: u32| self.nodes.get(&id).and_then(Node::untagged_owner);
        owner(left).is_some() && owner(left) == owner(right)
    }
}

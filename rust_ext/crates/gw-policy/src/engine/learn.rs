//! Names that come into use: nodes are told apart by them from then on.
use super::{Engine, Slot};
use crate::directory::Node;
use crate::model::SelectorId;
use crate::selector::Selector;
use roaring::RoaringBitmap;
use rustc_hash::{FxHashMap, FxHashSet};

/// The numbers of names.
pub(super) type Numbered<'a> = FxHashMap<&'a Selector, SelectorId>;

impl Engine {
    /// Whether names can come into use without compiling everything anew: who is in a group for a time is found out
    /// for all groups at once.
    pub(super) fn are_learnable<'a>(&self, names: impl Iterator<Item = &'a Selector>) -> bool {
        if self.policy.memberships.is_empty() {
            return true;
        }
        let groups: FxHashSet<&'a Selector> = names.filter(|name| matches!(name, Selector::Group(_))).collect();
        groups.is_empty() || self.selectors.iter().filter(|known| groups.contains(known)).count() == groups.len()
    }

    /// Tell apart what these names mean, from now on. Their numbers, and the nodes whose peers, class or filter change.
    pub(super) fn learn<'a>(&mut self, names: impl Iterator<Item = &'a Selector>) -> (Numbered<'a>, RoaringBitmap) {
        let mut numbered: Numbered<'a> = names.zip(std::iter::repeat(SelectorId::MAX)).collect();
        for (known, id) in self.selectors.iter().zip(0..) {
            if let Some(number) = numbered.get_mut(known).filter(|number| **number == SelectorId::MAX) {
                *number = id;
            }
        }
        let mut fresh: Vec<&Selector> = Vec::new();
        for (selector, number) in &mut numbered {
            if *number == SelectorId::MAX {
                *number = self.selectors.len() as SelectorId;
                self.selectors.push((*selector).clone());
            }
            if !self.catalog.knows(*number) {
                self.catalog.learn(&self.policy, *number, selector);
                fresh.push(selector);
            }
        }
        if fresh.is_empty() {
            return (numbered, RoaringBitmap::new());
        }
        self.catalog.bind(&self.policy, &self.selectors, &self.bindings, &self.users, self.at);
        let mut moved: Vec<u32> = Vec::new();
        for selector in &fresh {
            match selector {
                Selector::Any | Selector::DangerAll | Selector::Own => {}
                Selector::Bearer(user) => moved.extend(self.by_owner.get(user).into_iter().flatten()),
                Selector::Device(node) => moved.extend(self.nodes.contains_key(node).then_some(*node)),
                Selector::User(name) => {
                    let user = self.bindings.0.get(name);
                    moved.extend(user.and_then(|user| self.by_owner.get(user)).into_iter().flatten());
                }
                _ => {
                    let strays = |node: &&Node| self.slot_of(node) != self.slots[node.id as usize];
                    moved.extend(self.nodes.values().filter(strays).map(|node| node.id));
                    break;
                }
            }
        }
        moved.sort_unstable();
        moved.dedup();
        (numbered, self.relocate(moved))
    }

    /// Where a node belongs now, if there are such classes.
    fn slot_of(&self, node: &Node) -> Option<Slot> {
        let identity = self.classes.find(&self.catalog.identity(&self.policy, node), false)?;
        Some(Slot { identity, place: self.classes.find(&self.catalog.place(&self.policy, node), true)? })
    }
}

//! Names that come into use: nodes are told apart by them from then on.
use super::{Engine, Slot};
use crate::directory::Node;
use crate::model::SelectorId;
use crate::selector::Selector;
use roaring::RoaringBitmap;

impl Engine {
    /// Whether a name can come into use without compiling everything anew: who is in a group for a time is found out
    /// for all groups at once.
    pub(super) fn is_learnable(&self, selector: &Selector) -> bool {
        !matches!(selector, Selector::Group(_))
            || self.policy.memberships.is_empty()
            || self.number_of(selector).is_some()
    }

    fn number_of(&self, selector: &Selector) -> Option<SelectorId> {
        self.selectors.iter().zip(0..).find(|(known, _)| *known == selector).map(|(_, id)| id)
    }

    /// Tell apart what these names mean, from now on. The nodes whose peers, class or filter change.
    pub(super) fn learn<'a>(&mut self, names: impl Iterator<Item = &'a Selector>) -> RoaringBitmap {
        let mut fresh: Vec<&Selector> = Vec::new();
        for selector in names {
            let id = match self.number_of(selector) {
                Some(id) if self.catalog.knows(id) => continue,
                Some(id) => id,
                None => {
                    self.selectors.push(selector.clone());
                    self.selectors.len() as SelectorId - 1
                }
            };
            self.catalog.learn(&self.policy, id, selector);
            fresh.push(selector);
        }
        if fresh.is_empty() {
            return RoaringBitmap::new();
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
        self.relocate(moved)
    }

    /// Where a node belongs now, if there are such classes.
    fn slot_of(&self, node: &Node) -> Option<Slot> {
        let identity = self.classes.find(&self.catalog.identity(&self.policy, node), false)?;
        Some(Slot { identity, place: self.classes.find(&self.catalog.place(&self.policy, node), true)? })
    }
}

//! Where nodes see from, for those who keep what each node sees without having the policy.
use super::Engine;
use super::links::Effect;
use crate::directory::Node;
use roaring::RoaringBitmap;

/// Nodes with equal standpoints see the same nodes, each but itself: classes of identity and of addresses, and the
/// owner (else 0) where rules are about devices of one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standpoint {
    pub identity: u32,
    pub place: u32,
    pub owner: i64,
}

impl Engine {
    /// Where a node sees from.
    pub fn standpoint(&self, id: u32) -> Option<Standpoint> {
        let slot = self.slots.get(id as usize).copied().flatten()?;
        let owner = self.nodes.get(&id).and_then(Node::untagged_owner).filter(|_| self.tells_owners()).unwrap_or(0);
        Some(Standpoint { identity: slot.identity, place: slot.place, owner })
    }

    /// The same of every node, by id.
    pub fn standpoints(&self) -> impl Iterator<Item = (u32, Standpoint)> + '_ {
        (0..self.slots.len() as u32).filter_map(|id| Some((id, self.standpoint(id)?)))
    }

    /// Whom all nodes of this one's standpoint see: its peers, and itself where they see each other.
    pub fn seen_from(&mut self, id: u32) -> RoaringBitmap {
        let Some(slot) = self.slots.get(id as usize).copied().flatten() else { return RoaringBitmap::new() };
        let mut found = self.connected(Effect::Accept, slot);
        self.add_own(id, &mut found);
        self.hide(id, slot, &mut found);
        found
    }
}

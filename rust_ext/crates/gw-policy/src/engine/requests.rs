//! What may be asked for: the rule of `requests` that covers it, and who approves.
use super::Engine;
use super::portsets::PortSet;
use crate::directory::Directory;
use crate::model::{RequestRule, SelectorId};
use crate::ports::{Ports, Protocols};
use crate::scope::Scope;

/// The rule that covers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub name: Box<str>,
    /// Ids of the users who may approve it, in order.
    pub approvers: Vec<i64>,
    pub longest_s: u64,
}

impl Engine {
    /// The first rule that lets a user ask for protocols and ports at a node.
    pub fn request(&self, user: i64, target: u32, ip: &[(Protocols, Vec<Ports>)]) -> Option<Request> {
        let target = self.nodes.get(&target)?;
        let asker = self.users.iter().find(|known| known.id == user)?;
        let owner = self.users.iter().filter(|known| target.untagged_owner() == Some(known.id)).cloned();
        let directory = Directory::new(owner.collect(), Vec::new(), self.tailnet.clone());
        let scope = Scope::new(&self.policy, &directory, &self.bindings, self.at);
        let asked: Vec<PortSet> = ip.iter().map(|(protocols, ports)| PortSet::new(protocols, ports)).collect();
        let covers = |rule: &&RequestRule| {
            let allowed: Vec<PortSet> =
                rule.ip.iter().map(|(protocols, ports)| PortSet::new(protocols, ports)).collect();
            let allowed: Vec<&PortSet> = allowed.iter().collect();
            let is_user = |id: &SelectorId| scope.is_user(scope.selector(*id), asker);
            let is_there = |id: &SelectorId| {
                let selector = scope.selector(*id);
                scope.is_identity(selector, target)
                    || self.policy.spans(selector).is_some_and(|spans| spans.iter().any(|span| target.is_in(span)))
            };
            rule.sources.iter().any(is_user)
                && rule.destinations.iter().any(is_there)
                && !asked.is_empty()
                && asked.iter().all(|set| set.is_within(&allowed))
        };
        let rule = self.policy.requests.iter().find(covers)?;
        let approves = |id: &SelectorId, user| scope.is_user(scope.selector(*id), user);
        let approvers = self.users.iter().filter(|user| rule.approvers.iter().any(|id| approves(id, user)));
        let mut approvers: Vec<i64> = approvers.map(|user| user.id).collect();
        approvers.sort_unstable();
        Some(Request { name: rule.name.clone(), approvers, longest_s: rule.longest_s })
    }
}

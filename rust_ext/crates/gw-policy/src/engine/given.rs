//! Logins and attributes: what a policy gives to nodes beside connections. No class knows of them.
use super::Engine;
use crate::attributes;
use crate::directory::Node;
use crate::logins;
use crate::model::{Policy, SelectorId};
use crate::scope::Scope;
use crate::selector::Selector;
use crate::window::Instant;
use roaring::RoaringBitmap;
use std::ops::Range;

impl Engine {
    /// The nodes to which another policy over them, with the same definitions, may give other logins or attributes.
    pub(super) fn given_anew(&self, old: &Policy) -> RoaringBitmap {
        let new = &*self.policy;
        if old.randomize_client_port != new.randomize_client_port {
            return self.everyone.clone();
        }
        let logins = differing(&old.prints.ssh, &new.prints.ssh);
        let attributes = differing(&old.prints.node_attrs, &new.prints.node_attrs);
        if logins.iter().chain(&attributes).all(Range::is_empty) {
            return RoaringBitmap::new();
        }
        let directory = self.directory();
        let mut found = RoaringBitmap::new();
        for (side, policy) in [old, new].into_iter().enumerate() {
            let scope = Scope::new(policy, &directory, &self.bindings, self.at);
            let (rules, entries) = (&policy.ssh[logins[side].clone()], &policy.node_attrs[attributes[side].clone()]);
            let concerned = |node: &&Node| {
                rules.iter().any(|rule| logins::concerns(&scope, rule, node))
                    || entries.iter().any(|entry| attributes::is_target(&scope, entry, node))
            };
            found.extend(directory.nodes.iter().filter(concerned).map(|node| node.id));
        }
        found
    }

    /// The nodes to which memberships that have turned since a time may give other logins or attributes.
    pub(super) fn given_since(&self, turned: &[bool], before: Instant) -> RoaringBitmap {
        let policy = &*self.policy;
        let names = |ids: &[SelectorId]| ids.iter().any(|id| self.has_turned(*id, turned));
        let entries: Vec<_> = policy.node_attrs.iter().filter(|entry| names(&entry.targets)).collect();
        let asks = |postures: &[u32]| {
            let conditions = postures.iter().flat_map(|index| &policy.postures[*index as usize].1);
            !entries.is_empty() && conditions.into_iter().any(crate::posture::Condition::is_of_attributes)
        };
        let rules = policy.ssh.iter();
        let rules: Vec<_> =
            rules.filter(|rule| names(&rule.sources) || names(&rule.destinations) || asks(&rule.postures)).collect();
        if rules.is_empty() && entries.is_empty() {
            return RoaringBitmap::new();
        }
        let directory = self.directory();
        let scopes = [before, self.at].map(|at| Scope::new(policy, &directory, &self.bindings, at));
        let concerned = |node: &&Node| {
            scopes.iter().any(|scope| rules.iter().any(|rule| logins::concerns(scope, rule, node)))
                || entries.iter().any(|entry| {
                    let [was, is] = [0, 1].map(|time| attributes::is_target(&scopes[time], entry, node));
                    was != is
                })
        };
        directory.nodes.iter().filter(concerned).map(|node| node.id).collect()
    }

    /// Whether a name of the policy is a group in which a membership has turned.
    fn has_turned(&self, id: SelectorId, turned: &[bool]) -> bool {
        match self.policy.selector(id) {
            Selector::Group(name) => self.policy.memberships(name).any(|number| turned[number]),
            _ => false,
        }
    }
}

/// Where two lists differ: what lies between their common beginning and their common end.
fn differing(left: &[u64], right: &[u64]) -> [Range<usize>; 2] {
    let head = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    let tail = left[head..].iter().rev().zip(right[head..].iter().rev()).take_while(|(l, r)| l == r).count();
    [head..left.len() - tail, head..right.len() - tail]
}

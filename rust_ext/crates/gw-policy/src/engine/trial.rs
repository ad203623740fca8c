//! What is known of a policy before it comes into force: whether its own tests hold, and whom an edit may concern.
use super::links::{Effect, Names, links};
use super::relink::or;
use super::{Engine, Made};
use crate::directory::Directory;
use crate::error::PolicyError;
use crate::model::Policy;
use crate::scope::{Bindings, Scope};
use crate::window::Instant;
use roaring::RoaringBitmap;
use std::sync::Arc;

/// What the own tests of a policy are judged by.
pub struct Grounds {
    directory: Arc<Directory>,
    bindings: Bindings,
}

impl Grounds {
    /// The fault of a policy's own tests at a time, if one fails.
    pub fn check(&self, policy: &Policy, text: &str, at: Instant) -> Result<(), PolicyError> {
        let scope = Scope::new(policy, &self.directory, &self.bindings, at);
        let verdict = scope.check_domains().and_then(|()| crate::assertions::check(&scope));
        verdict.map_err(|fault| crate::text::locate(text, fault))
    }
}

impl Engine {
    /// What the tests of a policy in the place of this one are judged by; none where it has nothing that could fail.
    pub fn grounds(&self, policy: &Policy) -> Option<Grounds> {
        if policy.tests.is_empty() && policy.ssh_tests.is_empty() && self.tailnet.domains.is_none() {
            return None;
        }
        let mut bindings = self.bindings.clone();
        bindings.extend(policy, &self.users);
        Some(Grounds { directory: self.directory(), bindings })
    }

    /// Whom `edit` may concern, at most: everyone else sees the same peers after it. None where it does nothing.
    ///
    /// Names that come into use are learned by it.
    pub fn concerned(&mut self, policy: &Policy) -> Option<RoaringBitmap> {
        let hunks = self.edited(policy)?;
        let come = self.renamed(policy, &hunks);
        let mut marks = self.marks();
        for Made { rule, links: made, .. } in hunks.iter().flat_map(|hunk| &self.rules[hunk.gone.clone()]) {
            let known = self.links.get(Effect::of(rule));
            made.clone().for_each(|id| self.mark_sides(known.get(id), &mut marks));
        }
        let names = Names { policy: &self.policy, selectors: &self.selectors, timed: &self.catalog.timed };
        let fresh: Vec<_> = come.iter().flat_map(|rule| links(&names, 0, rule, &mut self.sets)).collect();
        fresh.iter().for_each(|link| self.mark_sides(link, &mut marks));
        or(&mut marks.sources, &marks.targets);
        Some(self.members(&marks.sources) | self.beside(&marks.owning))
    }

    /// Whether filters may tell nodes of one class apart: by what nodes say of themselves, or by all addresses of one.
    pub fn tells_nodes_apart(&self) -> bool {
        self.rules.iter().any(|made| made.rule.denies() || !made.rule.postures.is_empty())
    }

    /// The nodes that were put into a class since this was asked last, their own or another one.
    pub fn take_moved(&mut self) -> RoaringBitmap {
        std::mem::take(&mut self.moved)
    }

    /// Whether some rule is about devices of one owner: only then do standpoints tell owners apart.
    pub fn tells_owners(&self) -> bool {
        !self.links.accept.own.is_empty() || !self.links.deny.own.is_empty()
    }
}

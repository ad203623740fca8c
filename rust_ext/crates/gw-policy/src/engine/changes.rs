//! What happens to an engine: nodes, users, rules and windows change, and who is affected by it.
use super::atoms::SERVED;
use super::links::{ClassId, Effect, Names, Reach, links};
use super::relink::{Relinked, or};
use super::standing::{Clock, Standing};
use super::{Engine, Made, Slot, bits};
use crate::access::Approved;
use crate::directory::{Node, User};
use crate::model::{Policy, Rule, SelectorId};
use crate::selector::Selector;
use crate::window::Instant;
use roaring::RoaringBitmap;
use std::ops::Range;
use std::sync::Arc;

/// Where more rules than these go and come, building anew is quicker than taking links apart.
const MOST_EDITED: usize = 4_096;

/// Rules that go, and those that come in their place, by their places in either policy.
pub(super) struct Hunk {
    pub gone: Range<usize>,
    pub come: Range<usize>,
}

impl Hunk {
    /// Where two lists of rules differ: each run of others where they are equally long, else one from the first
    /// difference to the last.
    fn between(left: &[u64], right: &[u64]) -> Vec<Self> {
        let head = left.iter().zip(right).take_while(|(l, r)| l == r).count();
        let tail = left[head..].iter().rev().zip(right[head..].iter().rev()).take_while(|(l, r)| l == r).count();
        if left.len() != right.len() {
            return vec![Self { gone: head..left.len() - tail, come: head..right.len() - tail }];
        }
        let mut found: Vec<Self> = Vec::new();
        for place in (head..left.len() - tail).filter(|place| left[*place] != right[*place]) {
            match found.last_mut().filter(|last| last.gone.end == place) {
                Some(Self { gone, come }) => (gone.end, come.end) = (place + 1, place + 1),
                None => found.push(Self { gone: place..place + 1, come: place..place + 1 }),
            }
        }
        found
    }
}

impl Engine {
    /// Add a node or replace what is known of it. The nodes whose peers, filter or class change, or in whose filter a
    /// denial names a class that has its first member now, or its last one no more; itself included. None if nothing
    /// that counts is new.
    pub fn update(&mut self, node: Node) -> RoaringBitmap {
        let id = node.id;
        let mut affected = match self.nodes.get(&id) {
            Some(known) if self.same(known, &node) => {
                self.nodes.insert(id, node);
                self.kept.take();
                return RoaringBitmap::new();
            }
            Some(_) => self.visible(id),
            None => RoaringBitmap::new(),
        };
        affected |= self.naming_beside(self.nodes.get(&id), Some(&node));
        self.displace(id);
        self.place(node);
        affected |= self.visible(id);
        affected |= self.take_told();
        affected.insert(id);
        affected
    }

    /// Forget a node. Who saw it, in whose filter a denial names it as the last of its class, and itself; none if it
    /// was not known.
    pub fn leave(&mut self, id: u32) -> RoaringBitmap {
        if !self.nodes.contains_key(&id) {
            return RoaringBitmap::new();
        }
        let mut affected = self.visible(id);
        affected.insert(id);
        affected |= self.naming_beside(self.nodes.get(&id), None);
        self.displace(id);
        affected |= self.take_told();
        affected
    }

    /// The nodes in whose filters `*` covers routes that are others now, or that list devices of one owner by their
    /// addresses. Without denials all of them see the node that changes.
    fn naming_beside(&self, old: Option<&Node>, new: Option<&Node>) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        if self.links.deny.is_empty() {
            return found;
        }
        let both = [&self.links.accept, &self.links.deny];
        let routes = |node: Option<&Node>| node.map_or(Vec::new(), |node| node.routes.clone());
        if routes(old) != routes(new) {
            let mut marks = self.marks();
            for links in both {
                let wide = links.from_any.iter().chain(&links.any_to_any).map(|id| links.get(*id));
                wide.for_each(|link| self.mark_filters(link, &mut marks.targets));
            }
            found.extend(bits(&marks.targets).flat_map(|class| &self.classes.get(class).members));
        }
        if both.iter().any(|links| links.own.iter().any(|id| !links.get(*id).needs.is_empty())) {
            let owners = old.into_iter().chain(new).filter_map(Node::untagged_owner);
            found.extend(owners.filter_map(|owner| self.by_owner.get(&owner)).flatten());
        }
        found
    }

    /// Replace the users. Names that are bound stay bound. The nodes whose peers, filter or class change.
    pub fn set_users(&mut self, users: Vec<User>) -> RoaringBitmap {
        self.bindings.extend(&self.policy, &users);
        self.users = users;
        self.kept.take();
        self.rebind()
    }

    /// Find anew who bears which name, and move the nodes for which that makes a difference.
    fn rebind(&mut self) -> RoaringBitmap {
        let before = self.catalog.clone();
        self.catalog.bind(&self.policy, &self.selectors, &self.bindings, &self.users, self.at);
        let changed = |owner: &i64| before.of_user(*owner) != self.catalog.of_user(*owner);
        let owners: Vec<i64> = self.by_owner.keys().filter(|owner| changed(owner)).copied().collect();
        let moved = owners.iter().flat_map(|owner| self.by_owner[owner].iter().copied()).collect();
        self.relocate(moved)
    }

    /// Put nodes into the classes in which they belong now.
    pub(super) fn relocate(&mut self, mut moved: Vec<u32>) -> RoaringBitmap {
        moved.sort_unstable();
        let mut affected = RoaringBitmap::new();
        for id in &moved {
            affected |= self.visible(*id);
        }
        for id in &moved {
            if let Some(node) = self.nodes.get(id).cloned() {
                self.displace(*id);
                self.place(node);
            }
        }
        for id in &moved {
            affected |= self.visible(*id);
            affected.insert(*id);
        }
        affected |= self.take_told();
        affected
    }

    /// What `update` would answer, without doing it.
    pub fn would_update(&mut self, node: &Node) -> RoaringBitmap {
        let known = self.nodes.get(&node.id).cloned();
        if known.as_ref().is_some_and(|known| self.same(known, node)) {
            return RoaringBitmap::new();
        }
        let mut affected = if known.is_some() { self.visible(node.id) } else { RoaringBitmap::new() };
        affected |= self.naming_beside(known.as_ref(), Some(node));
        let mut told =
            self.slots.get(node.id as usize).copied().flatten().map_or(Vec::new(), |slot| self.told_by(slot));
        let mut marks = self.marks();
        for (atoms, of_addresses) in
            [(self.catalog.identity(&self.policy, node), false), (self.catalog.place(&self.policy, node), true)]
        {
            let seen = self.sight(Effect::Accept, &atoms, of_addresses);
            affected |= self.nodes_of(&seen);
            match self.classes.find(&atoms, of_addresses) {
                Some(class) if of_addresses || self.classes.get(class).members.is_empty() => told.push(class),
                Some(_) => {}
                None => self.mark_naming(&atoms, of_addresses, &mut marks.targets),
            }
        }
        if let Some(devices) = node.untagged_owner().and_then(|owner| self.by_owner.get(&owner)) {
            let mine =
                self.own_source(&self.catalog.identity(&self.policy, node), &self.catalog.place(&self.policy, node));
            affected.extend(devices.iter().filter(|other| mine || self.is_own_source(**other)));
        }
        for class in told {
            self.mark_told(class, &mut marks.targets);
        }
        affected |= self.members(&marks.targets);
        affected.insert(node.id);
        affected
    }

    /// What `leave` would answer, without doing it.
    pub fn would_leave(&mut self, id: u32) -> RoaringBitmap {
        let Some(slot) = self.slots.get(id as usize).copied().flatten() else { return RoaringBitmap::new() };
        let mut affected = self.visible(id);
        affected |= self.naming_beside(self.nodes.get(&id), None);
        let mut marks = self.marks();
        for class in self.told_by(slot) {
            self.mark_told(class, &mut marks.targets);
        }
        affected |= self.members(&marks.targets);
        affected.insert(id);
        affected
    }

    /// The classes to be told of when the node leaves its slot.
    fn told_by(&self, slot: Slot) -> Vec<ClassId> {
        let is_last = self.classes.get(slot.identity).members.len() == 1;
        if is_last { vec![slot.place, slot.identity] } else { vec![slot.place] }
    }

    /// The nodes whose denials name classes that are new, or addresses whose nodes are others.
    fn take_told(&mut self) -> RoaringBitmap {
        let told = std::mem::take(&mut self.told);
        if told.is_empty() {
            return RoaringBitmap::new();
        }
        let mut marks = self.marks();
        told.iter().for_each(|class| self.mark_told(*class, &mut marks.targets));
        self.members(&marks.targets)
    }

    fn mark_told(&self, class: ClassId, marks: &mut [u64]) {
        let class = self.classes.get(class);
        self.mark_naming(&class.atoms, class.of_addresses, marks);
    }

    /// Mark the classes in whose filters a rule names a class with these atoms, or its members, as a source, whom a
    /// denial may hide. What lies behind a router is named by its prefix, whoever serves it, and so are addresses that
    /// rules accept, unless something is asked of who has them; rules for devices of one owner name nobody.
    fn mark_naming(&self, atoms: &[u32], of_addresses: bool, marks: &mut [u64]) {
        let named: Vec<u32> = atoms.iter().copied().filter(|atom| atom & 7 != SERVED).collect();
        self.links.deny.from(&named).for_each(|(_, link)| self.mark_filters(link, marks));
        for (_, link) in self.links.accept.from(&named).filter(|(_, link)| link.reach != Reach::Own) {
            if !of_addresses || !link.needs.is_empty() {
                self.mark_filters(link, marks);
            }
        }
    }

    /// Whether `edit` would take over another policy.
    pub fn can_edit(&self, policy: &Policy) -> bool {
        self.edited(policy).is_some()
    }

    /// Replace the policy where only some rules differ: the nodes whose peers, class, filter, logins or attributes
    /// change, and the policy that is replaced: to take a large one apart takes longer than the edit. None when
    /// everything has to be built anew.
    pub fn edit(&mut self, policy: Arc<Policy>) -> Option<(RoaringBitmap, Arc<Policy>)> {
        let hunks = self.edited(&policy)?;
        let rules = self.renamed(&policy, &hunks);
        let old = std::mem::replace(&mut self.policy, policy);
        let affected = self.exchange(&old, &hunks, rules);
        Some((affected | std::mem::take(&mut self.learned), old))
    }

    /// The rules that come with another policy by the names that are in use here, those included that come into use
    /// with them.
    pub(super) fn renamed(&mut self, policy: &Policy, hunks: &[Hunk]) -> Vec<Rule> {
        self.bindings.extend(policy, &self.users);
        let come = || hunks.iter().flat_map(|hunk| &policy.rules[hunk.come.clone()]);
        let (numbered, learned) = self.learn(come().flat_map(|rule| rule.names()).map(|id| policy.selector(id)));
        self.learned |= learned;
        come().map(|rule| rule.renamed(|id| numbered[policy.selector(id)])).collect()
    }

    /// Which rules go, and which ones of another policy come, if that is all and they are few.
    pub(super) fn edited(&self, policy: &Policy) -> Option<Vec<Hunk>> {
        let old = &self.policy;
        let same = old.definitions == policy.definitions
            && old.postures == policy.postures
            && !old.allows_everything
            && !policy.allows_everything;
        if !same || policy.fingerprints.len() != policy.rules.len() {
            return None;
        }
        let hunks = Hunk::between(&old.fingerprints, &policy.fingerprints);
        if hunks.iter().map(|hunk| hunk.gone.len() + hunk.come.len()).sum::<usize>() > MOST_EDITED {
            return None;
        }
        let come = || hunks.iter().flat_map(|hunk| &policy.rules[hunk.come.clone()]);
        let gone = hunks.iter().flat_map(|hunk| &self.rules[hunk.gone.clone()]).map(|made| &made.rule);
        if come().chain(gone).any(|rule| !rule.via.is_empty()) {
            return None;
        }
        if come().flat_map(|rule| &rule.postures).any(|posture| !self.catalog.knows_posture(*posture)) {
            return None;
        }
        let named = come().flat_map(|rule| rule.names()).map(|id| policy.selector(id));
        self.are_learnable(named).then_some(hunks)
    }

    /// Exchange rules for those of the policy that has come in the place of another.
    fn exchange(&mut self, old: &Policy, hunks: &[Hunk], come: Vec<Rule>) -> RoaringBitmap {
        let mut change = Relinked::default();
        for place in hunks.iter().flat_map(|hunk| hunk.gone.clone()) {
            let made = &mut self.rules[place];
            let before = std::mem::replace(&mut made.standing, Standing::Closed);
            change.note(made, before);
        }
        let given = self.given_anew(old);
        let mut clock = Clock::new(self.at);
        let mut fresh: Vec<Made> = come.into_iter().map(|rule| self.make(rule, &mut clock)).collect();
        fresh.iter().for_each(|made| change.note(made, Standing::Closed));
        self.places.take();
        self.unlinked.take();
        // From the last to the first, so that those before them stay where they are.
        for Hunk { gone, come } in hunks.iter().rev() {
            let come = fresh.split_off(fresh.len() - come.len());
            self.rules.splice(gone.clone(), come);
        }
        self.relink(&change) | given
    }

    /// Make the links of a rule, without putting them in force.
    fn make(&mut self, rule: Rule, clock: &mut Clock) -> Made {
        let number = self.next_number;
        self.next_number += 1;
        let names = Names { policy: &self.policy, selectors: &self.selectors, timed: &self.catalog.timed };
        let found = links(&names, number, &rule, &mut self.sets);
        let kept = self.links.get_mut(Effect::of(&rule));
        let first = kept.list.len() as u32;
        found.into_iter().for_each(|link| _ = kept.keep(link));
        let standing = clock.standing(rule.window.as_ref());
        Made { rule: Arc::new(rule), number, links: first..kept.list.len() as u32, standing }
    }

    /// Come to a time: windows open and close. The nodes whose peers, class, filter, logins or attributes change.
    pub fn turn(&mut self, at: Instant) -> RoaringBitmap {
        let since = std::mem::replace(&mut self.at, at);
        let mut clock = Clock::new(at);
        let mut change = Relinked::default();
        for made in self.rules.iter_mut().chain(self.access.iter_mut().map(|(_, made)| made)) {
            let standing = clock.standing(made.rule.window.as_ref());
            let before = std::mem::replace(&mut made.standing, standing);
            if before != standing {
                change.note(made, before);
            }
        }
        let policy = self.policy.clone();
        let standing = policy.memberships.iter().map(|known| clock.standing(Some(&known.window))).collect();
        let before = std::mem::replace(&mut self.memberships, standing);
        let turned: Vec<bool> = before.iter().zip(&self.memberships).map(|(was, is)| was != is).collect();
        let mut affected = self.relink(&change);
        if turned.contains(&true) {
            affected |= self.named(&turned);
            affected |= self.given_since(&turned, since);
            affected |= self.rebind();
        }
        affected
    }

    /// The nodes in whose filters members of these memberships are named, as sources or as the node itself, and those
    /// who see members.
    fn named(&mut self, memberships: &[bool]) -> RoaringBitmap {
        let mut marks = self.marks();
        for (id, selector) in self.selectors.iter().enumerate() {
            let Selector::Membership(number) = selector else { continue };
            if !memberships[*number as usize] {
                continue;
            }
            let atoms = [super::atoms::atom(id as SelectorId, super::atoms::IDENTITY)];
            for effect in [Effect::Accept, Effect::Deny] {
                let links = self.links.get(effect);
                links.naming(&atoms).for_each(|link| self.mark_filters(link, &mut marks.targets));
            }
            for link in self.links.accept.to(&atoms).map(|(_, link)| link) {
                if link.sources.any {
                    self.mark_all(&mut marks.sources);
                }
                self.mark_sources(link, &mut marks.sources);
            }
            self.mark(atoms.iter(), &mut marks.owning);
            self.mark(atoms.iter(), &mut marks.targets);
        }
        if self.catalog.attributed().any(|known| memberships[known.number]) {
            let asking = self.rules.iter().filter(|made| !made.rule.denies() && made.standing.is_open());
            for made in asking.filter(|made| self.policy.asks_for_attributes(&made.rule)) {
                made.links.clone().for_each(|id| self.mark_sides(self.links.accept.get(id), &mut marks));
            }
        }
        or(&mut marks.targets, &marks.sources);
        let beside = if self.links.accept.own.is_empty() { RoaringBitmap::new() } else { self.beside(&marks.owning) };
        self.members(&marks.targets) | beside
    }

    /// When the next window opens or closes after a time, 0 if none ever does.
    pub fn next_turn(&self, after: Instant) -> Instant {
        let rules = self.rules.iter().chain(self.access.iter().map(|(_, made)| made));
        let windows = rules.filter_map(|made| made.rule.window.as_ref());
        let windows = windows.chain(self.policy.memberships.iter().map(|known| &known.window));
        let mut clock = Clock::new(after);
        windows.map(|window| clock.now(window).turns).filter(|turn| *turn != 0).min().unwrap_or(0)
    }

    /// Replace what was approved beside the policy. The nodes whose peers, class or filter change.
    pub fn set_access(&mut self, access: Vec<Approved>) -> RoaringBitmap {
        let mut change = Relinked::default();
        let (mut kept, mut clock) = (Vec::new(), Clock::new(self.at));
        for (approved, mut made) in std::mem::take(&mut self.access) {
            if access.contains(&approved) {
                kept.push((approved, made));
                continue;
            }
            let before = std::mem::replace(&mut made.standing, Standing::Closed);
            change.note(&made, before);
        }
        let come: Vec<Approved> =
            access.into_iter().filter(|new| !kept.iter().any(|(known, _)| known == new)).collect();
        let named = come.iter().flat_map(|new| std::iter::once(&new.source).chain(&new.destinations));
        let (numbered, mut affected) = self.learn(named);
        let rules: Vec<Rule> = come.iter().map(|new| new.rule(&mut |selector| numbered[selector])).collect();
        for (approved, rule) in come.into_iter().zip(rules) {
            let made = self.make(rule, &mut clock);
            change.note(&made, Standing::Closed);
            kept.push((approved, made));
        }
        kept.sort_by_key(|(approved, _)| approved.number);
        self.access = kept;
        affected |= self.relink(&change);
        affected
    }
}

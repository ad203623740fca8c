//! A policy compiled over users and nodes, kept up to date while they change.
mod atoms;
mod classes;
mod links;
mod matrix;
mod native;
mod portsets;
mod queries;
mod views;

use crate::directory::{Directory, Node, Tailnet, User};
use crate::error::{Fault, PolicyError};
use crate::model::{Access, Policy, Rule, Section, SelectorId};
use crate::ports::ALL_PORTS;
use crate::scope::Bindings;
use crate::selector::Selector;
use atoms::Catalog;
use classes::{Classes, Links};
use links::{ClassId, Reach};
pub use matrix::{Matrix, RowChunk};
pub use native::NativeRule;
pub use portsets::PortSet;
use portsets::PortSets;
pub use queries::{Explanation, Verdict};
use roaring::RoaringBitmap;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;
use views::Views;

/// Where a node is: its class of identity and its class of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    identity: ClassId,
    place: ClassId,
}

/// A rule and the links made of it.
#[derive(Debug, Clone)]
struct Made {
    rule: Rule,
    number: u32,
    links: std::ops::Range<u32>,
}

pub struct Engine {
    policy: Arc<Policy>,
    users: Vec<User>,
    bindings: Bindings,
    tailnet: Tailnet,
    pools: Vec<crate::address::Span>,
    /// Every name that rules use; rules here index these, not the policy's.
    selectors: Vec<Selector>,
    rules: Vec<Made>,
    next_number: u32,
    catalog: Catalog,
    sets: PortSets,
    links: Links,
    classes: Classes,
    slots: Vec<Option<Slot>>,
    nodes: FxHashMap<u32, Node>,
    by_owner: FxHashMap<i64, FxHashSet<u32>>,
    by_address: FxHashMap<crate::address::Address, u32>,
    everyone: RoaringBitmap,
    views: Views,
    matrix: matrix::State,
}

impl Policy {
    /// What holds without a policy file: each user's own, untagged devices reach each other, nothing else.
    pub fn own_devices() -> Self {
        let mut policy = Self { selectors: vec![Selector::Member, Selector::Own], ..Self::default() };
        let mut rule = simple_rule(0, 1);
        rule.access[0].protocols = (0..=u8::MAX).collect();
        policy.rules.push(rule);
        policy
    }

    /// The rules in force: what is written, or the one that allows everything.
    fn rules_in_force(&self) -> (Vec<Selector>, Vec<Rule>) {
        let mut selectors = self.selectors.clone();
        if !self.allows_everything {
            return (selectors, self.rules.clone());
        }
        let any = selectors.len() as SelectorId;
        selectors.push(Selector::Any);
        (selectors, vec![simple_rule(any, any)])
    }
}

fn simple_rule(source: SelectorId, target: SelectorId) -> Rule {
    let ports: Arc<[_]> = Arc::new([ALL_PORTS]);
    Rule {
        section: Section::Grant,
        index: 0,
        at: 0,
        sources: vec![source],
        destinations: vec![target],
        access: vec![Access { protocols: Vec::new(), targets: vec![(target, ports)] }],
        app: Vec::new(),
        via: Vec::new(),
        postures: Vec::new(),
    }
}

impl Engine {
    /// Compile. `bindings` are those of an earlier compilation of the same policy, or empty.
    pub fn build(policy: Arc<Policy>, directory: Directory, mut bindings: Bindings) -> Self {
        bindings.extend(&policy, &directory.users);
        let (selectors, rules) = policy.rules_in_force();
        let mut sets = PortSets::default();
        let mut links = Links::default();
        let mut made = Vec::with_capacity(rules.len());
        for (number, rule) in rules.into_iter().enumerate() {
            let number = number as u32;
            let first = links.list.len() as u32;
            for link in links::links(&policy, &selectors, number, &rule, &mut sets) {
                links.add(link);
            }
            made.push(Made { rule, number, links: first..links.list.len() as u32 });
        }
        let mut catalog = Catalog::new(&policy, &selectors, made.iter().map(|made| (made.number, &made.rule)));
        catalog.bind(&policy, &selectors, &bindings, &directory.users);
        let next_number = made.len() as u32;
        let mut engine = Self {
            users: directory.users,
            bindings,
            tailnet: directory.tailnet,
            pools: directory.pools.as_slice().to_vec(),
            selectors,
            rules: made,
            next_number,
            catalog,
            sets,
            links,
            classes: Classes::default(),
            slots: Vec::new(),
            nodes: FxHashMap::default(),
            by_owner: FxHashMap::default(),
            by_address: FxHashMap::default(),
            everyone: RoaringBitmap::new(),
            views: Views::default(),
            matrix: matrix::State::default(),
            policy,
        };
        for node in directory.nodes {
            engine.place(node);
        }
        engine
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// To which user each name of the policy is bound.
    pub fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    /// The class of a node's identity.
    pub fn class_of(&self, id: u32) -> Option<ClassId> {
        self.slots.get(id as usize).copied().flatten().map(|slot| slot.identity)
    }

    pub fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// A copy of what the policy is applied to.
    pub fn directory(&self) -> Directory {
        let nodes = self.nodes.values().cloned().collect();
        let mut directory = Directory::new(self.users.clone(), nodes, self.tailnet.clone());
        directory.pools = self.pools.iter().copied().collect();
        directory
    }

    /// Add a node or replace what is known of it. The nodes whose peers, filter or class change, itself included;
    /// none if nothing that counts is new.
    pub fn update(&mut self, node: Node) -> RoaringBitmap {
        let id = node.id;
        let mut affected = match self.nodes.get(&id) {
            Some(known) if self.same(known, &node) => {
                self.nodes.insert(id, node);
                return RoaringBitmap::new();
            }
            Some(_) => self.visible(id),
            None => RoaringBitmap::new(),
        };
        self.displace(id);
        self.place(node);
        affected |= self.visible(id);
        affected.insert(id);
        affected
    }

    /// Forget a node. Who saw it, and itself; none if it was not known.
    pub fn leave(&mut self, id: u32) -> RoaringBitmap {
        if !self.nodes.contains_key(&id) {
            return RoaringBitmap::new();
        }
        let mut affected = self.visible(id);
        affected.insert(id);
        self.displace(id);
        affected
    }

    /// Replace the users. Names that are bound stay bound. The nodes whose peers, filter or class change.
    pub fn set_users(&mut self, users: Vec<User>) -> RoaringBitmap {
        self.bindings.extend(&self.policy, &users);
        let before = self.catalog.clone();
        self.catalog.bind(&self.policy, &self.selectors, &self.bindings, &users);
        self.users = users;
        let changed = |owner: &i64| before.of_user(*owner) != self.catalog.of_user(*owner);
        let owners: Vec<i64> = self.by_owner.keys().filter(|owner| changed(owner)).copied().collect();
        let mut moved: Vec<u32> = owners.iter().flat_map(|owner| self.by_owner[owner].iter().copied()).collect();
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
        affected
    }

    /// What `update` would answer, without doing it.
    pub fn would_update(&mut self, node: &Node) -> RoaringBitmap {
        let known = self.nodes.get(&node.id).cloned();
        if known.as_ref().is_some_and(|known| self.same(known, node)) {
            return RoaringBitmap::new();
        }
        let mut affected = if known.is_some() { self.visible(node.id) } else { RoaringBitmap::new() };
        for (atoms, of_addresses) in
            [(self.catalog.identity(&self.policy, node), false), (self.catalog.place(&self.policy, node), true)]
        {
            let (classes, all) = self.sight(&atoms, of_addresses);
            affected |= if all { self.everyone.clone() } else { self.members(&classes) };
        }
        if let Some(devices) = node.untagged_owner().and_then(|owner| self.by_owner.get(&owner)) {
            let mine =
                self.own_source(&self.catalog.identity(&self.policy, node), &self.catalog.place(&self.policy, node));
            affected.extend(devices.iter().filter(|other| mine || self.is_own_source(**other)));
        }
        affected.insert(node.id);
        affected
    }

    /// What `leave` would answer, without doing it.
    pub fn would_leave(&mut self, id: u32) -> RoaringBitmap {
        if !self.nodes.contains_key(&id) {
            return RoaringBitmap::new();
        }
        let mut affected = self.visible(id);
        affected.insert(id);
        affected
    }

    /// Replace the policy where only rules differ and these use names that are known here: the nodes whose peers or
    /// filter change. None when everything has to be built anew.
    pub fn edit(&mut self, policy: Arc<Policy>) -> Option<RoaringBitmap> {
        let old = &self.policy;
        let same = old.definitions == policy.definitions && !old.allows_everything && !policy.allows_everything;
        if !same || policy.fingerprints.len() != policy.rules.len() {
            return None;
        }
        let (left, right) = (&old.fingerprints, &policy.fingerprints);
        let head = left.iter().zip(right).take_while(|(l, r)| l == r).count();
        let tail = left[head..].iter().rev().zip(right[head..].iter().rev()).take_while(|(l, r)| l == r).count();
        let (gone, come) = (head..left.len() - tail, head..right.len() - tail);
        let known: FxHashMap<&Selector, SelectorId> =
            self.selectors.iter().enumerate().map(|(id, selector)| (selector, id as SelectorId)).collect();
        let known = known.into_iter().filter(|(_, id)| self.catalog.knows(*id)).collect();
        let rules: Vec<Rule> =
            policy.rules[come].iter().map(|rule| renumbered(rule, &policy, &known)).collect::<Option<_>>()?;
        if rules.iter().chain(self.rules[gone.clone()].iter().map(|made| &made.rule)).any(|rule| !rule.via.is_empty()) {
            return None;
        }
        Some(self.exchange(policy, gone, rules))
    }

    fn exchange(&mut self, policy: Arc<Policy>, gone: std::ops::Range<usize>, come: Vec<Rule>) -> RoaringBitmap {
        let removed: Vec<u32> = self.rules[gone.clone()].iter().flat_map(|made| made.links.clone()).collect();
        let first = self.next_number;
        self.next_number += come.len() as u32;
        let made = come.into_iter().zip(first..).map(|(rule, number)| {
            let links = links::links(&policy, &self.selectors, number, &rule, &mut self.sets);
            (rule, number, links)
        });
        let made: Vec<(Rule, u32, Vec<links::Link>)> = made.collect();
        let none = || vec![0u64; self.classes.list.len().div_ceil(64)];
        let (mut sources, mut targets, mut owning) = (none(), none(), none());
        let links = removed.iter().map(|id| self.links.get(*id)).chain(made.iter().flat_map(|(.., links)| links));
        for link in links {
            self.sides(link, &mut sources, &mut targets);
            if link.reach == Reach::Own && !link.sources.any {
                self.mark_sources(link, &mut owning);
            }
        }
        bits(&sources).chain(bits(&targets)).for_each(|class| self.views.forget(class));
        self.matrix.touch(bits(&sources));
        self.matrix.touch_own();
        // The filters of targets are others in any case; of the sources only some see others than before.
        sources.iter_mut().zip(&targets).for_each(|(from, to)| *from &= !to);
        let before = self.seen_by(&sources);
        removed.iter().for_each(|id| self.links.remove(*id));
        let fresh: Vec<Made> = made.into_iter().map(|(rule, number, links)| self.make(rule, number, links)).collect();
        let old = std::mem::replace(&mut self.policy, policy);
        // Taking a large policy apart takes its time, and nobody waits for it.
        std::thread::spawn(move || drop(old));
        self.rules.splice(gone, fresh);
        let mut affected = self.members(&targets);
        affected |= self.beside(&owning);
        for (class, seen) in before {
            if self.class_row(class) != seen {
                affected.extend(self.classes.get(class).members.iter().copied());
            }
        }
        affected
    }

    fn make(&mut self, rule: Rule, number: u32, links: Vec<links::Link>) -> Made {
        let first = self.links.list.len() as u32;
        links.into_iter().for_each(|link| _ = self.links.add(link));
        Made { rule, number, links: first..self.links.list.len() as u32 }
    }

    /// All devices of those who own one in these classes: the others may be in no class that a rule names.
    fn beside(&mut self, classes: &[u64]) -> RoaringBitmap {
        let named = self.members(classes);
        let owners: FxHashSet<i64> = named.iter().filter_map(|id| self.nodes.get(&id)?.untagged_owner()).collect();
        owners.iter().filter_map(|owner| self.by_owner.get(owner)).flatten().copied().collect()
    }

    /// Mark the classes that are sources of a link, and those in whose filter it is.
    fn sides(&self, link: &links::Link, sources: &mut [u64], targets: &mut [u64]) {
        if link.reach == Reach::Routed {
            return;
        }
        if link.sources.any {
            self.mark_all(sources)
        } else {
            self.mark_sources(link, sources)
        }
        match (link.reach, link.targets.any) {
            (Reach::Own, _) if link.sources.any => self.mark_all(targets),
            (Reach::Own, _) => self.mark_sources(link, targets),
            (_, true) => self.mark_all(targets),
            (_, false) => self.mark(link.targets.atoms.iter(), targets),
        }
    }

    fn mark_all(&self, marks: &mut [u64]) {
        (0..self.classes.list.len()).for_each(|class| marks[class / 64] |= 1 << (class % 64));
    }

    fn seen_by(&mut self, classes: &[u64]) -> Vec<(ClassId, RoaringBitmap)> {
        let list: Vec<ClassId> = bits(classes).collect();
        list.into_iter().map(|class| (class, self.class_row(class))).collect()
    }

    fn class_row(&mut self, class: ClassId) -> RoaringBitmap {
        let own = self.classes.get(class);
        let (atoms, of_addresses) = (own.atoms.clone(), own.of_addresses);
        let (classes, all) = self.sight(&atoms, of_addresses);
        if all { self.everyone.clone() } else { self.members(&classes) }
    }

    /// Whether two states of a node look the same to every peer and give the same answers.
    fn same(&self, known: &Node, node: &Node) -> bool {
        let classes = |node: &Node| (self.catalog.identity(&self.policy, node), self.catalog.place(&self.policy, node));
        known.owner == node.owner
            && known.tags.is_empty() == node.tags.is_empty()
            && known.addresses == node.addresses
            && known.routes == node.routes
            && known.exits == node.exits
            && classes(known) == classes(node)
    }

    fn place(&mut self, node: Node) {
        let id = node.id;
        let identity = self.class(self.catalog.identity(&self.policy, &node), false);
        let place = self.class(self.catalog.place(&self.policy, &node), true);
        if self.slots.len() <= id as usize {
            self.slots.resize(id as usize + 1, None);
        }
        self.slots[id as usize] = Some(Slot { identity, place });
        for class in [identity, place] {
            self.classes.insert(class, id);
            self.views.note(class, id, true);
        }
        if let Some(owner) = node.untagged_owner() {
            self.by_owner.entry(owner).or_default().insert(id);
        }
        for address in &node.addresses {
            self.by_address.insert(*address, id);
        }
        self.everyone.insert(id);
        self.matrix.move_slot(id);
        self.nodes.insert(id, node);
    }

    fn displace(&mut self, id: u32) {
        let Some(node) = self.nodes.remove(&id) else { return };
        if let Some(slot) = self.slots[id as usize].take() {
            for class in [slot.identity, slot.place] {
                self.classes.remove(class, id);
                self.views.note(class, id, false);
            }
        }
        if let Some(devices) = node.untagged_owner().and_then(|owner| self.by_owner.get_mut(&owner)) {
            devices.remove(&id);
        }
        for address in &node.addresses {
            if self.by_address.get(address) == Some(&id) {
                self.by_address.remove(address);
            }
        }
        self.everyone.remove(id);
        self.matrix.move_slot(id);
    }

    fn class(&mut self, atoms: Vec<u32>, of_addresses: bool) -> ClassId {
        if let Some(id) = self.classes.find(&atoms, of_addresses) {
            return id;
        }
        let id = self.classes.add(atoms.clone(), of_addresses);
        if self.views.is_used() {
            let (classes, all) = self.sight(&atoms, of_addresses);
            self.views.widen(id, &classes, all);
        }
        self.matrix.touch_own();
        if self.matrix.is_built() {
            let dirty = self.rows_to(id, &atoms, of_addresses);
            self.matrix.touch(bits(&dirty));
        }
        id
    }

    /// The classes whose rows a new class is in, itself included.
    fn rows_to(&self, id: ClassId, atoms: &[u32], of_addresses: bool) -> Vec<u64> {
        let mut found = vec![0u64; self.classes.list.len().div_ceil(64)];
        found[id as usize / 64] |= 1 << (id % 64);
        let wide = self.links.to_any.iter().filter(|_| !of_addresses).map(|id| self.links.get(*id));
        for link in self.links.to(atoms).map(|(_, link)| link).chain(wide) {
            if link.sources.any {
                self.mark_all(&mut found);
            }
            self.mark_sources(link, &mut found);
        }
        if !of_addresses && !self.links.any_to_any.is_empty() {
            self.mark_all(&mut found);
        }
        found
    }

    fn is_own_source(&self, id: u32) -> bool {
        let slot = self.slots.get(id as usize).copied().flatten();
        slot.is_some_and(|slot| {
            self.own_source(&self.classes.get(slot.identity).atoms, &self.classes.get(slot.place).atoms)
        })
    }

    fn own_source(&self, identity: &[u32], place: &[u32]) -> bool {
        self.links.own.iter().map(|id| self.links.get(*id)).any(|link| {
            let named = |atoms: &[u32]| link.sources.atoms.iter().any(|atom| atoms.binary_search(atom).is_ok());
            (link.sources.any || named(identity) || named(place)) && classes::meets(&link.needs, identity)
        })
    }

    /// The fault of the policy's own tests over this directory, if one fails.
    pub fn check(&self, text: &str) -> Result<(), PolicyError> {
        let directory = self.directory();
        let scope = crate::scope::Scope::new(&self.policy, &directory, &self.bindings);
        let verdict: Result<(), Fault> = scope.check_domains().and_then(|()| crate::assertions::check(&scope));
        verdict.map_err(|fault| crate::text::locate(text, fault))
    }
}

/// A rule with the engine's numbers for its names, if all are known.
fn renumbered(rule: &Rule, policy: &Policy, known: &FxHashMap<&Selector, SelectorId>) -> Option<Rule> {
    let one = |id: &SelectorId| known.get(policy.selector(*id)).copied();
    let all = |ids: &[SelectorId]| ids.iter().map(one).collect::<Option<Vec<_>>>();
    let mut access = Vec::with_capacity(rule.access.len());
    for part in &rule.access {
        let targets = part.targets.iter().map(|(id, ports)| Some((one(id)?, ports.clone()))).collect::<Option<_>>()?;
        access.push(Access { protocols: part.protocols.clone(), targets });
    }
    let (sources, destinations) = (all(&rule.sources)?, all(&rule.destinations)?);
    Some(Rule { sources, destinations, via: all(&rule.via)?, access, app: rule.app.clone(), ..rule.clone() })
}

/// The classes whose bits are set.
fn bits(words: &[u64]) -> impl Iterator<Item = ClassId> + '_ {
    words.iter().enumerate().flat_map(|(word, bits)| {
        (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word as ClassId * 64 + bit)
    })
}

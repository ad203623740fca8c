//! A policy compiled over users and nodes, kept up to date while they change.
mod atoms;
mod boxes;
mod cells;
mod changes;
mod classes;
mod columns;
mod ends;
mod excerpt;
mod given;
mod hidden;
mod learn;
mod links;
mod matrix;
mod native;
mod pages;
mod portsets;
mod queries;
mod relink;
mod requests;
mod sources;
mod standing;
mod standpoint;
mod succession;
mod trial;
mod views;

use crate::access::Approved;
use crate::address::Span;
use crate::directory::{Directory, Facts, Node, Tailnet, User};
use crate::model::{Access, Policy, Rule, Section, SelectorId};
use crate::ports::ALL_PORTS;
use crate::scope::{Bindings, Scope};
use crate::selector::Selector;
use crate::window::Instant;
use atoms::Catalog;
pub use boxes::{Axis, Boxes};
use classes::{Classes, Links};
use ends::Ends;
pub use ends::SightEnds;
pub use links::Effect;
use links::{Both, ClassId};
pub use matrix::{Matrix, RowChunk};
pub use native::NativeRule;
pub use pages::Pages;
pub use portsets::PortSet;
use portsets::PortSets;
pub use queries::{Explanation, Limit, Verdict};
pub use requests::Request;
use roaring::RoaringBitmap;
use rustc_hash::{FxHashMap, FxHashSet};
use standing::Standing;
pub use standpoint::Standpoint;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, OnceLock};
pub use succession::Numbers;
pub use trial::Grounds;
use views::Views;

/// Where a node is: its class of identity and its class of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Slot {
    identity: ClassId,
    place: ClassId,
}

/// A rule and the links made of it.
#[derive(Debug, Clone)]
struct Made {
    rule: Arc<Rule>,
    number: u32,
    links: std::ops::Range<u32>,
    standing: Standing,
}

impl Made {
    fn effect(&self) -> Effect {
        Effect::of(&self.rule)
    }
}

pub struct Engine {
    policy: Arc<Policy>,
    /// The time as of which every answer holds.
    at: Instant,
    users: Vec<User>,
    bindings: Bindings,
    tailnet: Tailnet,
    pools: Vec<Span>,
    /// Every name that rules use; rules here index these, not the policy's.
    selectors: Vec<Selector>,
    rules: Vec<Made>,
    next_number: u32,
    /// The places of rules by their numbers, and of those that no link leads to, from when they are asked for until
    /// rules are edited.
    places: OnceLock<Vec<u32>>,
    unlinked: OnceLock<Vec<usize>>,
    /// What was approved beside the policy.
    access: Vec<(Approved, Made)>,
    /// Of each membership of the policy for a time only.
    memberships: Vec<Standing>,
    catalog: Catalog,
    sets: PortSets,
    links: Both<Links>,
    ends: Ends,
    classes: Classes,
    slots: Vec<Option<Slot>>,
    nodes: FxHashMap<u32, Node>,
    /// What nodes say of themselves, each once.
    said: FxHashSet<Facts>,
    by_owner: FxHashMap<i64, FxHashSet<u32>>,
    by_address: FxHashMap<crate::address::Address, u32>,
    /// How many addresses nodes have, shared ones counted for each.
    addresses: usize,
    /// The nodes that have none.
    unaddressed: RoaringBitmap,
    /// Approved subnets, and how many nodes serve each.
    routes: BTreeMap<Span, u32>,
    /// The nodes that do.
    routers: RoaringBitmap,
    everyone: RoaringBitmap,
    /// Users and nodes as a directory, from when it is asked for until they change.
    kept: OnceLock<Arc<Directory>>,
    views: Views,
    cells: Both<matrix::State>,
    /// What denials leave of the sight between slots, as far as it was asked for.
    hidden: hidden::Known,
    /// Nodes that were put into a class since `take_moved`.
    moved: RoaringBitmap,
    /// Whom names concern that came into use for an edit to come.
    learned: RoaringBitmap,
    /// Classes that are new, or of which the first member came or the last one went, or that have other addresses:
    /// filters with denials name them, whoever sees them.
    told: Vec<ClassId>,
}

impl Policy {
    /// What holds without a policy file: each user's own, untagged devices reach each other, nothing else.
    pub fn own_devices() -> Self {
        let mut policy = Self { selectors: vec![Selector::Member, Selector::Own], ..Self::default() };
        let mut rule = simple_rule(0, 1);
        rule.access[0].protocols = (0..=u8::MAX).collect();
        policy.rules.push(Arc::new(rule));
        policy
    }

    /// The rules in force: what is written, or the one that allows everything.
    fn rules_in_force(&self) -> (Vec<Selector>, Vec<Arc<Rule>>) {
        let mut selectors = self.selectors.clone();
        if !self.allows_everything {
            return (selectors, self.rules.clone());
        }
        let any = selectors.len() as SelectorId;
        selectors.push(Selector::Any);
        let denials = self.rules.iter().filter(|rule| rule.denies()).cloned();
        (selectors, denials.chain([Arc::new(simple_rule(any, any))]).collect())
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
        window: None,
        id: 0,
    }
}

impl Engine {
    /// Compile as of a time. `bindings` are those of an earlier compilation of the same policy, or empty.
    pub fn build(policy: Arc<Policy>, directory: Directory, mut bindings: Bindings, at: Instant) -> Self {
        bindings.extend(&policy, &directory.users);
        let (selectors, rules) = policy.rules_in_force();
        let (mut sets, mut links) = (PortSets::default(), Both::<Links>::default());
        let mut catalog =
            Catalog::new(&policy, &selectors, rules.iter().enumerate().map(|(n, rule)| (n as u32, rule.as_ref())));
        catalog.bind(&policy, &selectors, &bindings, &directory.users, at);
        let names = links::Names { policy: &policy, selectors: &selectors, timed: &catalog.timed };
        let mut clock = standing::Clock::new(at);
        let mut made = Vec::with_capacity(rules.len());
        for (number, rule) in rules.into_iter().enumerate() {
            let (number, links) = (number as u32, links.get_mut(Effect::of(&rule)));
            let first = links.list.len() as u32;
            let standing = clock.standing(rule.window.as_ref());
            for link in links::links(&names, number, &rule, &mut sets) {
                let id = links.keep(link);
                if standing.is_open() {
                    links.attach(id);
                }
            }
            made.push(Made { rule, number, links: first..links.list.len() as u32, standing });
        }
        let memberships = policy.memberships.iter().map(|known| clock.standing(Some(&known.window))).collect();
        let next_number = made.len() as u32;
        let mut engine = Self {
            users: directory.users,
            bindings,
            tailnet: directory.tailnet,
            pools: directory.pools.as_slice().to_vec(),
            selectors,
            rules: made,
            next_number,
            places: OnceLock::new(),
            unlinked: OnceLock::new(),
            access: Vec::new(),
            memberships,
            at,
            catalog,
            sets,
            links,
            ends: Ends::default(),
            classes: Classes::default(),
            slots: Vec::new(),
            nodes: FxHashMap::default(),
            said: FxHashSet::default(),
            by_owner: FxHashMap::default(),
            by_address: FxHashMap::default(),
            addresses: 0,
            unaddressed: RoaringBitmap::new(),
            routes: BTreeMap::new(),
            routers: RoaringBitmap::new(),
            everyone: RoaringBitmap::new(),
            kept: OnceLock::new(),
            views: Views::default(),
            cells: Both::default(),
            hidden: hidden::Known::default(),
            moved: RoaringBitmap::new(),
            learned: RoaringBitmap::new(),
            told: Vec::new(),
            policy,
        };
        for node in directory.nodes {
            engine.place(node);
        }
        engine.told.clear();
        engine.moved.clear();
        engine.restate();
        engine
    }

    /// The time as of which every answer holds.
    pub fn at(&self) -> Instant {
        self.at
    }

    pub fn policy(&self) -> &Arc<Policy> {
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

    /// A rule by its number.
    fn made(&self, number: u32) -> Option<&Made> {
        self.at_place(self.place_of(number)?)
    }

    /// Where a rule stands in order; what was approved beside the policy stands behind its rules.
    fn place_of(&self, number: u32) -> Option<usize> {
        let places = self.places.get_or_init(|| {
            let mut places = vec![u32::MAX; self.next_number as usize];
            self.rules.iter().zip(0..).for_each(|(made, place)| places[made.number as usize] = place);
            places
        });
        let of_policy =
            places.get(number as usize).map(|place| *place as usize).filter(|place| *place < self.rules.len());
        let approved = || self.access.iter().position(|(_, made)| made.number == number);
        of_policy.or_else(|| Some(self.rules.len() + approved()?))
    }

    fn at_place(&self, place: usize) -> Option<&Made> {
        match place.checked_sub(self.rules.len()) {
            None => self.rules.get(place),
            Some(place) => self.access.get(place).map(|(_, made)| made),
        }
    }

    /// What the policy is applied to. Making it takes as long as there are nodes; it is kept while these stay.
    pub fn directory(&self) -> Arc<Directory> {
        let make = || {
            let nodes = self.nodes.values().cloned().collect();
            let mut directory = Directory::new(self.users.clone(), nodes, self.tailnet.clone());
            directory.pools = self.pools.iter().copied().collect();
            Arc::new(directory)
        };
        self.kept.get_or_init(make).clone()
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

    fn place(&mut self, mut node: Node) {
        let id = node.id;
        match self.said.get(&node.facts) {
            Some(known) => node.facts = known.clone(),
            None => _ = self.said.insert(node.facts.clone()),
        }
        let identity = self.class(self.catalog.identity(&self.policy, &node), false);
        let place = self.class(self.catalog.place(&self.policy, &node), true);
        if self.slots.len() <= id as usize {
            self.slots.resize(id as usize + 1, None);
        }
        self.slots[id as usize] = Some(Slot { identity, place });
        for class in [identity, place] {
            if self.classes.get(class).members.is_empty() {
                self.tell(class);
            }
            self.classes.insert(class, id);
            self.views.note(class, id, true);
        }
        self.tell(place);
        if let Some(owner) = node.untagged_owner() {
            self.by_owner.entry(owner).or_default().insert(id);
        }
        for address in &node.addresses {
            self.by_address.insert(*address, id);
        }
        self.addresses += node.addresses.len();
        if node.addresses.is_empty() {
            self.unaddressed.insert(id);
        }
        if !node.routes.is_empty() {
            self.routers.insert(id);
        }
        for route in &node.routes {
            *self.routes.entry(*route).or_default() += 1;
        }
        self.kept.take();
        self.moved.insert(id);
        self.everyone.insert(id);
        self.cells.accept.move_slot(id);
        self.cells.deny.move_slot(id);
        self.nodes.insert(id, node);
    }

    fn displace(&mut self, id: u32) {
        let Some(node) = self.nodes.remove(&id) else { return };
        // The one in the set, and this node's own.
        if Arc::strong_count(&node.facts) <= 2 {
            self.said.remove(&node.facts);
        }
        if let Some(slot) = self.slots[id as usize].take() {
            for class in [slot.identity, slot.place] {
                self.classes.remove(class, id);
                self.views.note(class, id, false);
                if self.classes.get(class).members.is_empty() {
                    self.tell(class);
                }
            }
            self.tell(slot.place);
        }
        if let Some(devices) = node.untagged_owner().and_then(|owner| self.by_owner.get_mut(&owner)) {
            devices.remove(&id);
        }
        self.addresses -= node.addresses.len();
        self.unaddressed.remove(id);
        self.routers.remove(id);
        for address in &node.addresses {
            if self.by_address.get(address) == Some(&id) {
                self.by_address.remove(address);
            }
        }
        for route in &node.routes {
            if let Entry::Occupied(mut serving) = self.routes.entry(*route) {
                *serving.get_mut() -= 1;
                if *serving.get() == 0 {
                    serving.remove();
                }
            }
        }
        self.kept.take();
        self.everyone.remove(id);
        self.cells.accept.move_slot(id);
        self.cells.deny.move_slot(id);
    }

    fn class(&mut self, atoms: Vec<u32>, of_addresses: bool) -> ClassId {
        if let Some(id) = self.classes.find(&atoms, of_addresses) {
            return id;
        }
        let id = self.classes.add(atoms.clone(), of_addresses);
        for effect in [Effect::Accept, Effect::Deny] {
            if self.views.is_used(effect) {
                let seen = self.sight(effect, &atoms, of_addresses);
                self.views.widen(effect, id, &seen);
            }
            self.cells.get_mut(effect).touch_sides();
            if self.cells.get(effect).is_built() {
                let (mut rows, mut column) = (self.marks().sources, self.marks().sources);
                let links = self.links.get(effect).to(&atoms).map(|(_, link)| link);
                links.for_each(|link| self.mark_rows(link, &mut rows));
                column[id as usize / 64] |= 1 << (id % 64);
                let cells = self.cells.get_mut(effect);
                cells.touch(&rows, &column);
                cells.touch_row(id);
            }
        }
        self.tell(id);
        id
    }

    fn tell(&mut self, class: ClassId) {
        if !self.links.deny.is_empty() {
            self.told.push(class);
        }
    }

    fn is_own_source(&self, id: u32) -> bool {
        let slot = self.slots.get(id as usize).copied().flatten();
        slot.is_some_and(|slot| {
            self.own_source(&self.classes.get(slot.identity).atoms, &self.classes.get(slot.place).atoms)
        })
    }

    fn own_source(&self, identity: &[u32], place: &[u32]) -> bool {
        let links = &self.links.accept;
        links.own.iter().map(|id| links.get(*id)).any(|link| {
            let named = |atoms: &[u32]| link.sources.atoms.iter().any(|atom| atoms.binary_search(atom).is_ok());
            (link.sources.any || named(identity) || named(place)) && classes::meets(&link.needs, identity)
        })
    }

    /// The policy and what was approved beside it, over a directory, now.
    pub fn scope<'a>(&'a self, directory: &'a Directory) -> Scope<'a> {
        let access: Vec<Approved> = self.access.iter().map(|(approved, _)| approved.clone()).collect();
        Scope::new(&self.policy, directory, &self.bindings, self.at).with_access(&access)
    }
}

/// The classes whose bits are set.
fn bits(words: &[u64]) -> impl Iterator<Item = ClassId> + Clone + '_ {
    words.iter().enumerate().flat_map(|(word, bits)| {
        let rest = |bits: u64| (bits != 0).then_some(bits);
        std::iter::successors(rest(*bits), move |bits| rest(bits & (bits - 1)))
            .map(move |bits| word as ClassId * 64 + bits.trailing_zeros())
    })
}

//! Atoms: the smallest facts about a node that rules can tell apart. Nodes with equal atoms are of one class.
use crate::address::{Address, Span, Spans, internet};
use crate::directory::{Node, User};
use crate::model::{Policy, Rule, SelectorId};
use crate::posture::Condition;
use crate::scope::Bindings;
use crate::selector::Selector;
use crate::window::Instant;
use rustc_hash::{FxHashMap, FxHashSet};

/// A selector or a rule in the upper bits, how it holds in the lowest three.
pub type Atom = u32;

/// The owner or the tags of the node match.
pub const IDENTITY: Atom = 0;
/// An IPv4 or IPv6 address of the node itself matches.
pub const V4: Atom = 1;
pub const V6: Atom = 2;
/// A route that the node serves overlaps.
pub const SERVED: Atom = 3;
/// The node is one that a rule steers to and serves what the rule is about. The upper bits are the rule's.
pub const VIA: Atom = 4;
/// A posture holds.
pub const POSTURE: Atom = 5;

pub fn atom(index: u32, how: Atom) -> Atom {
    index << 3 | how
}

/// Who is in a group for a time only: the selector, and the number of the membership in the policy.
#[derive(Debug, Clone, Copy)]
pub struct TimedMembers {
    pub selector: SelectorId,
    pub number: usize,
}

/// The timed members of groups.
#[derive(Debug, Clone, Default)]
pub struct Timed(FxHashMap<SelectorId, Vec<TimedMembers>>);

impl Timed {
    fn new(policy: &Policy, selectors: &[Selector]) -> Self {
        let mut new = Self::default();
        if policy.memberships.is_empty() {
            return new;
        }
        for (group, selector) in selectors.iter().enumerate() {
            let Selector::Group(name) = selector else { continue };
            let members = policy
                .memberships(name)
                .map(|number| TimedMembers { selector: policy.memberships[number].selector, number });
            new.0.insert(group as SelectorId, members.collect());
        }
        new
    }

    pub fn of(&self, group: SelectorId) -> &[TimedMembers] {
        self.0.get(&group).map_or(&[], Vec::as_slice)
    }
}

/// Finds the atoms of users, nodes and addresses, for the names that rules use.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    by_user: FxHashMap<i64, Box<[Atom]>>,
    tags: FxHashMap<Box<str>, Atom>,
    tagged: Option<Atom>,
    prefixes: FxHashMap<(bool, u8, u128), Vec<SelectorId>>,
    lengths: [Vec<u8>; 2],
    spans: Vec<(Span, SelectorId)>,
    internet: Option<SelectorId>,
    public: Spans,
    postures: Vec<u32>,
    /// Attributes that conditions ask about, and to whom `nodeAttrs` gives them.
    attributes: Vec<(Box<str>, Vec<SelectorId>)>,
    anyone: FxHashSet<SelectorId>,
    devices: FxHashMap<u32, Atom>,
    pub timed: Timed,
    steered: Vec<Steered>,
    /// Which selectors rules name.
    used: Vec<bool>,
}

/// A rule with `via`: the tags it steers to, and what it is about.
#[derive(Debug, Clone)]
struct Steered {
    rule: u32,
    tags: Vec<Box<str>>,
    spans: Vec<Span>,
    internet: bool,
}

impl Catalog {
    /// For the rules given with their numbers; `selectors` are those that the rules index.
    pub fn new<'a>(policy: &Policy, selectors: &[Selector], rules: impl Iterator<Item = (u32, &'a Rule)>) -> Self {
        let timed = Timed::new(policy, selectors);
        let mut new = Self { public: internet(), timed, used: vec![false; selectors.len()], ..Self::default() };
        let mut postures: FxHashSet<u32> = FxHashSet::default();
        for (number, rule) in rules {
            for id in rule.sources.iter().chain(&rule.destinations) {
                new.used[*id as usize] = true;
            }
            postures.extend(&rule.postures);
            if !rule.via.is_empty() {
                new.steered.push(steered(policy, selectors, number, rule));
            }
        }
        new.postures = postures.into_iter().collect();
        new.postures.sort_unstable();
        new.note_attributes(policy);
        for group in 0..selectors.len() {
            for known in new.timed.of(group as SelectorId) {
                new.used[known.selector as usize] |= new.used[group];
            }
        }
        for (id, selector) in selectors.iter().enumerate() {
            if new.used[id] {
                new.add(policy, id as SelectorId, selector);
            }
        }
        new
    }

    /// Classes tell apart who has an attribute that a posture asks about.
    fn note_attributes(&mut self, policy: &Policy) {
        let conditions = self.postures.iter().flat_map(|index| &policy.postures[*index as usize].1);
        let conditions: Vec<&Condition> = conditions.filter(|one| one.is_of_attributes()).collect();
        // Without values it is asked whether there is any attribute.
        let asks_for_any = conditions.iter().any(|one| one.values.is_empty());
        let asked: FxHashSet<&str> = conditions.iter().flat_map(|one| &one.values).map(String::as_str).collect();
        for entry in &policy.node_attrs {
            let mut names =
                entry.attributes.iter().filter(|name| asks_for_any || asked.contains(name.as_str())).peekable();
            if names.peek().is_none() {
                continue;
            }
            self.attributes.extend(names.map(|name| (name.as_str().into(), entry.targets.clone())));
            for id in &entry.targets {
                self.used[*id as usize] = true;
                if *policy.selector(*id) == Selector::Any {
                    self.anyone.insert(*id);
                }
            }
        }
    }

    /// Know one more name, which is no group.
    pub fn learn(&mut self, policy: &Policy, id: SelectorId, selector: &Selector) {
        self.used.resize(self.used.len().max(id as usize + 1), false);
        if !std::mem::replace(&mut self.used[id as usize], true) {
            self.add(policy, id, selector);
        }
    }

    /// Groups' members for a time through whom nodes have attributes that conditions ask about.
    pub fn attributed(&self) -> impl Iterator<Item = TimedMembers> {
        let groups = self.attributes.iter().flat_map(|(_, targets)| targets);
        groups.flat_map(|group| self.timed.of(*group)).copied()
    }

    /// Whether classes tell apart who holds a posture.
    pub fn knows_posture(&self, posture: u32) -> bool {
        self.postures.binary_search(&posture).is_ok()
    }

    fn add(&mut self, policy: &Policy, id: SelectorId, selector: &Selector) {
        match selector {
            Selector::Tag(tag) => {
                self.tags.insert(tag.clone(), atom(id, IDENTITY));
            }
            Selector::Tagged => self.tagged = Some(atom(id, IDENTITY)),
            Selector::Device(node) => _ = self.devices.insert(*node, atom(id, IDENTITY)),
            Selector::Internet => self.internet = Some(id),
            _ => {
                for span in policy.spans(selector).iter().flat_map(|spans| spans.iter()) {
                    self.spans.push((*span, id));
                    for (length, bits) in prefixes(span) {
                        self.prefixes.entry((span.v6, length, bits)).or_default().push(id);
                        let lengths = &mut self.lengths[usize::from(span.v6)];
                        if !lengths.contains(&length) {
                            lengths.push(length);
                        }
                    }
                }
            }
        }
    }

    /// Find anew which identities each user bears at a time. A bound name holds only while its bearer still bears it.
    pub fn bind(&mut self, policy: &Policy, selectors: &[Selector], bindings: &Bindings, users: &[User], at: Instant) {
        let known: FxHashMap<i64, &User> = users.iter().map(|user| (user.id, user)).collect();
        let bearer =
            |name: &str| known.get(bindings.0.get(name)?).filter(|user| user.is_called(name)).map(|user| user.id);
        let mut direct: FxHashMap<i64, Vec<Atom>> = FxHashMap::default();
        let mut broad: Vec<(&Selector, Atom)> = Vec::new();
        for (id, selector) in selectors.iter().enumerate().filter(|(id, _)| self.knows(*id as SelectorId)) {
            let own = atom(id as SelectorId, IDENTITY);
            let members: Vec<&Selector> = match selector {
                Selector::Group(_) => {
                    policy.members(selector).unwrap_or_default().iter().map(|member| policy.selector(*member)).collect()
                }
                Selector::Membership(number) => {
                    let known = &policy.memberships[*number as usize];
                    let members = known.members.iter().filter(|_| known.window.is_open(at));
                    members.map(|member| policy.selector(*member)).collect()
                }
                other => vec![other],
            };
            for member in members {
                match member {
                    Selector::User(name) => {
                        if let Some(user) = bearer(name) {
                            direct.entry(user).or_default().push(own);
                        }
                    }
                    Selector::Bearer(user) => direct.entry(*user).or_default().push(own),
                    Selector::Member | Selector::Role(_) | Selector::Domain(_) => broad.push((member, own)),
                    _ => {}
                }
            }
        }
        self.by_user = users
            .iter()
            .map(|user| {
                let mut atoms = direct.remove(&user.id).unwrap_or_default();
                atoms.extend(broad.iter().filter(|(selector, _)| bears(selector, user)).map(|(_, own)| *own));
                atoms.sort_unstable();
                atoms.dedup();
                (user.id, atoms.into_boxed_slice())
            })
            .collect();
    }

    /// What `autogroup:internet` stands for.
    pub fn public(&self) -> &Spans {
        &self.public
    }

    /// Whether classes tell apart who matches a selector.
    pub fn knows(&self, id: SelectorId) -> bool {
        self.used.get(id as usize).is_some_and(|used| *used)
    }

    pub fn of_user(&self, user: i64) -> &[Atom] {
        self.by_user.get(&user).map_or(&[], |atoms| atoms)
    }

    /// The atoms that decide a node's class of identity, in order.
    pub fn identity(&self, policy: &Policy, node: &Node) -> Vec<Atom> {
        let mut key = self.bearings(node);
        self.add_postures(policy, node, &mut key);
        key.sort_unstable();
        key.dedup();
        key
    }

    /// What the owner or the tags of a node match.
    fn bearings(&self, node: &Node) -> Vec<Atom> {
        let mut key = match node.untagged_owner() {
            Some(owner) => self.of_user(owner).to_vec(),
            None => node.tags.iter().filter_map(|tag| self.tags.get(tag).copied()).collect(),
        };
        if !node.tags.is_empty() {
            key.extend(self.tagged);
        }
        key.extend(self.devices.get(&node.id));
        key
    }

    /// The atoms that decide a node's class of addresses and routes, in order; none for most nodes.
    pub fn place(&self, policy: &Policy, node: &Node) -> Vec<Atom> {
        let mut key = Vec::new();
        for address in &node.addresses {
            let how = if address.v6 { V6 } else { V4 };
            self.selectors_at(*address, &mut |id| key.push(atom(id, how)));
        }
        if !node.routes.is_empty() || !node.exits.is_empty() {
            self.served(node, &mut key);
        }
        if !key.is_empty() {
            self.add_postures(policy, node, &mut key);
        }
        key.sort_unstable();
        key.dedup();
        key
    }

    fn served(&self, node: &Node, key: &mut Vec<Atom>) {
        let serves = |span: &Span| node.serves(span) || (!node.exits.is_empty() && self.public.covers(span));
        key.extend(self.spans.iter().filter(|(span, _)| serves(span)).map(|(_, id)| atom(*id, SERVED)));
        if !node.exits.is_empty() {
            key.extend(self.internet.map(|id| atom(id, SERVED)));
        }
        for steered in &self.steered {
            let about = steered.spans.iter().any(serves) || (steered.internet && !node.exits.is_empty());
            if about && steered.tags.iter().any(|tag| node.has_tag(tag)) {
                key.push(atom(steered.rule, VIA));
            }
        }
    }

    fn add_postures(&self, policy: &Policy, node: &Node, key: &mut Vec<Atom>) {
        if self.postures.is_empty() {
            return;
        }
        let attributes = self.attributes_of(node);
        let holds = |posture: &&u32| policy.postures[**posture as usize].1.iter().all(|c| c.holds(node, &attributes));
        key.extend(self.postures.iter().filter(holds).map(|posture| atom(*posture, POSTURE)));
    }

    /// Those attributes of a node that conditions may ask about.
    pub fn attributes_of(&self, node: &Node) -> Vec<&str> {
        if self.attributes.is_empty() {
            return Vec::new();
        }
        let mut ids: FxHashSet<SelectorId> = self.anyone.clone();
        ids.extend(self.bearings(node).iter().map(|atom| atom >> 3));
        node.addresses.iter().for_each(|address| self.selectors_at(*address, &mut |id| _ = ids.insert(id)));
        let has =
            |id: &SelectorId| ids.contains(id) || self.timed.of(*id).iter().any(|known| ids.contains(&known.selector));
        self.attributes.iter().filter(|(_, targets)| targets.iter().any(has)).map(|(name, _)| &**name).collect()
    }

    /// Every address selector that contains an address.
    pub fn selectors_at(&self, address: Address, found: &mut dyn FnMut(SelectorId)) {
        for length in &self.lengths[usize::from(address.v6)] {
            let key = (address.v6, *length, masked(address.v6, *length, address.bits));
            for id in self.prefixes.get(&key).into_iter().flatten() {
                found(*id);
            }
        }
        if let Some(id) = self.internet.filter(|_| self.public.contains(address)) {
            found(id);
        }
    }
}

fn steered(policy: &Policy, selectors: &[Selector], number: u32, rule: &Rule) -> Steered {
    let selector = |id: &SelectorId| &selectors[*id as usize];
    let tags = rule.via.iter().filter_map(|id| match selector(id) {
        Selector::Tag(tag) => Some(tag.clone()),
        _ => None,
    });
    let spans = rule.destinations.iter().filter_map(|id| policy.spans(selector(id))).flat_map(|spans| spans.to_vec());
    let internet = rule.destinations.iter().any(|id| *selector(id) == Selector::Internet);
    Steered { rule: number, tags: tags.collect(), spans: spans.collect(), internet }
}

/// Selectors that a user bears by nature, not by name.
fn bears(selector: &Selector, user: &User) -> bool {
    match selector {
        Selector::Member => true,
        Selector::Role(role) => user.role == *role,
        Selector::Domain(domain) => user.mailbox().is_some_and(|(_, own)| own == &**domain),
        _ => false,
    }
}

fn width(v6: bool) -> u8 {
    if v6 { 128 } else { 32 }
}

fn masked(v6: bool, length: u8, bits: u128) -> u128 {
    let host = width(v6) - length;
    if host == 128 { 0 } else { bits >> host << host }
}

/// The fewest prefixes that make up a span.
pub fn prefixes(span: &Span) -> Vec<(u8, u128)> {
    let mut found = Vec::new();
    let mut first = span.first;
    loop {
        let aligned = if first == 0 { u32::from(width(span.v6)) } else { first.trailing_zeros() };
        let mut host = aligned.min(width(span.v6).into());
        let last = |host: u32| first | 1u128.checked_shl(host).map_or(u128::MAX, |end| end - 1);
        while last(host) > span.last {
            host -= 1;
        }
        found.push((width(span.v6) - host as u8, first));
        if last(host) == span.last {
            return found;
        }
        first = last(host) + 1;
    }
}

//! Atoms: the smallest facts about a node that rules can tell apart. Nodes with equal atoms are of one class.
use crate::address::{Address, Span, Spans, internet};
use crate::directory::{Node, User};
use crate::model::{Policy, Rule, SelectorId};
use crate::scope::Bindings;
use crate::selector::Selector;
use rustc_hash::FxHashMap;

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
        let mut new = Self { public: internet(), ..Self::default() };
        let mut used = vec![false; selectors.len()];
        for (number, rule) in rules {
            for id in rule.sources.iter().chain(&rule.destinations) {
                used[*id as usize] = true;
            }
            new.postures.extend(
                rule.postures.iter().filter(|posture| !new.postures.contains(posture)).copied().collect::<Vec<_>>(),
            );
            if !rule.via.is_empty() {
                new.steered.push(steered(policy, selectors, number, rule));
            }
        }
        for (id, selector) in selectors.iter().enumerate().filter(|(id, _)| used[*id]) {
            new.add(policy, id as SelectorId, selector);
        }
        new.used = used;
        new
    }

    fn add(&mut self, policy: &Policy, id: SelectorId, selector: &Selector) {
        match selector {
            Selector::Tag(tag) => {
                self.tags.insert(tag.clone(), atom(id, IDENTITY));
            }
            Selector::Tagged => self.tagged = Some(atom(id, IDENTITY)),
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

    /// Find anew which identities each user bears. A bound name holds only while its bearer still bears it.
    pub fn bind(&mut self, policy: &Policy, selectors: &[Selector], bindings: &Bindings, users: &[User]) {
        let known: FxHashMap<i64, &User> = users.iter().map(|user| (user.id, user)).collect();
        let bearer =
            |name: &str| known.get(bindings.0.get(name)?).filter(|user| user.is_called(name)).map(|user| user.id);
        let mut direct: FxHashMap<i64, Vec<Atom>> = FxHashMap::default();
        let mut broad: Vec<(&Selector, Atom)> = Vec::new();
        for (id, selector) in selectors.iter().enumerate().filter(|(id, _)| self.used[*id]) {
            let own = atom(id as SelectorId, IDENTITY);
            let members: Vec<&Selector> = match selector {
                Selector::Group(_) => {
                    policy.members(selector).unwrap_or_default().iter().map(|member| policy.selector(*member)).collect()
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

    /// Whether classes tell apart who matches a selector.
    pub fn knows(&self, id: SelectorId) -> bool {
        self.used[id as usize]
    }

    pub fn of_user(&self, user: i64) -> &[Atom] {
        self.by_user.get(&user).map_or(&[], |atoms| atoms)
    }

    /// The atoms that decide a node's class of identity, in order.
    pub fn identity(&self, policy: &Policy, node: &Node) -> Vec<Atom> {
        let mut key = match node.untagged_owner() {
            Some(owner) => self.of_user(owner).to_vec(),
            None => node.tags.iter().filter_map(|tag| self.tags.get(tag).copied()).collect(),
        };
        if !node.tags.is_empty() {
            key.extend(self.tagged);
        }
        self.add_postures(policy, node, &mut key);
        key.sort_unstable();
        key.dedup();
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
        let holds =
            |posture: &&u32| policy.postures[**posture as usize].1.iter().all(|condition| condition.holds(node));
        key.extend(self.postures.iter().filter(holds).map(|posture| atom(*posture, POSTURE)));
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

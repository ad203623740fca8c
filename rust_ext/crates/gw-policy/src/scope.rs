//! A policy over a directory: which nodes, owners and addresses a name stands for.
use crate::access::Approved;
use crate::address::{Span, Spans, internet};
use crate::directory::{Directory, Node, User};
use crate::error::Fault;
use crate::model::{Policy, Rule, SelectorId};
use crate::selector::Selector;
use crate::window::Instant;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// The users that the names of a policy are bound to. A name stays bound to its first bearer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bindings(pub FxHashMap<Box<str>, i64>);

impl Bindings {
    /// Bind every name that one user bears and that is not bound yet.
    pub fn extend(&mut self, policy: &Policy, users: &[User]) {
        for selector in &policy.selectors {
            let Selector::User(name) = selector else { continue };
            if self.0.contains_key(name) {
                continue;
            }
            let mut bearers = users.iter().filter(|user| user.is_called(name));
            if let (Some(user), None) = (bearers.next(), bearers.next()) {
                self.0.insert(name.clone(), user.id);
            }
        }
    }
}

/// What a name resolves to.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Indices into the directory's nodes.
    pub nodes: Vec<u32>,
    pub spans: Spans,
}

pub struct Scope<'a> {
    pub policy: &'a Policy,
    pub directory: &'a Directory,
    pub bindings: &'a Bindings,
    pub at: Instant,
    pub internet: Spans,
    /// Rules of the policy whose windows are open, those that accept apart from those that deny.
    open: Vec<&'a Rule>,
    denials: Vec<&'a Rule>,
    /// Which memberships for a time hold.
    memberships: Vec<bool>,
    /// What was approved beside the policy, and the names in it.
    access: Vec<Rule>,
    names: Vec<Selector>,
    reads_attributes: bool,
    resolved: RefCell<FxHashMap<SelectorId, Rc<Resolved>>>,
}

impl<'a> Scope<'a> {
    /// The policy as it is at one time.
    pub fn new(policy: &'a Policy, directory: &'a Directory, bindings: &'a Bindings, at: Instant) -> Self {
        let (denials, open) = policy
            .rules
            .iter()
            .map(AsRef::as_ref)
            .filter(|rule: &&Rule| rule.is_open(at))
            .partition(|rule| rule.denies());
        Self {
            policy,
            directory,
            bindings,
            at,
            internet: internet(),
            open,
            denials,
            memberships: policy.memberships.iter().map(|known| known.window.is_open(at)).collect(),
            access: Vec::new(),
            names: Vec::new(),
            reads_attributes: policy.reads_attributes(),
            resolved: RefCell::default(),
        }
    }

    /// Let access that was approved count beside the policy's own rules.
    pub fn with_access(mut self, access: &[Approved]) -> Self {
        for approved in access.iter().filter(|approved| self.at < approved.until) {
            let rule = approved.rule(&mut |selector| {
                self.names.push(selector.clone());
                (self.policy.selectors.len() + self.names.len() - 1) as SelectorId
            });
            self.access.push(rule);
        }
        self
    }

    /// Rules that accept and are in force, in order.
    pub fn accepts(&self) -> impl Iterator<Item = &Rule> {
        self.open.iter().copied().chain(&self.access)
    }

    /// Rules that deny and are in force, in order of priority.
    pub fn denials(&self) -> impl Iterator<Item = &'a Rule> + '_ {
        self.denials.iter().copied()
    }

    /// Domains in `user:*@domain` must be the network's own.
    pub fn check_domains(&self) -> Result<(), Fault> {
        let Some(domains) = &self.directory.tailnet.domains else { return Ok(()) };
        match self.policy.domains.iter().find(|(_, domain)| !domains.contains(domain)) {
            None => Ok(()),
            Some((at, domain)) => {
                let message = format!(
                    "{domain} is not associated with this Tailnet and cannot be used in user:*@<domain> expressions"
                );
                Err(Fault::new(*at, message).hint(format!("expected one of {}", domains.join(", "))))
            }
        }
    }

    pub fn is_user(&self, selector: &Selector, user: &User) -> bool {
        match selector {
            Selector::User(name) => self.bindings.0.get(name) == Some(&user.id) && user.is_called(name),
            Selector::Domain(domain) => user.mailbox().is_some_and(|(_, own)| own == &**domain),
            Selector::Group(name) => {
                let members = self.policy.members(selector).unwrap_or_default();
                self.is_one_of(members, user)
                    || self.policy.memberships(name).any(|number| self.is_member(number, user))
            }
            Selector::Membership(number) => self.is_member(*number as usize, user),
            Selector::Bearer(id) => user.id == *id,
            Selector::Member => true,
            Selector::Role(role) => user.role == *role,
            _ => false,
        }
    }

    fn is_one_of(&self, members: &[SelectorId], user: &User) -> bool {
        members.iter().any(|member| self.is_user(self.policy.selector(*member), user))
    }

    fn is_member(&self, number: usize, user: &User) -> bool {
        self.memberships[number] && self.is_one_of(&self.policy.memberships[number].members, user)
    }

    /// Whether a node bears an identity. Addresses do not count here.
    pub fn is_identity(&self, selector: &Selector, node: &Node) -> bool {
        match selector {
            Selector::Any | Selector::DangerAll => true,
            Selector::Tagged => !node.tags.is_empty(),
            Selector::Tag(tag) => node.has_tag(tag),
            Selector::Device(id) => node.id == *id,
            _ => self.directory.owner(node).is_some_and(|owner| self.is_user(selector, owner)),
        }
    }

    pub fn selector(&self, id: SelectorId) -> &Selector {
        let known = self.policy.selectors.len();
        self.policy.selectors.get(id as usize).unwrap_or_else(|| &self.names[id as usize - known])
    }

    /// The nodes and addresses of a name; each is found once. `*` is the pools, without routes.
    pub fn resolve(&self, id: SelectorId) -> Rc<Resolved> {
        if let Some(found) = self.resolved.borrow().get(&id) {
            return found.clone();
        }
        let found = Rc::new(self.resolve_now(self.selector(id)));
        self.resolved.borrow_mut().insert(id, found.clone());
        found
    }

    pub fn resolve_now(&self, selector: &Selector) -> Resolved {
        match selector {
            Selector::Any | Selector::DangerAll => {
                let nodes = (0..self.directory.nodes.len() as u32).collect();
                Resolved { nodes, spans: self.directory.pools.clone() }
            }
            Selector::Internet => Resolved { nodes: Vec::new(), spans: self.internet.clone() },
            selector if selector.is_identity() => {
                let (nodes, chosen) = self.bearers(selector);
                let spans =
                    chosen.iter().flat_map(|node| node.addresses.iter().map(|address| address.span())).collect();
                Resolved { nodes, spans }
            }
            selector => match self.policy.spans(selector) {
                Some(spans) => Resolved { nodes: Vec::new(), spans: spans.iter().copied().collect() },
                None => Resolved::default(),
            },
        }
    }

    fn bearers(&self, selector: &Selector) -> (Vec<u32>, Vec<&'a Node>) {
        let all = self.directory.nodes.iter().enumerate();
        all.filter(|(_, node)| self.is_identity(selector, node)).map(|(index, node)| (index as u32, node)).unzip()
    }

    /// Every approved subnet route of the network, each once, in order of the nodes' ids.
    pub fn all_routes(&self) -> Vec<Span> {
        let mut found: Vec<Span> = Vec::new();
        for route in self.directory.nodes.iter().flat_map(|node| &node.routes) {
            if !found.contains(route) {
                found.push(*route);
            }
        }
        found
    }

    /// Whether the node itself may act under a rule's postures.
    pub fn posture_holds(&self, postures: &[u32], node: &Node) -> bool {
        if postures.is_empty() {
            return true;
        }
        let attributes = if self.reads_attributes { crate::attributes::given(self, node) } else { Vec::new() };
        let holds = |index: &u32| self.policy.postures[*index as usize].1.iter().all(|c| c.holds(node, &attributes));
        postures.iter().any(holds)
    }

    /// Whether a node, or a subnet behind it, is a source of the rule.
    pub fn is_source(&self, rule: &Rule, node: &Node) -> bool {
        self.posture_holds(&rule.postures, node)
            && rule.sources.iter().any(|id| {
                let selector = self.selector(*id);
                if selector.is_identity() || matches!(selector, Selector::Any | Selector::DangerAll) {
                    return self.is_identity(selector, node);
                }
                let resolved = self.resolve(*id);
                resolved.spans.as_slice().iter().any(|span| node.is_in(span) || node.serves(span))
            })
    }

    /// Whether packets from `route` count as a source of the rule.
    pub fn is_route_source(&self, rule: &Rule, route: &Span) -> bool {
        rule.sources.iter().any(|id| match self.selector(*id) {
            Selector::Any | Selector::DangerAll => true,
            selector if selector.is_identity() => false,
            _ => self.resolve(*id).spans.overlaps(route),
        })
    }

    /// Whether the rule has destinations at the node: itself, or what it serves. Sources are not looked at.
    pub fn is_destination(&self, rule: &Rule, node: &Node) -> bool {
        if !rule.via.is_empty() {
            return self.is_via(rule, node)
                && rule.destinations.iter().any(|id| self.serves_target(self.selector(*id), *id, node));
        }
        rule.destinations.iter().any(|id| {
            let selector = self.selector(*id);
            match selector {
                Selector::Any => true,
                Selector::Own => false,
                selector if selector.is_identity() => self.is_identity(selector, node),
                _ => {
                    let resolved = self.resolve(*id);
                    resolved.spans.as_slice().iter().any(|span| node.is_in(span))
                        || self.serves_target(selector, *id, node)
                }
            }
        })
    }

    pub fn is_via(&self, rule: &Rule, node: &Node) -> bool {
        rule.via.iter().any(|id| self.is_identity(self.selector(*id), node))
    }

    /// Whether a node's routes reach a destination; exit routes reach the public internet only.
    fn serves_target(&self, selector: &Selector, id: SelectorId, node: &Node) -> bool {
        match selector {
            Selector::Internet => !node.exits.is_empty(),
            Selector::Any | Selector::Own => false,
            selector if selector.is_identity() => false,
            _ => {
                let resolved = self.resolve(id);
                resolved.spans.as_slice().iter().any(|span| self.serves_span(span, node))
            }
        }
    }

    pub fn serves_span(&self, span: &Span, node: &Node) -> bool {
        node.serves(span) || (!node.exits.is_empty() && self.internet.covers(span))
    }

    /// Whether a rule lets `source` open connections to `target` as devices of one owner.
    pub fn is_own(&self, rule: &Rule, source: &Node, target: &Node) -> bool {
        let (Some(owner), Some(other)) = (source.untagged_owner(), target.untagged_owner()) else { return false };
        owner == other
            && rule.destinations.iter().any(|id| *self.selector(*id) == Selector::Own)
            && self.is_source(rule, source)
    }
}

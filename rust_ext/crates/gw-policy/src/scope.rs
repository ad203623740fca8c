//! A policy over a directory: which nodes, owners and addresses a name stands for.
use crate::access::Approved;
use crate::address::{Span, Spans, internet};
use crate::directory::{Directory, Node, User};
use crate::error::Fault;
use crate::model::{Policy, Rule, SelectorId};
use crate::posture::Condition;
use crate::selector::Selector;
use crate::window::Instant;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::RefCell;
use std::rc::Rc;

/// Answers about postures of nodes that are kept; where there are more, they are found out again.
const MOST_HELD: usize = 1 << 20;

/// Which users bear a name.
#[derive(Clone, Copy, PartialEq)]
enum Bearer {
    Nobody,
    One(i64),
    Several,
}

impl Bearer {
    fn and(self, user: i64) -> Self {
        if self == Self::Nobody || self == Self::One(user) { Self::One(user) } else { Self::Several }
    }
}

/// The users that the names of a policy are bound to. A name stays bound to its first bearer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bindings(pub FxHashMap<Box<str>, i64>);

impl Bindings {
    /// Bind every name that one user bears and that is not bound yet.
    pub fn extend(&mut self, policy: &Policy, users: &[User]) {
        let names = policy.selectors.iter().filter_map(|selector| match selector {
            Selector::User(name) if !self.0.contains_key(name) => Some(&**name),
            _ => None,
        });
        let names: Vec<&str> = names.collect();
        if names.is_empty() {
            return;
        }
        // A user is called by the e-mail address, by the name, and by the name before an `@`: see `User::is_called`.
        let whole: FxHashMap<&str, usize> = names.iter().copied().zip(0..).collect();
        let stems = names.iter().zip(0..).filter_map(|(name, place)| Some((name.strip_suffix('@')?, place)));
        let stems: FxHashMap<&str, usize> = stems.collect();
        let mut bearers = vec![Bearer::Nobody; names.len()];
        for user in users {
            for place in [whole.get(&*user.email), whole.get(&*user.name), stems.get(&*user.name)].into_iter().flatten()
            {
                bearers[*place] = bearers[*place].and(user.id);
            }
        }
        for (name, bearer) in names.into_iter().zip(bearers) {
            if let Bearer::One(user) = bearer {
                self.0.insert(name.into(), user);
            }
        }
    }
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
    /// What was found out so far, or is known from elsewhere.
    bearers: RefCell<Bearers>,
    spans: RefCell<FxHashMap<SelectorId, Rc<Spans>>>,
    held: RefCell<FxHashMap<(u32, u32), bool>>,
}

/// The nodes that bear identities, as indices into the directory, in order.
pub type Bearers = FxHashMap<SelectorId, Rc<[u32]>>;

impl<'a> Scope<'a> {
    /// The policy as it is at one time.
    pub fn new(policy: &'a Policy, directory: &'a Directory, bindings: &'a Bindings, at: Instant) -> Self {
        let rules = policy.rules.iter().map(AsRef::as_ref).filter(|rule: &&Rule| rule.is_open(at));
        Self::of(policy, rules, directory, bindings, at)
    }

    /// The same of some rules only, which are in force.
    pub fn of(
        policy: &'a Policy,
        rules: impl Iterator<Item = &'a Rule>,
        directory: &'a Directory,
        bindings: &'a Bindings,
        at: Instant,
    ) -> Self {
        let (denials, open) = rules.partition(|rule| rule.denies());
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
            bearers: RefCell::default(),
            spans: RefCell::default(),
            held: RefCell::default(),
        }
    }

    /// Take over who bears which name, where that is known.
    pub fn with_bearers(self, known: Bearers) -> Self {
        self.bearers.borrow_mut().extend(known);
        self
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

    /// The nodes that bear an identity, as indices into the directory; each name is looked at once.
    pub fn bearers(&self, id: SelectorId) -> Rc<[u32]> {
        if let Some(found) = self.bearers.borrow().get(&id) {
            return found.clone();
        }
        let selector = self.selector(id);
        let found: Rc<[u32]> = match (selector, self.named(selector)) {
            (Selector::Tag(tag), _) => self.directory.tagged(tag).into(),
            (_, Some(users)) => self.directory.owned(&users).into(),
            _ => {
                let nodes = self.directory.nodes.iter().zip(0..);
                nodes.filter(|(node, _)| self.is_identity(selector, node)).map(|(_, index)| index).collect()
            }
        };
        self.bearers.borrow_mut().insert(id, found.clone());
        found
    }

    /// The users whom a selector names one by one.
    fn named(&self, selector: &Selector) -> Option<FxHashSet<i64>> {
        let user = |name: &str| {
            let user = self.directory.user(*self.bindings.0.get(name)?)?;
            user.is_called(name).then_some(user.id)
        };
        let one = |id: &SelectorId| match self.policy.selector(*id) {
            Selector::User(name) => Some(user(name)),
            _ => None,
        };
        match selector {
            Selector::User(name) => Some(user(name).into_iter().collect()),
            Selector::Bearer(id) => Some(self.directory.user(*id).map(|user| user.id).into_iter().collect()),
            Selector::Group(name) => {
                let timed = self.policy.memberships(name).filter(|number| self.memberships[*number]);
                let timed = timed.flat_map(|number| &self.policy.memberships[number].members);
                let members = self.policy.members(selector).unwrap_or_default().iter().chain(timed);
                Some(members.map(one).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
            }
            _ => None,
        }
    }

    /// The addresses of a name; each is looked at once. `*` is the pools, without routes.
    pub fn spans(&self, id: SelectorId) -> Rc<Spans> {
        if let Some(found) = self.spans.borrow().get(&id) {
            return found.clone();
        }
        let selector = self.selector(id);
        let found = Rc::new(match selector.is_identity() {
            true => self.addresses(self.bearers(id).iter().map(|index| &self.directory.nodes[*index as usize])),
            false => self.spans_of(selector),
        });
        self.spans.borrow_mut().insert(id, found.clone());
        found
    }

    /// The addresses of what need not be a name of the policy.
    pub fn spans_of(&self, selector: &Selector) -> Spans {
        match selector {
            Selector::Any | Selector::DangerAll => self.directory.pools.clone(),
            Selector::Internet => self.internet.clone(),
            selector if selector.is_identity() => {
                self.addresses(self.directory.nodes.iter().filter(|node| self.is_identity(selector, node)))
            }
            selector => self.policy.spans(selector).map_or(Spans::default(), |spans| spans.iter().copied().collect()),
        }
    }

    fn addresses<'n>(&self, nodes: impl Iterator<Item = &'n Node>) -> Spans {
        nodes.flat_map(|node| node.addresses.iter().map(|address| address.span())).collect()
    }

    /// Every approved subnet route of the network, each once, in order of the nodes' ids.
    pub fn all_routes(&self) -> Vec<Span> {
        let mut known: FxHashSet<&Span> = FxHashSet::default();
        let routes = self.directory.nodes.iter().flat_map(|node| &node.routes);
        routes.filter(|route| known.insert(route)).copied().collect()
    }

    /// Whether the node itself may act under a rule's postures.
    pub fn posture_holds(&self, postures: &[u32], node: &Node) -> bool {
        postures.is_empty() || postures.iter().any(|posture| self.holds(*posture, node))
    }

    fn holds(&self, posture: u32, node: &Node) -> bool {
        if let Some(known) = self.held.borrow().get(&(posture, node.id)) {
            return *known;
        }
        let conditions = &self.policy.postures[posture as usize].1;
        let asks = conditions.iter().any(Condition::is_of_attributes);
        let attributes = if asks { crate::attributes::asked(self, node, conditions) } else { Vec::new() };
        let holds = conditions.iter().all(|one| one.holds(node, &attributes));
        let mut held = self.held.borrow_mut();
        if held.len() == MOST_HELD {
            held.clear();
        }
        held.insert((posture, node.id), holds);
        holds
    }

    /// Whether a node, or a subnet behind it, is a source of the rule.
    pub fn is_source(&self, rule: &Rule, node: &Node) -> bool {
        self.posture_holds(&rule.postures, node)
            && rule.sources.iter().any(|id| {
                let selector = self.selector(*id);
                if selector.is_identity() || matches!(selector, Selector::Any | Selector::DangerAll) {
                    return self.is_identity(selector, node);
                }
                self.spans(*id).as_slice().iter().any(|span| node.is_in(span) || node.serves(span))
            })
    }

    /// Whether packets from `route` count as a source of the rule.
    pub fn is_route_source(&self, rule: &Rule, route: &Span) -> bool {
        rule.sources.iter().any(|id| match self.selector(*id) {
            Selector::Any | Selector::DangerAll => true,
            selector if selector.is_identity() => false,
            _ => self.spans(*id).overlaps(route),
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
                    self.spans(*id).as_slice().iter().any(|span| node.is_in(span))
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
            _ => self.spans(id).as_slice().iter().any(|span| self.serves_span(span, node)),
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

//! Who sees whom, and which routes a node may use through which peer.
use crate::address::Span;
use crate::directory::Node;
use crate::model::Rule;
use crate::scope::Scope;
use crate::selector::Selector;
use rustc_hash::{FxHashMap, FxHashSet};

/// What one node sees of another.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerRoutes {
    /// Subnets for which the peer is the router to use.
    pub primary: Vec<Span>,
    /// Default routes through the peer.
    pub exits: Vec<Span>,
}

pub struct Peers<'a> {
    scope: &'a Scope<'a>,
    rules: Vec<&'a Rule>,
    /// For each rule and node of the directory: is it a source, is it a destination.
    sides: Vec<(Vec<bool>, Vec<bool>)>,
    /// The router of each route: the oldest that serves it.
    primaries: FxHashMap<Span, u32>,
    /// Pairs that denials hide from each other, by index.
    hidden: FxHashSet<(usize, usize)>,
}

impl<'a> Peers<'a> {
    pub fn new(scope: &'a Scope<'a>) -> Self {
        let nodes = &scope.directory.nodes;
        let side = |rule: &Rule| {
            let sources = nodes.iter().map(|node| scope.is_source(rule, node)).collect();
            (sources, nodes.iter().map(|node| scope.is_destination(rule, node)).collect())
        };
        let mut primaries = FxHashMap::default();
        for node in nodes {
            for route in &node.routes {
                primaries.entry(*route).or_insert(node.id);
            }
        }
        let rules: Vec<&Rule> = scope.accepts().collect();
        let sides = rules.iter().map(|rule| side(rule)).collect();
        Self { scope, rules, sides, primaries, hidden: FxHashSet::default() }
    }

    /// Hide peers from viewers, both by id.
    pub fn hide(&mut self, mut is_hidden: impl FnMut(u32, u32) -> bool) {
        let ids = || self.scope.directory.nodes.iter().map(|node| node.id).enumerate();
        let pairs = ids().flat_map(|left| ids().map(move |right| (left, right)));
        self.hidden = pairs.filter(|(l, r)| is_hidden(l.1, r.1)).map(|(left, right)| (left.0, right.0)).collect();
    }

    /// Whether traffic may flow between two nodes of the directory (by index), in either direction.
    pub fn see(&self, left: usize, right: usize) -> bool {
        left != right
            && !self.hidden.contains(&(left, right))
            && (self.scope.policy.allows_everything || self.reaches(left, right) || self.reaches(right, left))
    }

    fn reaches(&self, source: usize, target: usize) -> bool {
        let nodes = &self.scope.directory.nodes;
        self.rules.iter().zip(&self.sides).any(|(rule, (sources, targets))| {
            sources[source] && (targets[target] || self.scope.is_own(rule, &nodes[source], &nodes[target]))
        })
    }

    /// What `viewer` may use `peer` for beyond the peer itself (both by index).
    pub fn routes(&self, viewer: usize, peer: usize) -> PeerRoutes {
        let nodes = &self.scope.directory.nodes;
        let router = &nodes[peer];
        let primary = router.routes.iter().filter(|route| self.routes_via(viewer, peer, route)).copied().collect();
        let exits = if self.exits_via(viewer, router) { router.exits.clone() } else { Vec::new() };
        PeerRoutes { primary, exits }
    }

    fn routes_via(&self, viewer: usize, peer: usize, route: &Span) -> bool {
        let nodes = &self.scope.directory.nodes;
        let (me, router) = (&nodes[viewer], &nodes[peer]);
        let is_primary = self.primaries.get(route) == Some(&router.id);
        if self.scope.policy.allows_everything {
            return is_primary;
        }
        if is_primary && me.routes.contains(route) {
            return true;
        }
        let mut steered = false;
        for (rule, (sources, targets)) in self.rules.iter().zip(&self.sides) {
            if is_primary && targets[viewer] && self.scope.is_route_source(rule, route) {
                return true;
            }
            if !sources[viewer] || !self.names(rule, route) {
                continue;
            }
            if rule.via.is_empty() {
                return is_primary || self.back(viewer, is_primary, route);
            }
            steered |= self.via_primary(rule, route) == Some(router.id);
        }
        steered && !self.plainly(viewer, route)
    }

    /// Whether some rule lets the subnet open connections to the viewer.
    fn back(&self, viewer: usize, is_primary: bool, route: &Span) -> bool {
        let rules = self.rules.iter().zip(&self.sides);
        is_primary
            && rules.into_iter().any(|(rule, (_, targets))| targets[viewer] && self.scope.is_route_source(rule, route))
    }

    /// Whether a rule without `via` gives the viewer the route.
    fn plainly(&self, viewer: usize, route: &Span) -> bool {
        let mut rules = self.rules.iter().zip(&self.sides);
        rules.any(|(rule, (sources, _))| rule.via.is_empty() && sources[viewer] && self.names(rule, route))
    }

    /// Whether a destination of the rule lies in the route or around it.
    fn names(&self, rule: &Rule, route: &Span) -> bool {
        rule.destinations.iter().any(|id| match self.scope.selector(*id) {
            Selector::Any => true,
            Selector::Internet | Selector::Own => false,
            selector if selector.is_identity() => false,
            _ => self.scope.spans(*id).overlaps(route),
        })
    }

    /// Of the routers that a rule steers to, the oldest that serves the route.
    fn via_primary(&self, rule: &Rule, route: &Span) -> Option<u32> {
        let nodes = self.scope.directory.nodes.iter();
        let mut serving = nodes.filter(|node| node.routes.contains(route) && self.scope.is_via(rule, node));
        serving.next().map(|node| node.id)
    }

    fn exits_via(&self, viewer: usize, router: &Node) -> bool {
        if router.exits.is_empty() {
            return false;
        }
        if self.scope.policy.allows_everything {
            return true;
        }
        let internet = |rule: &Rule| {
            rule.destinations.iter().any(|id| matches!(self.scope.selector(*id), Selector::Any | Selector::Internet))
        };
        let rules = self.rules.iter().zip(&self.sides);
        rules
            .filter(|(rule, (sources, _))| sources[viewer] && internet(rule))
            .any(|(rule, _)| rule.via.is_empty() || self.scope.is_via(rule, router))
    }
}

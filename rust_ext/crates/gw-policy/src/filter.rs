//! The packet filter of a node in the service's shape.
use crate::address::{Address, Span};
use crate::directory::Node;
use crate::model::{Access, Capabilities, Rule, SelectorId};
use crate::ports::{Ports, Protocols};
use crate::scope::Scope;
use crate::selector::Selector;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

/// Capabilities that come with another one in the opposite direction.
const COMPANIONS: [(&str, &str); 2] = [
    ("tailscale.com/cap/drive", "tailscale.com/cap/drive-sharer"),
    ("tailscale.com/cap/relay", "tailscale.com/cap/relay-target"),
];

/// Whether a rule gives capabilities to its sources, too.
pub fn has_companions(rule: &Rule) -> bool {
    rule.app.iter().any(|(name, _)| COMPANIONS.iter().any(|(capability, _)| name == capability))
}

/// One rule as sent. It carries ports or capabilities, never both.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterRule {
    pub sources: Rc<[String]>,
    pub targets: Vec<(String, Ports)>,
    pub protocols: Protocols,
    pub grants: Vec<(Vec<String>, Capabilities)>,
}

/// Rules with equal sources and protocols are one.
type Merge = (Rc<[String]>, Protocols);

/// The sources that a rule names, and its postures.
type Names<'a> = (&'a [SelectorId], &'a [u32]);

/// What all nodes' filters share.
pub struct Filters<'a> {
    scope: &'a Scope<'a>,
    rules: Vec<&'a Rule>,
    /// The sources of rules, by what these name.
    sources: RefCell<FxHashMap<Names<'a>, Rc<[String]>>>,
    routes: OnceCell<Vec<Span>>,
    /// Where each pair of sources and protocols first occurs in the policy.
    places: OnceCell<FxHashMap<Merge, usize>>,
}

impl<'a> Filters<'a> {
    pub fn new(scope: &'a Scope<'a>) -> Self {
        let rules: Vec<&Rule> = scope.accepts().collect();
        Self { scope, rules, sources: RefCell::default(), routes: OnceCell::new(), places: OnceCell::new() }
    }

    /// The rules of one node, in order, without what is denied.
    pub fn of(&self, node: &Node) -> Vec<FilterRule> {
        crate::denied::cut(self.scope, node, self.accepted(node))
    }

    fn accepted(&self, node: &Node) -> Vec<FilterRule> {
        if self.scope.policy.allows_everything {
            return self.everything();
        }
        let mut found: Vec<(usize, FilterRule)> = Vec::new();
        let mut places: FxHashMap<Merge, usize> = FxHashMap::default();
        for (index, rule) in self.rules.iter().enumerate() {
            for emitted in self.rule(rule, node) {
                if !emitted.grants.is_empty() {
                    found.push((index, emitted));
                    continue;
                }
                let key = (emitted.sources.clone(), emitted.protocols.clone());
                match places.get(&key) {
                    Some(place) => found[*place].1.targets.extend(emitted.targets),
                    None => {
                        let first = self.first_place(&key).map_or(index, |first| first.min(index));
                        places.insert(key, found.len());
                        found.push((first, emitted));
                    }
                }
            }
        }
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, rule)| rule).collect()
    }

    fn everything(&self) -> Vec<FilterRule> {
        let sources = self.any_sources().into();
        let targets = vec![("*".to_owned(), crate::ports::ALL_PORTS)];
        vec![FilterRule { sources, targets, protocols: Vec::new(), grants: Vec::new() }]
    }

    /// The whole network's rules are merged before they are cut to a node, so a rule that another node alone
    /// receives still decides where its equals stand.
    fn first_place(&self, key: &Merge) -> Option<usize> {
        let places = self.places.get_or_init(|| {
            let mut places = FxHashMap::default();
            for (index, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.via.is_empty()) {
                for access in &rule.access {
                    if access.targets.iter().any(|(id, _)| *self.scope.selector(*id) != Selector::Own) {
                        places.entry((self.sources(rule), access.protocols.clone())).or_insert(index);
                    }
                }
            }
            places
        });
        places.get(key).copied()
    }

    fn rule(&self, rule: &'a Rule, node: &Node) -> Vec<FilterRule> {
        let mut found = Vec::new();
        if rule.sources.is_empty() || rule.destinations.is_empty() {
            return found;
        }
        for access in &rule.access {
            self.access(rule, access, node, &mut found);
        }
        if !rule.app.is_empty() && rule.via.is_empty() {
            self.grants(rule, node, &mut found);
        }
        found
    }

    fn access(&self, rule: &'a Rule, access: &Access, node: &Node, found: &mut Vec<FilterRule>) {
        let own = |id: SelectorId| *self.scope.selector(id) == Selector::Own;
        for part in access.targets.chunk_by(|(left, _), (right, _)| own(*left) == own(*right)) {
            let mut targets = Vec::new();
            for (id, ports) in part {
                for text in self.targets(rule, *id, node) {
                    targets.extend(ports.iter().map(|ports| (text.clone(), *ports)));
                }
            }
            if targets.is_empty() {
                continue;
            }
            let sources = if own(part[0].0) { self.own_sources(rule, node) } else { self.sources(rule) };
            if !sources.is_empty() {
                found.push(FilterRule { sources, targets, protocols: access.protocols.clone(), grants: Vec::new() });
            }
        }
    }

    /// What a destination is at this node, as the service writes it.
    fn targets(&self, rule: &Rule, id: SelectorId, node: &Node) -> Vec<String> {
        let scope = self.scope;
        let selector = scope.selector(id);
        let routed = !rule.via.is_empty();
        if routed && !scope.is_via(rule, node) {
            return Vec::new();
        }
        match selector {
            Selector::Internet if node.exits.is_empty() => Vec::new(),
            Selector::Internet => scope.internet.as_slice().iter().map(range).collect(),
            Selector::Any if !routed => vec!["*".to_owned()],
            Selector::Own if !routed && node.untagged_owner().is_some() => own_texts(node),
            Selector::Any | Selector::Own => Vec::new(),
            selector if selector.is_identity() => {
                if !routed && scope.is_identity(selector, node) {
                    own_texts(node)
                } else {
                    Vec::new()
                }
            }
            _ => {
                let here = |span: &&Span| (!routed && node.is_in(span)) || scope.serves_span(span, node);
                scope.spans(id).as_slice().iter().filter(here).map(ToString::to_string).collect()
            }
        }
    }

    /// The sources of a rule, each text once.
    fn sources(&self, rule: &'a Rule) -> Rc<[String]> {
        let names = (&rule.sources[..], &rule.postures[..]);
        if let Some(known) = self.sources.borrow().get(&names) {
            return known.clone();
        }
        let found: Rc<[String]> = self.source_texts(rule).into();
        self.sources.borrow_mut().insert(names, found.clone());
        found
    }

    fn source_texts(&self, rule: &Rule) -> Vec<String> {
        let scope = self.scope;
        let is = |wanted: &Selector| rule.sources.iter().any(|id| scope.selector(*id) == wanted);
        if is(&Selector::DangerAll) {
            return vec!["*".to_owned()];
        }
        let wild = is(&Selector::Any);
        let mut texts = match (wild, rule.postures.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => self.any_sources(),
            (true, false) => self.holders(rule),
        };
        for id in rule.sources.iter().filter(|id| *scope.selector(**id) != Selector::Any) {
            texts.extend(self.source_spans(rule, *id).iter().map(ToString::to_string));
        }
        texts.sort_unstable();
        texts.dedup();
        texts
    }

    /// `*` under a posture is the nodes that hold it.
    fn holders(&self, rule: &Rule) -> Vec<String> {
        let nodes = self.scope.directory.nodes.iter().filter(|node| self.scope.posture_holds(&rule.postures, node));
        nodes.flat_map(|node| node.addresses.iter().map(ToString::to_string)).collect()
    }

    /// Addresses of devices stay apart, also where they happen to be neighbours. Under a posture an address counts
    /// only as that of a node that holds it.
    fn source_spans(&self, rule: &Rule, id: SelectorId) -> Vec<Span> {
        let scope = self.scope;
        let addresses = |nodes: &[u32]| -> Vec<Address> {
            let nodes = nodes.iter().map(|index| &scope.directory.nodes[*index as usize]);
            nodes
                .filter(|node| scope.posture_holds(&rule.postures, node))
                .flat_map(|node| node.addresses.clone())
                .collect()
        };
        if scope.selector(id).is_identity() {
            return addresses(&scope.bearers(id)).iter().map(|address| address.span()).collect();
        }
        let spans = scope.spans(id);
        if rule.postures.is_empty() {
            return spans.as_slice().to_vec();
        }
        let inside = addresses(&scope.directory.within(&spans));
        inside.iter().filter(|address| spans.contains(**address)).map(|address| address.span()).collect()
    }

    /// `*` as a source: the pools, and each approved subnet route, also one inside another.
    fn any_sources(&self) -> Vec<String> {
        let routes = self.routes.get_or_init(|| self.scope.all_routes());
        self.scope.directory.pools.as_slice().iter().chain(routes).map(ToString::to_string).collect()
    }

    /// For `autogroup:self`: the node's owner's own devices, as far as the rule's sources name them.
    fn own_sources(&self, rule: &Rule, node: &Node) -> Rc<[String]> {
        let nodes = self.scope.directory.nodes.iter().filter(|other| self.scope.is_own(rule, other, node));
        let mut texts: Vec<String> = nodes.flat_map(|other| other.addresses.iter().map(ToString::to_string)).collect();
        texts.sort_unstable();
        texts.into()
    }

    fn grants(&self, rule: &'a Rule, node: &Node, found: &mut Vec<FilterRule>) {
        let own = |id: &&SelectorId| *self.scope.selector(**id) == Selector::Own;
        let sides: [Vec<SelectorId>; 2] = [
            rule.destinations.iter().filter(|id| !own(id)).copied().collect(),
            rule.destinations.iter().filter(own).copied().collect(),
        ];
        for (side, destinations) in sides.iter().enumerate().filter(|(_, destinations)| !destinations.is_empty()) {
            let sources = if side == 1 { self.own_sources(rule, node) } else { self.sources(rule) };
            if side == 1 && sources.is_empty() {
                continue;
            }
            let dsts = destinations.iter().map(|id| self.grant_targets(*id, node)).filter(|dsts| !dsts.is_empty());
            let grants: Vec<_> = dsts.map(|dsts| (dsts, rule.app.clone())).collect();
            if !grants.is_empty() {
                found.push(FilterRule { sources: sources.clone(), targets: Vec::new(), protocols: Vec::new(), grants });
            }
            self.companions(rule, destinations, side == 1, node, found);
        }
    }

    /// Capabilities hold at the node's own addresses and at the prefixes it serves.
    fn grant_targets(&self, id: SelectorId, node: &Node) -> Vec<String> {
        let selector = self.scope.selector(id);
        let all = || node.addresses.iter().map(|address| address.span().cidr()).collect();
        match selector {
            Selector::Any => all(),
            Selector::Own => {
                if node.untagged_owner().is_some() {
                    all()
                } else {
                    Vec::new()
                }
            }
            selector if selector.is_identity() => {
                if self.scope.is_identity(selector, node) {
                    all()
                } else {
                    Vec::new()
                }
            }
            _ => {
                let spans = self.scope.spans(id);
                let inside = node.addresses.iter().filter(|address| spans.contains(**address));
                let served = spans.as_slice().iter().filter(|span| node.serves(span));
                inside.map(|address| address.span().cidr()).chain(served.map(Span::cidr)).collect()
            }
        }
    }

    /// The capabilities that a source gets towards its destinations, because it gave or was given others.
    fn companions(
        &self,
        rule: &Rule,
        destinations: &[SelectorId],
        own: bool,
        node: &Node,
        found: &mut Vec<FilterRule>,
    ) {
        for (_, companion) in COMPANIONS.iter().filter(|(cap, _)| rule.app.iter().any(|(name, _)| name == cap)) {
            let dsts: Vec<String> = if own {
                if node.untagged_owner().is_some() {
                    node.addresses.iter().map(|a| a.span().cidr()).collect()
                } else {
                    Vec::new()
                }
            } else {
                self.companion_targets(rule, node)
            };
            if dsts.is_empty() {
                continue;
            }
            let sources = if own { self.own_sources(rule, node) } else { self.companion_sources(rule, destinations) };
            let given = vec![((*companion).to_owned(), serde_json::Value::Null)];
            found.push(FilterRule { sources, targets: Vec::new(), protocols: Vec::new(), grants: vec![(dsts, given)] });
        }
    }

    fn companion_targets(&self, rule: &Rule, node: &Node) -> Vec<String> {
        once(rule.sources.iter().flat_map(|id| self.grant_targets(*id, node)))
    }

    fn companion_sources(&self, rule: &Rule, destinations: &[SelectorId]) -> Rc<[String]> {
        let texts = |id: &SelectorId| match self.scope.selector(*id) {
            Selector::Any => self.any_sources(),
            _ => self.source_spans(rule, *id).iter().map(ToString::to_string).collect(),
        };
        once(destinations.iter().flat_map(texts)).into()
    }
}

/// Each text where it first stands.
fn once(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut known: FxHashSet<String> = FxHashSet::default();
    texts.filter(|text| known.insert(text.clone())).collect()
}

fn own_texts(node: &Node) -> Vec<String> {
    node.addresses.iter().map(ToString::to_string).collect()
}

/// Public ranges are written as ranges, also where a prefix would do.
fn range(span: &Span) -> String {
    let (first, last) = (Span { last: span.first, ..*span }, Span { first: span.last, ..*span });
    format!("{first}-{last}")
}

//! Denials cut out of a packet filter in the service's shape, which can only say what is accepted.
use crate::address::{Span, Spans};
use crate::directory::Node;
use crate::filter::FilterRule;
use crate::model::{Rule, SelectorId};
use crate::ports::{ALL_PORTS, DEFAULT_PROTOCOLS, Ports, Protocols, has_ports};
use crate::scope::Scope;
use crate::selector::Selector;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// What may not come in to one node.
struct Denial {
    sources: Spans,
    targets: Spans,
    protocols: Protocols,
    ports: Vec<Ports>,
}

/// A part of what is accepted: every source may reach every target.
#[derive(Clone)]
struct Part {
    sources: Spans,
    targets: Vec<(Spans, Ports)>,
    protocols: Protocols,
}

/// The rules of a node's filter without what is denied. Rules that no denial meets stay as they are written.
pub fn cut(scope: &Scope<'_>, node: &Node, rules: Vec<FilterRule>) -> Vec<FilterRule> {
    let denials = merged(scope.denials().flat_map(|rule| at(scope, rule, node)));
    if denials.is_empty() {
        return rules;
    }
    let cut = |rule: FilterRule| if rule.grants.is_empty() { without(rule, &denials) } else { granted(rule, &denials) };
    rules.into_iter().flat_map(cut).collect()
}

/// Denials of the same, each of all its sources.
fn merged(denials: impl Iterator<Item = Denial>) -> Vec<Denial> {
    let (mut found, mut sources): (Vec<Denial>, Vec<Vec<Span>>) = (Vec::new(), Vec::new());
    let mut places: FxHashMap<(Spans, Protocols, Vec<Ports>), usize> = FxHashMap::default();
    for denial in denials {
        let key = (denial.targets.clone(), denial.protocols.clone(), denial.ports.clone());
        let place = *places.entry(key).or_insert(found.len());
        if place == found.len() {
            sources.push(denial.sources.as_slice().to_vec());
            found.push(denial);
        } else {
            sources[place].extend(denial.sources.as_slice());
        }
    }
    for (denial, sources) in found.iter_mut().zip(sources) {
        denial.sources = sources.into_iter().collect();
    }
    found
}

/// What a rule denies at a node.
fn at(scope: &Scope<'_>, rule: &Rule, node: &Node) -> Vec<Denial> {
    let mut found = Vec::new();
    for access in &rule.access {
        for (id, ports) in &access.targets {
            let targets = targets(scope, *id, node);
            if targets.is_empty() {
                continue;
            }
            let own = *scope.selector(*id) == Selector::Own;
            let sources = if own { own_sources(scope, rule, node) } else { sources(scope, rule) };
            let protocols = protocols(&access.protocols);
            found.push(Denial { sources, targets, protocols, ports: ports.to_vec() });
        }
    }
    found
}

fn protocols(written: &Protocols) -> Protocols {
    if written.is_empty() { DEFAULT_PROTOCOLS.to_vec() } else { written.clone() }
}

/// What of a destination is at the node. One address of the node stands for all of them.
fn targets(scope: &Scope<'_>, id: SelectorId, node: &Node) -> Spans {
    let all = || node.addresses.iter().map(|address| address.span());
    match scope.selector(id) {
        Selector::Any => everything(),
        Selector::Own if node.untagged_owner().is_some() => all().collect(),
        Selector::Own => Spans::default(),
        Selector::Internet if node.exits.is_empty() => Spans::default(),
        Selector::Internet => scope.internet.clone(),
        selector if selector.is_identity() => all().filter(|_| scope.is_identity(selector, node)).collect(),
        _ => {
            let spans = scope.spans(id);
            let whole = spans.as_slice().iter().any(|span| node.is_in(span));
            let served = spans.as_slice().iter().filter(|span| scope.serves_span(span, node)).copied();
            all().filter(|_| whole).chain(served).collect()
        }
    }
}

fn sources(scope: &Scope<'_>, rule: &Rule) -> Spans {
    let mut found: Vec<Span> = Vec::new();
    for id in &rule.sources {
        let selector = scope.selector(*id);
        let named: Rc<[u32]> = match selector {
            Selector::DangerAll | Selector::Any => (0..scope.directory.nodes.len() as u32).collect(),
            selector if selector.is_identity() => scope.bearers(*id),
            _ => scope.directory.within(&scope.spans(*id)).into(),
        };
        let named = named.iter().map(|index| &scope.directory.nodes[*index as usize]);
        let holders = named.filter(|node| scope.posture_holds(&rule.postures, node));
        found.extend(holders.flat_map(|node| node.addresses.iter().map(|address| address.span())));
        if !rule.postures.is_empty() {
            continue;
        }
        match selector {
            Selector::DangerAll => found.extend(everything().as_slice()),
            Selector::Any => {
                found.extend(scope.directory.pools.as_slice());
                found.extend(scope.all_routes());
            }
            selector if selector.is_identity() => {}
            _ => found.extend(scope.spans(*id).as_slice()),
        }
    }
    found.into_iter().collect()
}

fn own_sources(scope: &Scope<'_>, rule: &Rule, node: &Node) -> Spans {
    let devices = scope.directory.nodes.iter().filter(|other| scope.is_own(rule, other, node));
    devices.flat_map(|other| other.addresses.iter().map(|address| address.span())).collect()
}

fn everything() -> Spans {
    ["0.0.0.0/0", "::/0"].into_iter().filter_map(Span::parse).collect()
}

fn spans(text: &str) -> Spans {
    if text == "*" { everything() } else { Span::parse_wide(text).into_iter().collect() }
}

fn without(rule: FilterRule, denials: &[Denial]) -> Vec<FilterRule> {
    let whole = Part {
        sources: rule.sources.iter().flat_map(|text| spans(text).as_slice().to_vec()).collect(),
        targets: rule.targets.iter().map(|(text, ports)| (spans(text), *ports)).collect(),
        protocols: protocols(&rule.protocols),
    };
    if !denials.iter().any(|denial| denial.meets(&whole)) {
        return vec![rule];
    }
    let mut parts = vec![whole];
    for denial in denials {
        parts = parts.into_iter().flat_map(|part| denial.cut(part)).collect();
    }
    parts.into_iter().map(Part::written).collect()
}

/// Capabilities hold where not everything is denied.
fn granted(rule: FilterRule, denials: &[Denial]) -> Vec<FilterRule> {
    let mut parts: Vec<(Spans, FilterRule)> =
        vec![(rule.sources.iter().flat_map(|text| spans(text).as_slice().to_vec()).collect(), rule)];
    for denial in denials.iter().filter(|denial| denial.is_of_everything()) {
        let split = |(sources, rule): (Spans, FilterRule)| {
            let hit = sources.common(&denial.sources);
            if hit.is_empty() {
                return vec![(sources, rule)];
            }
            let rest = sources.without(&denial.sources);
            let mut left = rule.clone();
            for (dsts, _) in &mut left.grants {
                dsts.retain(|dst| spans(dst).common(&denial.targets).is_empty());
            }
            left.grants.retain(|(dsts, _)| !dsts.is_empty());
            let kept = |spans: &Spans| spans.as_slice().iter().map(ToString::to_string).collect();
            let split = [FilterRule { sources: kept(&rest), ..rule }, FilterRule { sources: kept(&hit), ..left }];
            [rest, hit].into_iter().zip(split).collect()
        };
        parts = parts.into_iter().flat_map(split).collect();
        parts.retain(|(sources, rule)| !sources.is_empty() && !rule.grants.is_empty());
    }
    parts.into_iter().map(|(_, rule)| rule).collect()
}

impl Denial {
    fn is_of_everything(&self) -> bool {
        self.protocols.len() == 256 && self.ports.contains(&ALL_PORTS)
    }

    fn meets(&self, part: &Part) -> bool {
        part.protocols.iter().any(|number| self.protocols.contains(number))
            && part.targets.iter().any(|(spans, _)| !spans.common(&self.targets).is_empty())
            && !part.sources.common(&self.sources).is_empty()
    }

    /// What is left of a part, in parts that have nothing in common.
    fn cut(&self, part: Part) -> Vec<Part> {
        if !self.meets(&part) {
            return vec![part];
        }
        let hit = part.sources.common(&self.sources);
        let (inside, outside): (Vec<u8>, Vec<u8>) =
            part.protocols.iter().partition(|number| self.protocols.contains(number));
        let (ported, portless): (Vec<u8>, Vec<u8>) = inside.into_iter().partition(|number| has_ports(*number));
        let away = part.targets.iter().map(|(spans, ports)| (spans.without(&self.targets), *ports)).collect();
        let near = part.targets.iter().map(|(spans, ports)| (spans.common(&self.targets), *ports));
        let open = near
            .flat_map(|(spans, ports)| gaps(ports, &self.ports).into_iter().map(move |ports| (spans.clone(), ports)));
        let elsewhere: Vec<(Spans, Ports)> = away;
        let ported_targets = elsewhere.iter().cloned().chain(open).collect();
        let pieces = [
            Part { sources: part.sources.without(&self.sources), ..part.clone() },
            Part { sources: hit.clone(), protocols: outside, ..part },
            Part { sources: hit.clone(), protocols: portless, targets: elsewhere },
            Part { sources: hit, protocols: ported, targets: ported_targets },
        ];
        pieces.into_iter().map(Part::trimmed).filter(|part| !part.is_empty()).collect()
    }
}

impl Part {
    fn trimmed(mut self) -> Self {
        self.targets.retain(|(spans, _)| !spans.is_empty());
        self
    }

    fn is_empty(&self) -> bool {
        self.sources.is_empty() || self.targets.is_empty() || self.protocols.is_empty()
    }

    fn written(self) -> FilterRule {
        let texts = |spans: &Spans| spans.as_slice().iter().map(ToString::to_string).collect::<Vec<_>>();
        let targets = self.targets.iter();
        let targets = targets.flat_map(|(spans, ports)| texts(spans).into_iter().map(|text| (text, *ports))).collect();
        let is_default = self.protocols.len() == DEFAULT_PROTOCOLS.len()
            && DEFAULT_PROTOCOLS.iter().all(|number| self.protocols.contains(number));
        let protocols = if is_default { Vec::new() } else { self.protocols };
        FilterRule { sources: texts(&self.sources).into(), targets, protocols, grants: Vec::new() }
    }
}

/// The ports of a range that others leave.
fn gaps(range: Ports, others: &[Ports]) -> Vec<Ports> {
    let mut sorted = others.to_vec();
    sorted.sort_unstable();
    let (mut found, mut next) = (Vec::new(), u32::from(range.first));
    for other in sorted.iter().filter(|other| other.first <= range.last && range.first <= other.last) {
        if u32::from(other.first) > next {
            found.push(Ports { first: next as u16, last: other.first - 1 });
        }
        next = next.max(u32::from(other.last) + 1);
    }
    if next <= u32::from(range.last) {
        found.push(Ports { first: next as u16, last: range.last });
    }
    found
}

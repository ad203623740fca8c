//! Filters of native nodes: sources named by class, same owner or prefix.
use super::atoms::{IDENTITY, POSTURE, atom, prefixes};
use super::classes::meets;
use super::links::ClassId;
use super::{Engine, Made};
use crate::address::{Address, Span, internet};
use crate::directory::Node;
use crate::model::{Access, Rule, SelectorId};
use crate::ports::{ALL_PORTS, DEFAULT_PROTOCOLS, Ports};
use crate::selector::Selector;

/// One rule of a native filter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NativeRule {
    pub classes: Vec<ClassId>,
    pub same_owner: bool,
    pub prefixes: Vec<String>,
    /// None for the node's own addresses.
    pub destinations: Vec<String>,
    /// None for all.
    pub ports: Vec<(u16, u16)>,
    /// None for all.
    pub protocols: Vec<u8>,
}

/// What a destination is at a node.
enum Here {
    No,
    Own,
    Only(Vec<String>),
}

impl Engine {
    /// What may come in to a node, in the order of the rules. A node that joins a known class changes no filter.
    pub fn native_filter(&self, id: u32) -> Vec<NativeRule> {
        let Some((node, slot)) = self.nodes.get(&id).zip(self.slots.get(id as usize).copied().flatten()) else {
            return Vec::new();
        };
        let mut numbers: Vec<u32> = Vec::new();
        for class in [slot.identity, slot.place] {
            numbers.extend(self.links.to(&self.classes.get(class).atoms).map(|(_, link)| link.rule));
        }
        let wide = self.links.to_any.iter().chain(&self.links.any_to_any);
        numbers.extend(wide.map(|id| self.links.get(*id).rule));
        if node.untagged_owner().is_some() {
            numbers.extend(self.links.own.iter().map(|id| self.links.get(*id).rule));
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut found = Vec::new();
        for made in self.rules_of(&numbers) {
            for access in &made.rule.access {
                self.native_access(&made.rule, access, node, &mut found);
            }
        }
        found
    }

    /// Rules by their numbers, in the order of the policy.
    pub(super) fn rules_of(&self, numbers: &[u32]) -> Vec<&Made> {
        if numbers.len() * 8 > self.rules.len() {
            return self.rules.iter().filter(|made| numbers.binary_search(&made.number).is_ok()).collect();
        }
        let ordered = self.next_number as usize == self.rules.len();
        let place = |number: &u32| match ordered {
            true => Some(*number as usize),
            false => self.rules.iter().position(|made| made.number == *number),
        };
        let mut places: Vec<usize> = numbers.iter().filter_map(place).collect();
        places.sort_unstable();
        places.into_iter().map(|place| &self.rules[place]).collect()
    }

    fn native_access(&self, rule: &Rule, access: &Access, node: &Node, found: &mut Vec<NativeRule>) {
        let first = found.len();
        for (id, ports) in &access.targets {
            let own = self.selectors[*id as usize] == Selector::Own;
            let destinations = match self.here(rule, *id, node) {
                Here::No => continue,
                Here::Own => Vec::new(),
                Here::Only(texts) => texts,
            };
            let mut emitted = if own { self.own_sources(rule, node) } else { self.named_sources(rule) };
            if !emitted.same_owner && emitted.classes.is_empty() && emitted.prefixes.is_empty() {
                continue;
            }
            emitted.destinations = destinations;
            let all = ports.contains(&ALL_PORTS);
            emitted.ports =
                if all { Vec::new() } else { ports.iter().map(|Ports { first, last }| (*first, *last)).collect() };
            emitted.protocols = match access.protocols.len() {
                0 => DEFAULT_PROTOCOLS.to_vec(),
                256 => Vec::new(),
                _ => access.protocols.clone(),
            };
            if !found[first..].contains(&emitted) {
                found.push(emitted);
            }
        }
    }

    fn here(&self, rule: &Rule, id: SelectorId, node: &Node) -> Here {
        let selector = &self.selectors[id as usize];
        let routed = !rule.via.is_empty();
        if routed && !self.is_steered(rule, node) {
            return Here::No;
        }
        match selector {
            Selector::Any if routed => Here::No,
            Selector::Any if node.routes.is_empty() && node.exits.is_empty() => Here::Own,
            Selector::Any => {
                let own = node.addresses.iter().map(|address| address.span().cidr());
                Here::Only(own.chain(node.routes.iter().chain(&node.exits).map(Span::cidr)).collect())
            }
            Selector::Own if !routed && node.untagged_owner().is_some() => Here::Own,
            Selector::Internet if !node.exits.is_empty() => Here::Only(cidrs(internet().as_slice().iter().copied())),
            Selector::Own | Selector::Internet => Here::No,
            selector if selector.is_identity() => {
                if !routed && self.bears(id, selector, node) {
                    Here::Own
                } else {
                    Here::No
                }
            }
            selector => self.at_addresses(selector, node, routed),
        }
    }

    fn is_steered(&self, rule: &Rule, node: &Node) -> bool {
        rule.via.iter().any(|id| matches!(&self.selectors[*id as usize], Selector::Tag(tag) if node.has_tag(tag)))
    }

    fn bears(&self, id: SelectorId, selector: &Selector, node: &Node) -> bool {
        match selector {
            Selector::Tag(tag) => node.has_tag(tag),
            Selector::Tagged => !node.tags.is_empty(),
            _ => node.untagged_owner().is_some_and(|owner| self.catalog.of_user(owner).contains(&atom(id, IDENTITY))),
        }
    }

    /// Addresses of the node, and the parts of its routes, that a selector names.
    fn at_addresses(&self, selector: &Selector, node: &Node, routed: bool) -> Here {
        let spans = self.policy.spans(selector).unwrap_or_else(|| [].into());
        let inside = |address: &&Address| !routed && spans.iter().any(|span| span.contains(**address));
        let mut texts: Vec<String> =
            node.addresses.iter().filter(inside).map(|address| address.span().cidr()).collect();
        for route in node.routes.iter().chain(&node.exits) {
            let public = route.is_default_route();
            let common = spans.iter().filter(|span| span.overlaps(route) && (!public || internet().covers(span)));
            texts.extend(cidrs(common.map(|span| Span {
                v6: span.v6,
                first: span.first.max(route.first),
                last: span.last.min(route.last),
            })));
        }
        texts.sort_unstable();
        texts.dedup();
        if texts.is_empty() { Here::No } else { Here::Only(texts) }
    }

    fn own_sources(&self, rule: &Rule, node: &Node) -> NativeRule {
        let postured = !rule.postures.is_empty();
        let owner = node.untagged_owner();
        let named = rule.sources.iter().any(|id| match &self.selectors[*id as usize] {
            Selector::Any => true,
            selector => self.bears(*id, selector, node),
        });
        if !named {
            return NativeRule::default();
        }
        if !postured {
            return NativeRule { same_owner: true, ..NativeRule::default() };
        }
        let devices = owner.and_then(|owner| self.by_owner.get(&owner)).into_iter().flatten();
        let holders = devices.filter_map(|id| self.nodes.get(id)).filter(|other| self.holds(rule, other));
        NativeRule { prefixes: host_prefixes(holders), ..NativeRule::default() }
    }

    fn holds(&self, rule: &Rule, node: &Node) -> bool {
        rule.postures.iter().any(|index| self.policy.postures[*index as usize].1.iter().all(|c| c.holds(node)))
    }

    fn named_sources(&self, rule: &Rule) -> NativeRule {
        let needs: Vec<u32> = rule.postures.iter().map(|posture| atom(*posture, POSTURE)).collect();
        let mut emitted = NativeRule::default();
        for id in &rule.sources {
            match &self.selectors[*id as usize] {
                Selector::DangerAll => emitted.prefixes.extend(["0.0.0.0/0".to_owned(), "::/0".to_owned()]),
                Selector::Any if needs.is_empty() => emitted.prefixes.extend(self.pool_prefixes()),
                Selector::Any => {
                    let holders = needs.iter().flat_map(|need| self.classes.with_atom(*need));
                    emitted.classes.extend(holders.filter(|class| !self.classes.get(**class).of_addresses));
                }
                selector if selector.is_identity() => {
                    let classes = self.classes.with_atom(atom(*id, IDENTITY)).iter();
                    emitted.classes.extend(classes.filter(|class| meets(&needs, &self.classes.get(**class).atoms)));
                }
                selector => {
                    let spans = self.policy.spans(selector).unwrap_or_else(|| [].into());
                    emitted.prefixes.extend(self.source_prefixes(rule, &spans));
                }
            }
        }
        emitted.classes.sort_unstable();
        emitted.classes.dedup();
        emitted.prefixes.sort_unstable();
        emitted.prefixes.dedup();
        emitted
    }

    /// Prefixes as written; under a posture, the addresses in them of nodes that hold it.
    fn source_prefixes(&self, rule: &Rule, spans: &[Span]) -> Vec<String> {
        if rule.postures.is_empty() {
            return cidrs(spans.iter().copied());
        }
        let holders = self.nodes.values().filter(|node| self.holds(rule, node));
        host_prefixes(holders.filter(|node| spans.iter().any(|span| node.is_in(span))))
    }

    /// What `*` means as a source: the pools and every approved route.
    fn pool_prefixes(&self) -> Vec<String> {
        let routes = self.nodes.values().flat_map(|node| node.routes.iter().copied());
        cidrs(self.pools.iter().copied().chain(routes))
    }
}

fn cidrs(spans: impl Iterator<Item = Span>) -> Vec<String> {
    let prefix = |v6: bool, length: u8, bits: u128| format!("{}/{length}", Address { v6, bits });
    spans
        .flat_map(|span| prefixes(&span).into_iter().map(move |(length, bits)| prefix(span.v6, length, bits)))
        .collect()
}

fn host_prefixes<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<String> {
    nodes.flat_map(|node| node.addresses.iter().map(|address| address.span().cidr())).collect()
}

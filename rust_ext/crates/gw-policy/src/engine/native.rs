//! Filters of native nodes: sources named by class, same owner or prefix.
use super::atoms::{IDENTITY, atom, prefixes};
use super::ends::{earlier, later};
use super::links::ClassId;
use super::sources::needs;
use super::standing::Standing;
use super::{Engine, Made, Slot};
use crate::address::{Address, Span, internet};
use crate::directory::Node;
use crate::model::{Access, Rule, SelectorId};
use crate::ports::{ALL_PORTS, DEFAULT_PROTOCOLS, Ports};
use crate::selector::Selector;
use crate::window::Instant;
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::hash::BuildHasher;

/// One rule of a native filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
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
    /// Refuses, whatever other rules say.
    pub deny: bool,
    /// When the rule ends by itself, 0 for never.
    pub until: Instant,
    /// The id of the policy's rule that it comes from, 0 for none.
    pub rule: u64,
}

impl NativeRule {
    pub(super) fn has_sources(&self) -> bool {
        self.same_owner || !self.classes.is_empty() || !self.prefixes.is_empty()
    }
}

/// Whether a rule's destinations, or the node's own addresses, are of IPv4 and of IPv6.
fn families(destinations: &[String], node: &Node) -> (bool, bool) {
    if destinations.is_empty() {
        let six = |address: &Address| address.span().v6;
        return (node.addresses.iter().any(|one| !six(one)), node.addresses.iter().any(six));
    }
    (destinations.iter().any(|text| !text.contains(':')), destinations.iter().any(|text| text.contains(':')))
}

/// What a destination is at a node.
enum Here {
    No,
    Own,
    Only(Vec<String>),
}

impl Engine {
    /// What may come in to a node, denials first, in the order of the rules. A node that joins a known class changes no filter.
    pub fn native_filter(&self, id: u32) -> Vec<NativeRule> {
        self.filter_from(id, &mut |made| self.named_sources(&made.rule))
    }

    /// The same, with what rules name as sources from elsewhere: it depends on no node.
    pub(super) fn filter_from(&self, id: u32, named: &mut dyn FnMut(&Made) -> Vec<NativeRule>) -> Vec<NativeRule> {
        let Some((node, slot)) = self.nodes.get(&id).zip(self.slots.get(id as usize).copied().flatten()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for made in self.rules_of(self.naming(node, slot)) {
            for access in &made.rule.access {
                self.native_access(made, access, node, named, &mut found);
            }
        }
        found
    }

    /// The numbers of the rules that may have a destination at a node: some more than once, and in no order.
    pub(super) fn naming(&self, node: &Node, slot: Slot) -> Vec<u32> {
        let mut numbers: Vec<u32> = Vec::new();
        for links in [&self.links.deny, &self.links.accept] {
            for class in [slot.identity, slot.place] {
                numbers.extend(links.to(&self.classes.get(class).atoms).map(|(_, link)| link.rule));
            }
            let wide = links.to_any.iter().chain(&links.any_to_any);
            numbers.extend(wide.map(|id| links.get(*id).rule));
            if node.untagged_owner().is_some() {
                numbers.extend(links.own.iter().map(|id| links.get(*id).rule));
            }
        }
        numbers
    }

    /// Rules by their numbers, in order, each once.
    pub(super) fn rules_of(&self, numbers: impl IntoIterator<Item = u32>) -> impl Iterator<Item = &Made> {
        let mut places: Vec<usize> = numbers.into_iter().filter_map(|number| self.place_of(number)).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().filter_map(|place| self.at_place(place))
    }

    fn native_access(
        &self,
        made: &Made,
        access: &Access,
        node: &Node,
        named: &mut dyn FnMut(&Made) -> Vec<NativeRule>,
        found: &mut Vec<NativeRule>,
    ) {
        let rule = &made.rule;
        let Standing::Open(until) = made.standing else { return };
        let given = self.attributes_end(rule);
        let named = LazyCell::new(|| named(made));
        // A rule may name a node several times; where each is found, by its hash.
        let mut emitted_at: FxHashMap<u64, Vec<usize>> = FxHashMap::default();
        for (id, ports) in &access.targets {
            let own = self.selectors[*id as usize] == Selector::Own;
            let (destinations, ends) = match self.here(rule, *id, node) {
                (Here::No, _) => continue,
                (Here::Own, ends) => (Vec::new(), ends),
                (Here::Only(texts), ends) => (texts, ends),
            };
            let all = ports.contains(&ALL_PORTS);
            let ports: Vec<(u16, u16)> =
                if all { Vec::new() } else { ports.iter().map(|Ports { first, last }| (*first, *last)).collect() };
            let protocols = match access.protocols.len() {
                0 => DEFAULT_PROTOCOLS.to_vec(),
                256 => Vec::new(),
                _ => access.protocols.clone(),
            };
            let sources = if own { self.own_sources(rule, node) } else { named.clone() };
            let (four, six) = families(&destinations, node);
            for mut source in sources {
                // Packets of one family alone come here: who has an address of the other says nothing.
                source.prefixes.retain(|prefix| if prefix.contains(':') { six } else { four });
                if !source.has_sources() {
                    continue;
                }
                let emitted = NativeRule {
                    destinations: destinations.clone(),
                    ports: ports.clone(),
                    protocols: protocols.clone(),
                    deny: rule.denies(),
                    until: earlier(earlier(until, given), earlier(ends, source.until)),
                    rule: rule.id,
                    ..source
                };
                let same = emitted_at.entry(FxBuildHasher.hash_one(&emitted)).or_default();
                if !same.iter().any(|place| found[*place] == emitted) {
                    same.push(found.len());
                    found.push(emitted);
                }
            }
        }
    }

    /// What a destination is at a node, and until when.
    fn here(&self, rule: &Rule, id: SelectorId, node: &Node) -> (Here, Instant) {
        let selector = &self.selectors[id as usize];
        let routed = !rule.via.is_empty();
        if routed && !self.is_steered(rule, node) {
            return (Here::No, 0);
        }
        let here = match selector {
            Selector::Any if routed => Here::No,
            Selector::Any if node.routes.is_empty() && node.exits.is_empty() => Here::Own,
            Selector::Any => {
                let own = node.addresses.iter().map(|address| address.span().cidr());
                Here::Only(own.chain(node.routes.iter().chain(&node.exits).map(Span::cidr)).collect())
            }
            Selector::Own if !routed && node.untagged_owner().is_some() => Here::Own,
            Selector::Internet if !node.exits.is_empty() => Here::Only(cidrs(internet().as_slice().iter().copied())),
            Selector::Own | Selector::Internet => Here::No,
            selector if selector.is_identity() => match self.bears(id, selector, node).filter(|_| !routed) {
                Some(until) => return (Here::Own, until),
                None => Here::No,
            },
            selector => self.at_addresses(selector, node, rule),
        };
        (here, 0)
    }

    fn is_steered(&self, rule: &Rule, node: &Node) -> bool {
        rule.via.iter().any(|id| matches!(&self.selectors[*id as usize], Selector::Tag(tag) if node.has_tag(tag)))
    }

    /// Until when a node bears an identity (0 for good), if it does.
    fn bears(&self, id: SelectorId, selector: &Selector, node: &Node) -> Option<Instant> {
        let of_owner = |id: SelectorId| {
            node.untagged_owner().is_some_and(|owner| self.catalog.of_user(owner).contains(&atom(id, IDENTITY)))
        };
        let timed = self.timed(id).filter(|(known, _)| of_owner(*known)).map(|(_, until)| until);
        match selector {
            Selector::Tag(tag) => node.has_tag(tag).then_some(0),
            Selector::Tagged => (!node.tags.is_empty()).then_some(0),
            Selector::Device(known) => (*known == node.id).then_some(0),
            _ if of_owner(id) => Some(0),
            _ => timed.reduce(later),
        }
    }

    /// Those who are in a group for a time and are now, and until when.
    pub(super) fn timed(&self, group: SelectorId) -> impl Iterator<Item = (SelectorId, Instant)> {
        self.catalog.timed.of(group).iter().filter_map(|known| match self.memberships[known.number] {
            Standing::Open(until) => Some((known.selector, until)),
            Standing::Closed => None,
        })
    }

    /// Addresses of the node, and the parts of its routes, that a selector names.
    ///
    /// A denial that names one address of a node is about all of them.
    fn at_addresses(&self, selector: &Selector, node: &Node, rule: &Rule) -> Here {
        let spans = self.policy.spans(selector).unwrap_or_else(|| [].into());
        let routed = !rule.via.is_empty();
        let whole = rule.denies() && spans.iter().any(|span| node.is_in(span));
        if whole && node.routes.is_empty() && node.exits.is_empty() {
            return Here::Own;
        }
        let inside = |address: &&Address| whole || (!routed && spans.iter().any(|span| span.contains(**address)));
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

    fn own_sources(&self, rule: &Rule, node: &Node) -> Vec<NativeRule> {
        let named = rule.sources.iter().filter_map(|id| match &self.selectors[*id as usize] {
            Selector::Any => Some(0),
            selector => self.bears(*id, selector, node),
        });
        let Some(until) = named.reduce(later) else { return Vec::new() };
        if rule.postures.is_empty() {
            return vec![NativeRule { same_owner: true, until, ..NativeRule::default() }];
        }
        let devices = node.untagged_owner().and_then(|owner| self.by_owner.get(&owner)).into_iter().flatten();
        let holders = devices.filter_map(|id| self.nodes.get(id)).filter(|other| self.holds(rule, other));
        vec![NativeRule { prefixes: host_prefixes(holders), until, ..NativeRule::default() }]
    }

    /// When a node first may no longer have an attribute that a rule asks for. A denial stays until it is known.
    fn attributes_end(&self, rule: &Rule) -> Instant {
        if rule.denies() || !self.policy.asks_for_attributes(rule) {
            return 0;
        }
        let ends = self.catalog.attributed().filter_map(|known| match self.memberships[known.number] {
            Standing::Open(until) => Some(until),
            Standing::Closed => None,
        });
        ends.reduce(earlier).unwrap_or(0)
    }

    fn holds(&self, rule: &Rule, node: &Node) -> bool {
        let attributes = self.catalog.attributes_of(node);
        let holds = |index: &u32| self.policy.postures[*index as usize].1.iter().all(|c| c.holds(node, &attributes));
        rule.postures.iter().any(holds)
    }

    /// The sources of a rule, apart by when they end.
    pub(super) fn named_sources(&self, rule: &Rule) -> Vec<NativeRule> {
        let needs = needs(rule);
        let mut lasting = NativeRule::default();
        if needs.is_empty() && rule.sources.iter().any(|id| self.selectors[*id as usize] == Selector::Any) {
            // Whoever else is named has an address of the network, too.
            lasting.prefixes.extend(self.pool_prefixes());
        }
        let wide = !lasting.prefixes.is_empty();
        let mut ending: BTreeMap<Instant, Vec<ClassId>> = BTreeMap::new();
        for id in &rule.sources {
            match &self.selectors[*id as usize] {
                Selector::DangerAll => lasting.prefixes.extend(["0.0.0.0/0".to_owned(), "::/0".to_owned()]),
                Selector::Any if wide => {}
                Selector::Any => lasting.classes.extend(self.meeting(&needs)),
                selector if selector.is_identity() && wide => {}
                selector if selector.is_identity() => {
                    lasting.classes.extend(self.bearing(*id, &needs));
                    for (known, until) in self.timed(*id) {
                        ending.entry(until).or_default().extend(self.bearing(known, &needs));
                    }
                }
                _ => lasting.prefixes.extend(self.source_prefixes(rule, *id)),
            }
        }
        let ending = ending.into_iter().map(|(until, classes)| NativeRule { classes, until, ..NativeRule::default() });
        let mut found: Vec<NativeRule> = std::iter::once(lasting).chain(ending).collect();
        for part in &mut found {
            part.classes.sort_unstable();
            part.classes.dedup();
            part.prefixes.sort_unstable();
            part.prefixes.dedup();
        }
        found
    }

    /// Prefixes as written; under a posture, the addresses in them of nodes that hold it. A denial that names one
    /// address of a node is about all of them.
    fn source_prefixes(&self, rule: &Rule, id: SelectorId) -> Vec<String> {
        let spans = self.policy.spans(&self.selectors[id as usize]).unwrap_or_else(|| [].into());
        let written = if rule.postures.is_empty() { cidrs(spans.iter().copied()) } else { Vec::new() };
        if rule.postures.is_empty() && !rule.denies() {
            return written;
        }
        let needs = needs(rule);
        let addresses = self.inside(id, &needs).flat_map(|node| &node.addresses);
        let is_meant = |address: &&Address| {
            let is_inside = spans.iter().any(|span| span.contains(**address));
            if is_inside { written.is_empty() } else { rule.denies() }
        };
        let single: Vec<String> = addresses.filter(is_meant).map(|address| address.span().cidr()).collect();
        written.into_iter().chain(single).collect()
    }

    /// What `*` means as a source: the pools and every approved route.
    fn pool_prefixes(&self) -> Vec<String> {
        cidrs(self.pools.iter().chain(self.routes.keys()).copied())
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

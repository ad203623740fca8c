//! Rules as links between sets of classes.
use super::atoms::{Atom, IDENTITY, POSTURE, SERVED, Timed, V4, V6, VIA, atom};
use super::portsets::{PortSetId, PortSets, SEEN};
use crate::model::{Policy, Rule, SelectorId};
use crate::ports::Ports;
use crate::selector::Selector;
use std::sync::Arc;

pub type ClassId = u32;

/// The classes on one side of a link: those with one of the atoms, or every class.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    pub any: bool,
    pub atoms: Vec<Atom>,
}

/// What a rule does, and all links of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Accept,
    Deny,
}

impl Effect {
    pub fn of(rule: &Rule) -> Self {
        if rule.denies() { Self::Deny } else { Self::Accept }
    }
}

/// One for each effect.
#[derive(Debug, Clone, Default)]
pub struct Both<T> {
    pub accept: T,
    pub deny: T,
}

impl<T> Both<T> {
    pub fn get(&self, effect: Effect) -> &T {
        match effect {
            Effect::Accept => &self.accept,
            Effect::Deny => &self.deny,
        }
    }

    pub fn get_mut(&mut self, effect: Effect) -> &mut T {
        match effect {
            Effect::Accept => &mut self.accept,
            Effect::Deny => &mut self.deny,
        }
    }
}

/// What a link decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Between nodes.
    Nodes,
    /// Between devices of one owner; the target side is not looked at.
    Own,
    /// Between addresses only, through a router that the rule steers to.
    Routed,
}

#[derive(Debug, Clone)]
pub struct Link {
    /// The rule's number in the engine.
    pub rule: u32,
    pub reach: Reach,
    pub ports: PortSetId,
    pub sources: Side,
    pub targets: Side,
    /// Of these atoms a source must have one as well; none asks nothing.
    pub needs: Vec<Atom>,
    /// About what lies behind one of the nodes, not about the nodes themselves.
    pub beyond: bool,
}

impl Link {
    /// Whether it asks of both sides but which addresses they have.
    pub fn is_between_prefixes(&self) -> bool {
        let are_addresses = |side: &Side| !side.any && side.atoms.iter().all(|atom| [V4, V6].contains(&(atom & 7)));
        self.reach != Reach::Own
            && self.needs.is_empty()
            && are_addresses(&self.sources)
            && are_addresses(&self.targets)
    }

    /// Whether it names both sides, so that it stands in the rows of decision cells.
    pub fn is_in_rows(&self) -> bool {
        self.reach == Reach::Nodes && !self.sources.any && !self.targets.any
    }
}

/// The atoms of a list of selectors, by how they hold.
#[derive(Default)]
struct Parts {
    any: bool,
    identity: Vec<Atom>,
    v4: Vec<Atom>,
    v6: Vec<Atom>,
    served: Vec<Atom>,
}

impl Parts {
    fn new(names: &Names<'_>, ids: impl Iterator<Item = SelectorId>) -> Self {
        let mut new = Self::default();
        for id in ids {
            match &names.selectors[id as usize] {
                Selector::Any | Selector::DangerAll => new.any = true,
                Selector::Own | Selector::Service(_) | Selector::Unknown(_) => {}
                Selector::Internet => new.addresses(id, true, true),
                selector if selector.is_identity() => {
                    new.identity.push(atom(id, IDENTITY));
                    new.identity.extend(names.timed.of(id).iter().map(|known| atom(known.selector, IDENTITY)));
                }
                selector => {
                    let spans = names.policy.spans(selector).unwrap_or_else(|| [].into());
                    new.addresses(id, spans.iter().any(|span| !span.v6), spans.iter().any(|span| span.v6));
                }
            }
        }
        new
    }

    fn addresses(&mut self, id: SelectorId, v4: bool, v6: bool) {
        self.v4.extend(v4.then(|| atom(id, V4)));
        self.v6.extend(v6.then(|| atom(id, V6)));
        self.served.push(atom(id, SERVED));
    }

    fn side(&self, lists: &[&[Atom]]) -> Option<Side> {
        if self.any {
            return Some(Side { any: true, atoms: Vec::new() });
        }
        let atoms = lists.concat();
        (!atoms.is_empty()).then_some(Side { any: false, atoms })
    }

    fn here(&self) -> Option<Side> {
        self.side(&[&self.identity, &self.v4, &self.v6])
    }

    fn everywhere(&self) -> Option<Side> {
        self.side(&[&self.identity, &self.v4, &self.v6, &self.served])
    }
}

/// What the names of rules stand for.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    pub policy: &'a Policy,
    pub selectors: &'a [Selector],
    pub timed: &'a Timed,
}

/// All links of one rule.
pub fn links(names: &Names<'_>, number: u32, rule: &Rule, sets: &mut PortSets) -> Vec<Link> {
    let selectors = names.selectors;
    let mut needs: Vec<Atom> = rule.postures.iter().map(|posture| atom(*posture, POSTURE)).collect();
    let mut sources = Parts::new(names, rule.sources.iter().copied());
    if sources.any && !needs.is_empty() {
        sources = Parts { identity: std::mem::take(&mut needs), ..Parts::default() };
    }
    let mut maker = Maker { number, needs, found: Vec::new() };
    if rule.denies() {
        return maker.denials(names, rule, &sources, sets);
    }
    for (ports, ids) in accesses(selectors, rule, sets, false) {
        let targets = Parts::new(names, ids.iter().copied());
        let reach = if rule.via.is_empty() { Reach::Nodes } else { Reach::Routed };
        maker.access(reach, ports, &sources, &targets);
    }
    for (ports, _) in accesses(selectors, rule, sets, true) {
        maker.push(Reach::Own, ports, sources.here(), Some(Side { any: true, atoms: Vec::new() }));
    }
    let owns = rule.destinations.iter().any(|id| selectors[*id as usize] == Selector::Own);
    if owns && !rule.app.is_empty() {
        maker.push(Reach::Own, SEEN, sources.here(), Some(Side { any: true, atoms: Vec::new() }));
    }
    let targets = Parts::new(names, rule.destinations.iter().copied());
    if !rule.via.is_empty() {
        let steered = Side { any: false, atoms: vec![atom(number, VIA)] };
        maker.beyond(sources.everywhere(), Some(steered));
        return maker.found;
    }
    if !rule.app.is_empty() {
        maker.push(Reach::Nodes, SEEN, sources.here(), targets.here());
    }
    if !sources.served.is_empty() && !sources.any {
        let behind = Side { any: false, atoms: sources.served.clone() };
        maker.beyond(Some(behind), targets.everywhere());
    }
    if !targets.served.is_empty() && !targets.any {
        let behind = Side { any: false, atoms: targets.served.clone() };
        maker.beyond(sources.here(), Some(behind));
    }
    maker.found
}

/// The rule's destinations by what is allowed there, for oneself (`own`) or for all others.
fn accesses(selectors: &[Selector], rule: &Rule, sets: &mut PortSets, own: bool) -> Vec<(PortSetId, Vec<SelectorId>)> {
    let mut found: Vec<(PortSetId, Vec<SelectorId>)> = Vec::new();
    for access in &rule.access {
        let mut last: Option<(&Arc<[Ports]>, PortSetId)> = None;
        for (id, ports) in &access.targets {
            if (selectors[*id as usize] == Selector::Own) != own {
                continue;
            }
            let set = match last {
                Some((same, set)) if Arc::ptr_eq(same, ports) => set,
                _ => sets.intern(&access.protocols, ports),
            };
            last = Some((ports, set));
            match found.iter_mut().find(|(known, _)| *known == set) {
                Some((_, ids)) => ids.push(*id),
                None => found.push((set, vec![*id])),
            }
        }
    }
    found
}

struct Maker {
    number: u32,
    needs: Vec<Atom>,
    found: Vec<Link>,
}

impl Maker {
    fn link(&self, reach: Reach, ports: PortSetId, sources: Option<Side>, targets: Option<Side>) -> Option<Link> {
        let needs = self.needs.clone();
        Some(Link { rule: self.number, reach, ports, sources: sources?, targets: targets?, needs, beyond: false })
    }

    fn push(&mut self, reach: Reach, ports: PortSetId, sources: Option<Side>, targets: Option<Side>) {
        self.found.extend(self.link(reach, ports, sources, targets));
    }

    fn beyond(&mut self, sources: Option<Side>, targets: Option<Side>) {
        let link = self.link(Reach::Nodes, SEEN, sources, targets);
        self.found.extend(link.map(|link| Link { beyond: true, ..link }));
    }

    /// A denial that names one address of a node is about the node, by whichever family it is reached.
    fn denials(mut self, names: &Names<'_>, rule: &Rule, sources: &Parts, sets: &mut PortSets) -> Vec<Link> {
        for (ports, ids) in accesses(names.selectors, rule, sets, false) {
            let targets = Parts::new(names, ids.iter().copied());
            self.push(Reach::Nodes, ports, sources.here(), targets.here());
        }
        let targets = Parts::new(names, rule.destinations.iter().copied());
        if !sources.served.is_empty() || !targets.served.is_empty() {
            self.beyond(sources.everywhere(), targets.everywhere());
        }
        for (ports, _) in accesses(names.selectors, rule, sets, true) {
            self.push(Reach::Own, ports, sources.here(), Some(Side { any: true, atoms: Vec::new() }));
        }
        self.found
    }

    /// Addresses meet addresses of their own family only; identities have both.
    fn access(&mut self, reach: Reach, ports: PortSetId, sources: &Parts, targets: &Parts) {
        if sources.any || targets.any {
            self.push(reach, ports, sources.here(), targets.here());
            return;
        }
        self.push(reach, ports, sources.side(&[&sources.identity]), targets.here());
        self.push(reach, ports, sources.side(&[&sources.v4, &sources.v6]), targets.side(&[&targets.identity]));
        self.push(reach, ports, sources.side(&[&sources.v4]), targets.side(&[&targets.v4]));
        self.push(reach, ports, sources.side(&[&sources.v6]), targets.side(&[&targets.v6]));
    }
}

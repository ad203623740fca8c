//! What is legal in a policy and probably not meant.
use crate::directory::Node;
use crate::engine::PortSet;
use crate::model::{Policy, Rule, SelectorId};
use crate::ports::ALL_PORTS;
use crate::posture::Condition;
use crate::scope::Scope;
use crate::selector::Selector;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// One remark. `at` is a byte of the text, 0 for what is about the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    pub kind: &'static str,
    pub message: String,
    pub at: u32,
}

/// All remarks, in order of place. What matches no node now is judged over the scope's directory.
pub fn lint(scope: &Scope<'_>) -> Vec<Remark> {
    let mut found = Vec::new();
    if scope.policy.allows_everything {
        let message = "neither acls nor grants are there: everything is allowed".to_owned();
        found.push(Remark { kind: "broad", message, at: 0 });
    }
    duplicates(scope.policy, &mut found);
    shadowed(scope.policy, &mut found);
    let idle = Idle::new(scope);
    for rule in &scope.policy.rules {
        broad(scope.policy, rule, &mut found);
        idle.look(rule, &mut found);
        reported(scope.policy, &name(rule), rule.denies(), (rule.at, &rule.postures), &mut found);
    }
    for (index, rule) in scope.policy.ssh.iter().enumerate() {
        reported(scope.policy, &format!("ssh[{index}]"), false, (rule.at, &rule.postures), &mut found);
    }
    unused(scope.policy, &mut found);
    found.sort_by_key(|remark| remark.at);
    found
}

fn name(rule: &Rule) -> String {
    format!("{}[{}]", rule.section.name(), rule.index)
}

fn duplicates(policy: &Policy, found: &mut Vec<Remark>) {
    let mut first: FxHashMap<u64, &Rule> = FxHashMap::default();
    for (rule, print) in policy.rules.iter().zip(&policy.fingerprints) {
        match first.get(print) {
            Some(earlier) => {
                let message = format!("{} says the same as {}", name(rule), name(earlier));
                found.push(Remark { kind: "duplicate", message, at: rule.at });
            }
            None => _ = first.insert(*print, rule),
        }
    }
}

/// A rule all of whose destinations earlier rules allow already, for the same sources or for all.
fn shadowed(policy: &Policy, found: &mut Vec<Remark>) {
    type Key = (Option<Vec<SelectorId>>, Option<SelectorId>);
    let mut allowed: FxHashMap<Key, Vec<(PortSet, u64)>> = FxHashMap::default();
    let any = |id: &SelectorId| *policy.selector(*id) == Selector::Any;
    for (rule, print) in policy.rules.iter().zip(&policy.fingerprints) {
        if rule.denies() || !rule.app.is_empty() || !rule.via.is_empty() || !rule.postures.is_empty() {
            continue;
        }
        let mut sources = rule.sources.clone();
        sources.sort_unstable();
        sources.dedup();
        let own = if sources.iter().any(any) { None } else { Some(sources) };
        let targets: Vec<(SelectorId, PortSet)> = rule
            .access
            .iter()
            .flat_map(|access| access.targets.iter().map(|(id, ports)| (*id, PortSet::new(&access.protocols, ports))))
            .collect();
        let covered = |id: &SelectorId, set: &PortSet| {
            let names = [Some(*id), None];
            let froms = [own.clone(), None];
            let keys = froms.iter().flat_map(|from| names.iter().map(move |name| (from.clone(), *name)));
            let not_own = *policy.selector(*id) != Selector::Own;
            keys.filter(|(_, name)| name.is_some() || not_own)
                .filter_map(|key| allowed.get(&key))
                .flatten()
                .any(|(known, other)| other != print && known.covers(set))
        };
        if !targets.is_empty() && targets.iter().all(|(id, set)| covered(id, set)) {
            let message = format!("{} allows nothing that earlier rules do not", name(rule));
            found.push(Remark { kind: "shadowed", message, at: rule.at });
        }
        for (id, set) in targets.into_iter().filter(|_| rule.window.is_none()) {
            let place = if any(&id) { None } else { Some(id) };
            let known = allowed.entry((own.clone(), place)).or_default();
            if !known.iter().any(|(other, _)| other.covers(&set)) {
                known.push((set, *print));
            }
        }
    }
}

fn broad(policy: &Policy, rule: &Rule, found: &mut Vec<Remark>) {
    let wild =
        |ids: &[SelectorId]| ids.iter().any(|id| matches!(policy.selector(*id), Selector::Any | Selector::DangerAll));
    let mut ports = rule.access.iter().flat_map(|access| &access.targets).flat_map(|(_, ports)| ports.iter());
    if !rule.denies() && wild(&rule.sources) && wild(&rule.destinations) && ports.any(|ports| *ports == ALL_PORTS) {
        let message = format!("{} lets everyone reach everything", name(rule));
        found.push(Remark { kind: "broad", message, at: rule.at });
    }
}

/// Finds rules that no node is a source or a destination of. Users, tags and addresses lead to their nodes; for any
/// other name all nodes are looked at once.
struct Idle<'a> {
    scope: &'a Scope<'a>,
    /// The nodes that serve networks.
    routers: Vec<&'a Node>,
    /// Whether some node holds a posture, as far as that was asked.
    held: RefCell<FxHashMap<u32, bool>>,
}

impl<'a> Idle<'a> {
    fn new(scope: &'a Scope<'a>) -> Self {
        let serves = |node: &&Node| !node.routes.is_empty() || !node.exits.is_empty();
        let routers = scope.directory.nodes.iter().filter(serves).collect();
        Self { scope, routers, held: RefCell::default() }
    }

    fn look(&self, rule: &Rule, found: &mut Vec<Remark>) {
        if self.scope.directory.nodes.is_empty() {
            return;
        }
        let mut side = |what: &str| {
            let message = format!("{} has no {what} among the nodes there are", name(rule));
            found.push(Remark { kind: "idle", message, at: rule.at });
        };
        if !rule.sources.iter().any(|id| self.is_source(rule, *id)) {
            return side("source");
        }
        let own = rule.destinations.iter().any(|id| *self.scope.selector(*id) == Selector::Own);
        if !own && !self.has_destination(rule) {
            side("destination");
        }
    }

    /// Whether a node is a source of the rule by a name.
    fn is_source(&self, rule: &Rule, id: SelectorId) -> bool {
        let scope = self.scope;
        let holds = |node: &Node| scope.posture_holds(&rule.postures, node);
        match scope.selector(id) {
            Selector::Any | Selector::DangerAll => {
                rule.postures.is_empty() || rule.postures.iter().any(|posture| self.is_held(*posture))
            }
            selector if selector.is_identity() => self.nodes(&scope.bearers(id)).any(holds),
            _ => {
                let spans = scope.spans(id);
                let serves = |node: &&&Node| node.routes.iter().any(|route| spans.overlaps(route));
                self.nodes(&scope.directory.within(&spans)).any(holds)
                    || self.routers.iter().filter(serves).any(|node| holds(node))
            }
        }
    }

    fn has_destination(&self, rule: &Rule) -> bool {
        let scope = self.scope;
        let steered = |node: &&&Node| rule.via.is_empty() || scope.is_via(rule, node);
        let meant = |id: &SelectorId| match scope.selector(*id) {
            Selector::Any => rule.via.is_empty(),
            selector if selector.is_identity() => rule.via.is_empty() && !scope.bearers(*id).is_empty(),
            selector => {
                let spans = scope.spans(*id);
                let is_public =
                    *selector == Selector::Internet || spans.as_slice().iter().any(|span| scope.internet.covers(span));
                let serves = |node: &&Node| {
                    let is_behind =
                        *selector != Selector::Internet && node.routes.iter().any(|route| spans.overlaps(route));
                    is_behind || (is_public && !node.exits.is_empty())
                };
                let is_own = || rule.via.is_empty() && !scope.directory.within(&spans).is_empty();
                is_own() || self.routers.iter().filter(steered).any(serves)
            }
        };
        rule.destinations.iter().any(meant)
    }

    fn is_held(&self, posture: u32) -> bool {
        let any = || self.scope.directory.nodes.iter().any(|node| self.scope.posture_holds(&[posture], node));
        *self.held.borrow_mut().entry(posture).or_insert_with(any)
    }

    fn nodes(&self, indices: &[u32]) -> impl Iterator<Item = &'a Node> {
        indices.iter().map(|index| &self.scope.directory.nodes[*index as usize])
    }
}

/// What a rule with these postures rests on, where nodes could tell what is not so.
fn reported(policy: &Policy, name: &str, denies: bool, (at, postures): (u32, &[u32]), found: &mut Vec<Remark>) {
    let conditions = postures.iter().flat_map(|index| &policy.postures[*index as usize].1);
    let facts: BTreeSet<&str> = conditions.filter(|one| one.is_reported()).map(Condition::name).collect();
    if facts.is_empty() {
        return;
    }
    let facts: Vec<&str> = facts.into_iter().collect();
    let what = if denies { "does not reach nodes that report otherwise" } else { "rests on what nodes report" };
    let message = format!("{name} {what} of themselves: {}", facts.join(", "));
    found.push(Remark { kind: "reported", message, at });
}

fn unused(policy: &Policy, found: &mut Vec<Remark>) {
    let mut used: FxHashSet<SelectorId> = FxHashSet::default();
    for rule in &policy.rules {
        used.extend(rule.sources.iter().chain(&rule.destinations).chain(&rule.via));
    }
    for rule in &policy.ssh {
        used.extend(rule.sources.iter().chain(&rule.destinations));
    }
    for request in &policy.requests {
        used.extend(request.sources.iter().chain(&request.destinations).chain(&request.approvers));
    }
    used.extend(policy.node_attrs.iter().flat_map(|entry| &entry.targets));
    used.extend(policy.tag_owners.iter().flat_map(|(_, owners)| owners));
    used.extend(policy.auto_approvers.routes.iter().flat_map(|(_, ids)| ids));
    used.extend(&policy.auto_approvers.exit_node);
    let named: FxHashSet<&str> = used
        .iter()
        .filter_map(|id| match policy.selector(*id) {
            Selector::Group(name) | Selector::Host(name) | Selector::IpSet(name) => Some(&**name),
            _ => None,
        })
        .collect();
    let mut names: Vec<(&str, &str)> = policy.groups.keys().map(|name| ("group", &**name)).collect();
    names.extend(policy.hosts.keys().map(|name| ("host", &**name)));
    names.extend(policy.ipsets.keys().map(|name| ("ipset", &**name)));
    names.sort_unstable();
    for (what, name) in names.into_iter().filter(|(_, name)| !named.contains(name)) {
        found.push(Remark { kind: "unused", message: format!("{what} {name:?} is named nowhere"), at: 0 });
    }
}

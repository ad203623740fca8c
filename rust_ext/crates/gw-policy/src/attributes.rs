//! Capabilities that `nodeAttrs` and the network's settings give to nodes.
use crate::directory::Node;
use crate::model::NodeAttr;
use crate::posture::Condition;
use crate::scope::Scope;
use crate::selector::Selector;
use serde_json::{Map, Value, json};

/// The only attribute that peers are told of, once the peer is an exit node.
const SHOWN: &str = "suggest-exit-node";

/// A node's own capabilities.
pub fn of(scope: &Scope<'_>, node: &Node) -> Map<String, Value> {
    let mut found = Map::new();
    found.insert("default-auto-update".to_owned(), json!([scope.directory.tailnet.auto_updates]));
    found.insert("https://tailscale.com/cap/file-sharing".to_owned(), Value::Null);
    found.insert("https://tailscale.com/cap/ssh".to_owned(), Value::Null);
    if scope.policy.randomize_client_port {
        found.insert("randomize-client-port".to_owned(), Value::Null);
    }
    for entry in scope.policy.node_attrs.iter().filter(|entry| is_target(scope, entry, node)) {
        for name in &entry.attributes {
            found.entry(name.clone()).or_insert(Value::Null);
        }
        for (name, values) in &entry.app {
            found.insert(name.clone(), values.clone());
        }
    }
    found
}

/// Of the names that `nodeAttrs` give to a node those that conditions ask about.
pub fn asked<'a>(scope: &Scope<'a>, node: &Node, conditions: &[Condition]) -> Vec<&'a str> {
    let policy = scope.policy;
    let is_asked = |name: &&str| conditions.iter().any(|condition| condition.asks_for(name));
    let entries = policy.node_attrs.iter();
    let entries = entries.map(|entry| (entry, entry.attributes.iter().map(String::as_str).filter(is_asked)));
    let given = entries.filter(|(entry, asked)| asked.clone().next().is_some() && is_target(scope, entry, node));
    given.flat_map(|(_, asked)| asked).collect()
}

/// What others are told of a node.
pub fn shown(scope: &Scope<'_>, node: &Node) -> Map<String, Value> {
    let mut entries = scope.policy.node_attrs.iter();
    let has = !node.exits.is_empty()
        && entries.any(|entry| entry.attributes.iter().any(|name| name == SHOWN) && is_target(scope, entry, node));
    if has { Map::from_iter([(SHOWN.to_owned(), Value::Null)]) } else { Map::new() }
}

/// Whether an entry is about a node.
pub fn is_target(scope: &Scope<'_>, entry: &NodeAttr, node: &Node) -> bool {
    entry.targets.iter().any(|id| match scope.selector(*id) {
        Selector::Any => true,
        selector if selector.is_identity() => scope.is_identity(selector, node),
        _ => node.addresses.iter().any(|address| scope.spans(*id).contains(*address)),
    })
}

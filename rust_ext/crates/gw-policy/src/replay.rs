//! The replay contract: one recorded input in, what each node would be sent out.
use crate::address::Span;
use crate::directory::Directory;
use crate::engine::Engine;
use crate::error::PolicyError;
use crate::filter::Filters;
use crate::model::Policy;
use crate::peers::Peers;
use crate::scope::{Bindings, Scope};
use crate::text::locate;
use crate::{assertions, attributes, logins, shapes};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Answer one line. The error says why the line itself cannot be answered.
pub fn line(text: &str) -> Result<String, String> {
    let case: Value = serde_json::from_str(text).map_err(|error| format!("not a JSON line: {error}"))?;
    let input = &case["input"];
    let policy = input["policy"].as_str().ok_or("input.policy is not a string")?;
    let directory = Directory::from_json(input)?;
    let answer = match answer(policy, &directory) {
        Ok(nodes) => json!({"test_id": case["test_id"], "accepted": true, "error": null, "nodes": nodes}),
        Err(error) => json!({"test_id": case["test_id"], "accepted": false, "error": error.to_string(), "nodes": {}}),
    };
    Ok(answer.to_string())
}

/// Parse, bind, test, and compile for every node.
fn answer(text: &str, directory: &Directory) -> Result<Map<String, Value>, PolicyError> {
    let policy = Policy::parse(text)?;
    let mut bindings = Bindings::default();
    bindings.extend(&policy, &directory.users);
    let scope = Scope::new(&policy, directory, &bindings, 0);
    scope.check_domains().and_then(|()| assertions::check(&scope)).map_err(|fault| locate(text, fault))?;
    let (filters, mut peers) = (Filters::new(&scope), Peers::new(&scope));
    if scope.denials().next().is_some() {
        let mut engine = Engine::build(Arc::new(policy.clone()), directory.clone(), bindings.clone(), 0);
        peers.hide(|viewer, peer| !engine.visible(viewer).contains(peer));
    }
    let mut nodes = Map::new();
    for (index, node) in directory.nodes.iter().enumerate() {
        let view = json!({
            "packet_filter": shapes::filter(&filters.of(node)),
            "ssh_rules": shapes::logins(&logins::of(&scope, node)),
            "peers": peer_views(&scope, &peers, index),
            "cap_map": attributes::of(&scope, node),
        });
        nodes.insert(node.name.to_string(), view);
    }
    Ok(nodes)
}

fn peer_views(scope: &Scope<'_>, peers: &Peers<'_>, viewer: usize) -> Map<String, Value> {
    let mut found = Map::new();
    for (index, node) in scope.directory.nodes.iter().enumerate().filter(|(index, _)| peers.see(viewer, *index)) {
        let routes = peers.routes(viewer, index);
        let own = node.addresses.iter().map(|address| address.span().cidr());
        let primary: Vec<String> = routes.primary.iter().map(Span::cidr).collect();
        let exits = routes.exits.iter().map(Span::cidr);
        let allowed: Vec<String> = own.chain(primary.iter().cloned()).chain(exits).collect();
        let view = json!({
            "allowed_ips": allowed,
            "primary_routes": primary,
            "cap_map": attributes::shown(scope, node),
        });
        found.insert(node.name.to_string(), view);
    }
    found
}

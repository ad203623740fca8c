//! Rows in which Python hands over what a policy is applied to, and what they stand for.
use crate::errors;
use gw_policy::access::{Approved, parse_ip};
use gw_policy::address::{Address, Span};
use gw_policy::directory::{Facts, Node, User};
use gw_policy::selector::{Role, Selector};
use pyo3::prelude::*;
use std::collections::HashSet;

/// Id, name, e-mail address, role.
pub type UserRow = (i64, String, String, String);
/// Id, owner, tags, addresses, routes, facts.
pub type NodeRow = (u32, Option<i64>, Vec<String>, Vec<String>, Vec<String>, Vec<(String, String)>);
/// Number, user, source (none: all of the user's devices), nodes, other destinations, ports, end.
pub type AccessRow = (u32, i64, Option<u32>, Vec<u32>, Vec<String>, Vec<String>, i64);

pub fn user((id, name, email, role): UserRow) -> User {
    User { id, name: name.into(), email: email.into(), role: Role::parse(&role) }
}

pub fn node((id, owner, tags, addresses, routes, facts): NodeRow) -> PyResult<Node> {
    if id >= 1 << 22 {
        return Err(errors::invalid(format!("node id {id} is not below 2^22")));
    }
    let tags: Vec<Box<str>> = tags.into_iter().map(Into::into).collect();
    let addresses = addresses.iter().map(|text| address(text)).collect::<PyResult<_>>()?;
    let facts = facts.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let mut node = Node { id, name: "".into(), owner, tags, addresses, facts, ..Node::default() };
    for route in &routes {
        node.add_route(span(route)?);
    }
    Ok(node)
}

/// Have nodes that say the same of themselves share what they say.
pub fn share(said: &mut HashSet<Facts>, node: &mut Node) {
    match said.get(&node.facts) {
        Some(known) => node.facts = known.clone(),
        None => _ = said.insert(node.facts.clone()),
    }
}

pub fn approved((number, user, source, nodes, names, ip, until): AccessRow) -> PyResult<Approved> {
    let source = source.map_or(Selector::Bearer(user), Selector::Device);
    let mut destinations: Vec<Selector> = nodes.into_iter().map(Selector::Device).collect();
    for name in &names {
        match Selector::parse(name) {
            selector @ (Selector::Tag(_) | Selector::Span(_)) => destinations.push(selector),
            _ => return Err(errors::invalid(format!("{name:?} is neither a tag nor a prefix"))),
        }
    }
    let ip = ip.iter().map(|text| parse_ip(text).map_err(errors::invalid)).collect::<PyResult<_>>()?;
    Ok(Approved { number, source, destinations, ip, until })
}

pub fn span(text: &str) -> PyResult<Span> {
    Span::parse(text).ok_or_else(|| errors::invalid(format!("{text:?} is not an address or a prefix")))
}

pub fn address(text: &str) -> PyResult<Address> {
    Address::parse(text).ok_or_else(|| errors::invalid(format!("{text:?} is not an address")))
}

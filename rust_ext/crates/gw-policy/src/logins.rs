//! SSH rules of a node in the service's shape.
use crate::address::Address;
use crate::directory::{Node, User};
use crate::model::SshRule;
use crate::scope::Scope;
use crate::selector::Selector;
use std::collections::BTreeMap;

/// One rule as sent. `users` maps the login asked for to the local one: itself, `=` for the same, empty for none.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    pub principals: Vec<Address>,
    pub users: BTreeMap<String, String>,
    pub check: bool,
    pub accept_env: Vec<String>,
}

/// The rules of one node: those that ask again first, then those that accept.
pub fn of(scope: &Scope<'_>, node: &Node) -> Vec<Login> {
    let mut found = Vec::new();
    for check in [true, false] {
        for rule in scope.policy.ssh.iter().filter(|rule| rule.check == check) {
            if rule.localparts.is_empty() {
                plain(scope, rule, node, &mut found)
            } else {
                by_user(scope, rule, node, &mut found)
            }
        }
    }
    found
}

/// How a node is a destination of an SSH rule.
#[derive(PartialEq)]
enum Reach {
    No,
    /// From the owner's own devices.
    Own,
    All,
}

fn reach(scope: &Scope<'_>, rule: &SshRule, node: &Node) -> Reach {
    let mut found = Reach::No;
    for id in &rule.destinations {
        match scope.selector(*id) {
            Selector::Own if node.untagged_owner().is_some() => found = Reach::Own,
            Selector::Own => {}
            selector if scope.is_identity(selector, node) => return Reach::All,
            _ => {}
        }
    }
    found
}

/// Whether a rule may say something of who logs in to a node.
pub fn concerns(scope: &Scope<'_>, rule: &SshRule, node: &Node) -> bool {
    let named = || {
        let owner = scope.directory.owner(node);
        owner.is_some_and(|user| rule.sources.iter().any(|id| scope.is_user(scope.selector(*id), user)))
    };
    reach(scope, rule, node) != Reach::No || (!rule.localparts.is_empty() && named())
}

fn base_users(rule: &SshRule) -> BTreeMap<String, String> {
    let mut users = BTreeMap::from([("root".to_owned(), String::new())]);
    for name in &rule.users {
        match name.as_str() {
            "autogroup:nonroot" => users.insert("*".to_owned(), "=".to_owned()),
            name => users.insert(name.to_owned(), name.to_owned()),
        };
    }
    users
}

fn plain(scope: &Scope<'_>, rule: &SshRule, node: &Node, found: &mut Vec<Login>) {
    let reach = reach(scope, rule, node);
    if reach == Reach::No {
        return;
    }
    let mut principals = Vec::new();
    for id in &rule.sources {
        let selector = scope.selector(*id);
        for source in scope.bearers(*id).iter().map(|index| &scope.directory.nodes[*index as usize]) {
            let elsewhere = reach == Reach::Own && source.untagged_owner() != node.untagged_owner();
            if elsewhere || !scope.posture_holds(&rule.postures, source) {
                continue;
            }
            // The service lists a tagged node once for each of its tags.
            let times = if *selector == Selector::Tagged { source.tags.len() } else { 1 };
            principals.extend((0..times).flat_map(|_| source.addresses.iter().copied()));
        }
    }
    push(rule, principals, base_users(rule), found);
}

/// With `localpart:*@domain` each user gets rules of their own, and these hold on their own devices too.
fn by_user(scope: &Scope<'_>, rule: &SshRule, node: &Node, found: &mut Vec<Login>) {
    let reach = reach(scope, rule, node);
    let mut users: Vec<&User> = scope.directory.users.iter().collect();
    users.sort_by_key(|user| user.id);
    for user in users {
        let named = rule.sources.iter().any(|id| scope.is_user(scope.selector(*id), user));
        let own = node.untagged_owner() == Some(user.id);
        if !named || !(own || reach == Reach::All) {
            continue;
        }
        let devices = scope.directory.devices(user.id).iter().map(|index| &scope.directory.nodes[*index as usize]);
        let devices = devices.filter(|source| scope.posture_holds(&rule.postures, source));
        let principals: Vec<Address> = devices.flat_map(|source| source.addresses.iter().copied()).collect();
        push(rule, principals.clone(), base_users(rule), found);
        if let Some((local, domain)) = user.mailbox()
            && rule.localparts.iter().any(|wanted| wanted == domain)
        {
            push(rule, principals, BTreeMap::from([(local.to_owned(), local.to_owned())]), found);
        }
    }
    if reach == Reach::All {
        let tags = rule.sources.iter().filter(|id| !scope.selector(**id).is_of_users());
        let bearers: Vec<_> = tags.map(|id| scope.bearers(*id)).collect();
        let nodes =
            bearers.iter().flat_map(|bearers| bearers.iter()).map(|index| &scope.directory.nodes[*index as usize]);
        push(rule, nodes.flat_map(|source| source.addresses.iter().copied()).collect(), base_users(rule), found);
    }
}

fn push(rule: &SshRule, principals: Vec<Address>, users: BTreeMap<String, String>, found: &mut Vec<Login>) {
    if !principals.is_empty() {
        found.push(Login { principals, users, check: rule.check, accept_env: rule.accept_env.clone() });
    }
}

//! The policy's own `tests` and `sshTests`, judged over a directory.
use crate::address::{Address, Span, Spans};
use crate::directory::Node;
use crate::error::Fault;
use crate::logins::{self, Login};
use crate::model::{Access, Rule, SshTest, Test};
use crate::ports::{self, DEFAULT_PROTOCOLS, Ports};
use crate::scope::Scope;
use crate::selector::Selector;
use rustc_hash::FxHashSet;

const FAILED: &str = "test(s) failed";

/// The first test or SSH test that fails, if one does.
pub fn check(scope: &Scope<'_>) -> Result<(), Fault> {
    for test in &scope.policy.tests {
        run(scope, test).map_err(|(at, what)| failed(at, &test.source, &what))?;
    }
    for test in &scope.policy.ssh_tests {
        run_ssh(scope, test).map_err(|what| failed(test.at, &test.source, &what))?;
    }
    Ok(())
}

fn failed(at: u32, source: &str, what: &str) -> Fault {
    Fault::new(at, FAILED).hint(format!("src {source:?}: {what}"))
}

type Failure = (u32, String);

fn run(scope: &Scope<'_>, test: &Test) -> Result<(), Failure> {
    let here = |what: String| (test.at, what);
    if test.accept.is_empty() && test.deny.is_empty() {
        return Err(here("neither accept nor deny says what to expect".to_owned()));
    }
    let protocols: &[u8] = match test.protocol.as_ref().map_err(|what| here(what.clone()))?.as_slice() {
        [] => &DEFAULT_PROTOCOLS,
        given if given.iter().all(|number| ports::has_ports(*number)) => given,
        _ => return Err(here("proto must be tcp, udp or sctp".to_owned())),
    };
    let sources = named(scope, &test.source).map_err(here)?;
    let cases = test.accept.iter().map(|case| (case, true)).chain(test.deny.iter().map(|case| (case, false)));
    for ((at, text), wanted) in cases {
        let (targets, port) = target(scope, text).map_err(|what| (*at, format!("{text:?}: {what}")))?;
        let reached = sources.as_slice().iter().all(|source| reaches(scope, source, &targets, port, protocols));
        if reached != wanted {
            let (expected, found) = if wanted { ("accepted", "denied") } else { ("denied", "accepted") };
            return Err((*at, format!("{text:?}: expected to be {expected}, is {found}")));
        }
    }
    Ok(())
}

/// The addresses of a name; there must be some.
fn named(scope: &Scope<'_>, text: &str) -> Result<Spans, String> {
    let selector = Selector::parse(text);
    if matches!(selector, Selector::Own | Selector::Unknown(_)) || text.is_empty() {
        return Err("unknown name".to_owned());
    }
    if let Selector::User(name) = &selector
        && !scope.directory.users.iter().any(|user| user.is_called(name))
    {
        return Err("unknown user".to_owned());
    }
    let spans = bound(scope, &selector);
    if spans.is_empty() { Err("resolves to no address".to_owned()) } else { Ok(spans) }
}

/// A name in a test need not occur in a rule, so it may not be bound: look users up by name here.
fn bound(scope: &Scope<'_>, selector: &Selector) -> Spans {
    let Selector::User(name) = selector else { return scope.spans_of(selector) };
    let own = |node: &&Node| scope.directory.owner(node).is_some_and(|owner| owner.is_called(name));
    let nodes = scope.directory.nodes.iter().filter(own);
    nodes.flat_map(|node| node.addresses.iter().map(|address| address.span())).collect()
}

/// One host and one port.
fn target(scope: &Scope<'_>, text: &str) -> Result<(Spans, u16), String> {
    let (name, port_text) = text.rsplit_once(':').ok_or("expected host:port")?;
    let [Ports { first, last }] = ports::parse_ports(port_text)?[..] else {
        return Err("expected one port".to_owned());
    };
    if first != last {
        return Err("expected one port".to_owned());
    }
    let selector = Selector::parse(name);
    let wide = match &selector {
        Selector::Internet => true,
        Selector::Span(_) => name.contains('/'),
        Selector::Host(host) => scope.policy.hosts.get(host).is_some_and(|span| !span.is_single()),
        _ => false,
    };
    if wide {
        return Err("expected one host, not a range".to_owned());
    }
    Ok((named(scope, name)?, first))
}

fn reaches(scope: &Scope<'_>, source: &Span, targets: &Spans, port: u16, protocols: &[u8]) -> bool {
    protocols.iter().any(|protocol| {
        let protocol = std::slice::from_ref(protocol);
        let names = |rule: &Rule| covers(scope, rule, source, targets, port, protocol);
        (scope.policy.allows_everything || scope.accepts().any(names)) && !scope.denials().any(names)
    })
}

/// Whether a rule is about these ends, this port, and one of the protocols.
fn covers(scope: &Scope<'_>, rule: &Rule, source: &Span, targets: &Spans, port: u16, protocols: &[u8]) -> bool {
    let mut accesses = rule.access.iter().filter(|access| speaks(access, protocols));
    accesses.any(|access| {
        let mut hit =
            access.targets.iter().filter(|(_, ports)| ports.iter().any(|p| p.first <= port && port <= p.last));
        hit.any(|(id, _)| match scope.selector(*id) {
            Selector::Own => own(scope, rule, source, targets),
            Selector::Any => from(scope, rule, source),
            _ => {
                let spans = scope.spans(*id);
                targets.as_slice().iter().any(|target| spans.overlaps(target)) && from(scope, rule, source)
            }
        })
    })
}

fn speaks(access: &Access, protocols: &[u8]) -> bool {
    let allowed: &[u8] = if access.protocols.is_empty() { &DEFAULT_PROTOCOLS } else { &access.protocols };
    allowed.iter().any(|number| protocols.contains(number))
}

fn from(scope: &Scope<'_>, rule: &Rule, source: &Span) -> bool {
    rule.sources.iter().any(|id| match scope.selector(*id) {
        Selector::DangerAll => true,
        _ => scope.spans(*id).overlaps(source),
    })
}

fn own(scope: &Scope<'_>, rule: &Rule, source: &Span, targets: &Spans) -> bool {
    let nodes = &scope.directory.nodes;
    let sources = nodes.iter().filter(|node| node.is_in(source));
    let is_target = |node: &&Node| node.addresses.iter().any(|address| targets.contains(*address));
    sources.into_iter().any(|from| nodes.iter().filter(is_target).any(|to| scope.is_own(rule, from, to)))
}

fn run_ssh(scope: &Scope<'_>, test: &SshTest) -> Result<(), String> {
    let sources: Vec<Address> = {
        let spans = named(scope, &test.source)?;
        let all = scope.directory.nodes.iter().flat_map(|node| node.addresses.iter().copied());
        all.filter(|address| spans.contains(*address)).collect()
    };
    if sources.is_empty() {
        return Err("resolves to no device".to_owned());
    }
    if test.accept.is_empty() && test.check.is_empty() && test.deny.is_empty() {
        return Err("neither accept, check nor deny says what to expect".to_owned());
    }
    if test.destinations.is_empty() {
        return Err("no dst".to_owned());
    }
    for (_, name) in &test.destinations {
        let nodes = ssh_targets(scope, test, name)?;
        if nodes.is_empty() {
            return Err(format!("dst {name:?} resolves to no device"));
        }
        for node in nodes {
            judge_ssh(scope, test, &sources, node)?;
        }
    }
    Ok(())
}

fn ssh_targets<'a>(scope: &Scope<'a>, test: &SshTest, name: &str) -> Result<Vec<&'a Node>, String> {
    let nodes = scope.directory.nodes.iter();
    if Selector::parse(name) == Selector::Own {
        let owner = scope.directory.users.iter().find(|user| user.is_called(&test.source)).map(|user| user.id);
        return Ok(nodes.filter(|node| owner.is_some() && node.untagged_owner() == owner).collect());
    }
    let spans = named(scope, name).map_err(|what| format!("dst {name:?}: {what}"))?;
    Ok(nodes.filter(|node| node.addresses.iter().any(|address| spans.contains(*address))).collect())
}

fn judge_ssh(scope: &Scope<'_>, test: &SshTest, sources: &[Address], node: &Node) -> Result<(), String> {
    let rules = logins::of(scope, node).into_iter();
    let rules: Vec<(FxHashSet<Address>, Login)> =
        rules.map(|rule| (rule.principals.iter().copied().collect(), rule)).collect();
    let reach = |source: &Address, user: &str, check_only: bool| {
        let matching = rules.iter().filter(|(_, rule)| !check_only || rule.check);
        matching.filter(|(principals, _)| principals.contains(source)).any(|(_, rule)| allows(rule, user))
    };
    let fault = |user: &str, expected: &str| format!("login {user:?} at {:?}: expected to be {expected}", node.name);
    for user in &test.accept {
        if !sources.iter().all(|source| reach(source, user, false)) {
            return Err(fault(user, "accepted"));
        }
    }
    for user in &test.check {
        if !sources.iter().all(|source| reach(source, user, true)) {
            return Err(fault(user, "checked"));
        }
    }
    for user in &test.deny {
        if user.is_empty() || sources.iter().any(|source| reach(source, user, false)) {
            return Err(fault(user, "denied"));
        }
    }
    Ok(())
}

fn allows(rule: &Login, user: &str) -> bool {
    match rule.users.get(user) {
        Some(local) => !local.is_empty(),
        None => user != "root" && !user.is_empty() && rule.users.get("*").is_some_and(|local| !local.is_empty()),
    }
}

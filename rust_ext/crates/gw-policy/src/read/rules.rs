//! `acls` and `grants`.
use super::fields::{Fields, object};
use super::{Reader, Side, array};
use crate::error::Fault;
use crate::model::{Access, Capabilities, Rule, Section, SelectorId};
use crate::ports::{self, ALL_PORTS, Ports, Protocols};
use crate::selector::Selector;
use std::sync::Arc;

/// What limits a rule under `ghostwire`.
pub(super) const LIMITS: [&str; 3] = ["schedule", "expires", "when"];
const OWN_NEEDS_USERS: &str = "autogroup:self can only be used with users, groups, or supported autogroups";
/// Capabilities of the service's own domain that a policy may give.
const OWN_CAPABILITIES: [&str; 6] = [
    "tailscale.com/cap/drive",
    "tailscale.com/cap/relay",
    "tailscale.com/cap/webui",
    "tailscale.com/cap/kubernetes",
    "tailscale.com/cap/tsidp",
    "tailscale.com/cap/secrets",
];

impl Reader {
    /// The rules of `acls`, at the top or under `ghostwire`, where they may be limited.
    pub(super) fn acls(&mut self, top: &Fields<'_>, section: Section) -> Result<(), Fault> {
        let Some(item) = top.get("acls") else { return Ok(()) };
        let known = ["action", "src", "dst", "proto", "users", "ports", "srcPosture"];
        let known = if section == Section::Acl { known.to_vec() } else { [&known[..], &LIMITS].concat() };
        for (index, entry) in array(item)?.iter().enumerate() {
            let fields = Fields::read(entry, &known)?;
            let (at, action) = fields.text("action")?;
            if action != "accept" {
                let fault = Fault::new(at, format!("action={action:?} is not supported"));
                return Err(fault.hint("expected \"accept\"; what no rule accepts is denied"));
            }
            let (proto_at, proto) = fields.text("proto")?;
            let protocols = ports::parse_protocol(proto).map_err(|message| Fault::new(proto_at, message))?;
            let sources = self.sources(&fields.strings(&["src", "users"])?, Side::AclSource)?;
            let mut targets = Vec::new();
            for (at, text) in fields.strings(&["dst", "ports"])? {
                targets.push(self.acl_target(at, text, proto, &protocols)?);
            }
            let own = targets.iter().any(|(id, _)| *self.policy.selector(*id) == Selector::Own);
            if own && !self.all_users(&sources, true) {
                return Err(Fault::new(entry.at, OWN_NEEDS_USERS).hint("expected users, groups, autogroup:member or *"));
            }
            let postures = self.source_postures(&fields)?;
            let access = vec![Access { protocols, targets: self.own_last(targets) }];
            let destinations = access[0].targets.iter().map(|(id, _)| *id).collect();
            let window = self.window(&fields)?;
            self.policy.rules.push(Arc::new(Rule {
                section,
                index: index as u32,
                at: entry.at,
                sources,
                destinations,
                access,
                app: Vec::new(),
                via: Vec::new(),
                postures,
                window,
                id: 0,
            }));
        }
        Ok(())
    }

    /// The service emits what is for oneself after all else, unless every destination is an autogroup.
    fn own_last(&self, targets: Vec<(SelectorId, Arc<[Ports]>)>) -> Vec<(SelectorId, Arc<[Ports]>)> {
        let autogroup = |id: &SelectorId| {
            let selector = self.policy.selector(*id);
            matches!(
                selector,
                Selector::Own | Selector::Internet | Selector::Member | Selector::Tagged | Selector::Role(_)
            )
        };
        if targets.iter().all(|(id, _)| autogroup(id)) {
            return targets;
        }
        let own = |(id, _): &(SelectorId, Arc<[Ports]>)| *self.policy.selector(*id) == Selector::Own;
        let (own, mut others): (Vec<_>, Vec<_>) = targets.into_iter().partition(own);
        others.extend(own);
        others
    }

    fn acl_target(
        &mut self,
        at: u32,
        text: &str,
        proto: &str,
        protocols: &Protocols,
    ) -> Result<(SelectorId, Arc<[Ports]>), Fault> {
        let text = text.trim();
        let Some((name, port_text)) = text.rsplit_once(':') else {
            let fault = Fault::new(at, format!("dst={text:?}: no port"));
            return Err(fault.hint("expected \"name:ports\", such as \"tag:web:443\" or \"tag:web:*\""));
        };
        let ports = ports::parse_ports(port_text).map_err(|message| {
            Fault::new(at, format!("dst={text:?}: {message}")).hint("expected ports such as 22, 80-443, or *")
        })?;
        let bound = !protocols.is_empty() && !protocols.iter().any(|number| ports::has_ports(*number));
        if bound && ports.iter().any(|ports| *ports != ALL_PORTS) {
            let message = format!("dst={text:?}: protocol {proto:?} does not support specific ports");
            return Err(Fault::new(at, message).hint("expected \"*\" as ports"));
        }
        let id = self.defined(at, name, Side::AclDestination)?;
        self.destination(at, id)?;
        Ok((id, ports.into()))
    }

    /// The rules of `grants`, at the top or under `ghostwire`, where they may be limited.
    pub(super) fn grants(&mut self, top: &Fields<'_>, section: Section) -> Result<(), Fault> {
        let Some(item) = top.get("grants") else { return Ok(()) };
        let known = ["src", "dst", "ip", "app", "via", "srcPosture"];
        let known = if section == Section::Grant { known.to_vec() } else { [&known[..], &LIMITS].concat() };
        for (index, entry) in array(item)?.iter().enumerate() {
            let fields = Fields::read(entry, &known)?;
            let via = self.via(&fields)?;
            let ip = fields.strings(&["ip"])?;
            let app = self.app(&fields)?;
            if ip.is_empty() && app.is_empty() {
                return Err(Fault::new(entry.at, "ip and app can not both be empty").hint("expected \"ip\" or \"app\""));
            }
            let sources = self.sources(&fields.strings(&["src"])?, Side::GrantSource)?;
            let mut destinations = Vec::new();
            for (at, name) in fields.strings(&["dst"])? {
                destinations.push(self.grant_destination(at, name, !app.is_empty())?);
            }
            self.own_of_users(entry.at, &sources, &destinations)?;
            let access = grant_access(&ip, &destinations)?;
            let postures = self.source_postures(&fields)?;
            let window = self.window(&fields)?;
            self.policy.rules.push(Arc::new(Rule {
                section,
                index: index as u32,
                at: entry.at,
                sources,
                destinations,
                access,
                app,
                via,
                postures,
                window,
                id: 0,
            }));
        }
        Ok(())
    }

    pub(super) fn own_of_users(
        &self,
        at: u32,
        sources: &[SelectorId],
        destinations: &[SelectorId],
    ) -> Result<(), Fault> {
        let own = destinations.iter().any(|id| *self.policy.selector(*id) == Selector::Own);
        if own && !self.all_users(sources, false) {
            return Err(Fault::new(at, OWN_NEEDS_USERS).hint("expected users, groups or autogroup:member"));
        }
        Ok(())
    }

    pub(super) fn grant_destination(&mut self, at: u32, name: &str, with_app: bool) -> Result<SelectorId, Fault> {
        if matches!(name.trim(), "0.0.0.0/0" | "::/0") {
            let message = format!("dst {name:?}: to allow all IP addresses, use \"*\" or \"autogroup:internet\"");
            return Err(Fault::new(at, message));
        }
        let id = self.defined(at, name, Side::GrantDestination)?;
        self.destination(at, id)?;
        if with_app && *self.policy.selector(id) == Selector::Internet {
            let fault = Fault::new(at, "cannot use app grants with autogroup:internet");
            return Err(fault.hint("expected a destination that runs an application"));
        }
        Ok(id)
    }

    fn via(&mut self, fields: &Fields<'_>) -> Result<Vec<SelectorId>, Fault> {
        let mut via = Vec::new();
        for (at, name) in fields.strings(&["via"])? {
            let id = self.intern(name.trim());
            let Selector::Tag(tag) = self.policy.selector(id) else {
                return Err(Fault::new(at, "via can only be a tag").hint("expected \"tag:name\""));
            };
            if !self.policy.tags.contains(tag) {
                let fault = Fault::new(at, format!("tag {name:?} not found"));
                return Err(fault.hint("expected a tag that tagOwners defines"));
            }
            via.push(id);
        }
        Ok(via)
    }

    fn app(&self, fields: &Fields<'_>) -> Result<Capabilities, Fault> {
        let Some(item) = fields.get("app") else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (key, value) in object(item)? {
            let name = &*key.name;
            let formed = name.split_once('/').is_some_and(|(domain, path)| !domain.is_empty() && !path.is_empty());
            if !formed || name.contains("://") {
                let fault = Fault::new(key.at, "capability name must have the form {domain}/{path}");
                return Err(fault.hint("expected a name such as example.com/cap/name"));
            }
            if name.starts_with("tailscale.com/") && !OWN_CAPABILITIES.contains(&name) {
                let fault = Fault::new(key.at, "capability name must not be in the tailscale.com domain");
                return Err(fault.hint(format!("expected another domain or one of {}", OWN_CAPABILITIES.join(", "))));
            }
            array(value)?;
            found.push((name.to_owned(), value.plain()));
        }
        Ok(found)
    }

    pub(super) fn sources(&mut self, names: &[(u32, &str)], side: Side) -> Result<Vec<SelectorId>, Fault> {
        let mut found = Vec::with_capacity(names.len());
        for (at, name) in names {
            let id = self.defined(*at, name, side)?;
            match self.policy.selector(id) {
                Selector::Own | Selector::Internet | Selector::Service(_) => {
                    let fault = Fault::new(*at, format!("{:?} not valid on the src side of a rule", name.trim()));
                    return Err(fault.hint("expected users, groups, tags, hosts, addresses or *"));
                }
                Selector::Domain(domain) => {
                    let domain = domain.clone();
                    self.policy.domains.push((*at, domain));
                }
                _ => {}
            }
            found.push(id);
        }
        Ok(found)
    }

    fn destination(&mut self, at: u32, id: SelectorId) -> Result<(), Fault> {
        match self.policy.selector(id) {
            Selector::DangerAll => {
                Err(Fault::new(at, "cannot use autogroup:danger-all as a dst").hint("expected \"*\" for all"))
            }
            Selector::Domain(domain) => {
                let domain = domain.clone();
                self.policy.domains.push((at, domain));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn all_users(&self, sources: &[SelectorId], or_any: bool) -> bool {
        sources.iter().all(|id| {
            let selector = self.policy.selector(*id);
            selector.is_of_users() || (or_any && *selector == Selector::Any)
        })
    }

    /// What the source must fulfil: one of `srcPosture` (or of those that hold by default) and one of `when`.
    fn source_postures(&mut self, fields: &Fields<'_>) -> Result<Vec<u32>, Fault> {
        let postures = match fields.get("srcPosture") {
            None => self.policy.default_postures.clone(),
            Some(_) => self.posture_names(fields, "srcPosture")?,
        };
        let conditions = self.conditions_named(fields)?;
        self.both(fields, postures, conditions)
    }
}

/// `ip` entries by protocol, in the order in which protocols first occur.
fn grant_access(ip: &[(u32, &str)], destinations: &[SelectorId]) -> Result<Vec<Access>, Fault> {
    let mut by_protocol: Vec<(Protocols, Vec<Ports>)> = Vec::new();
    for (at, text) in ip {
        let (protocols, ports) = grant_ip(text.trim()).map_err(|message| {
            Fault::new(*at, message).hint("expected \"*\", \"443\", \"80-443\", \"tcp:22\" or \"icmp:*\"")
        })?;
        match by_protocol.iter_mut().find(|(known, _)| *known == protocols) {
            Some((_, known)) => known.extend(ports),
            None => by_protocol.push((protocols, ports)),
        }
    }
    let access = by_protocol.into_iter().map(|(protocols, ports)| {
        let ports: Arc<[Ports]> = ports.into();
        Access { protocols, targets: destinations.iter().map(|id| (*id, ports.clone())).collect() }
    });
    Ok(access.collect())
}

pub(crate) fn grant_ip(text: &str) -> Result<(Protocols, Vec<Ports>), String> {
    let Some((proto, port_text)) = text.split_once(':') else {
        return Ok((Vec::new(), ports::parse_ports(text)?));
    };
    if port_text.contains(':') {
        return Err("expected only one colon in Internet protocol and port type".to_owned());
    }
    let protocols = ports::parse_protocol(proto)?;
    let found = ports::parse_ports(port_text)?;
    let bound = !protocols.is_empty() && !protocols.iter().any(|number| ports::has_ports(*number));
    if bound && found.iter().any(|ports| *ports != ALL_PORTS) {
        return Err(format!("protocol {proto:?} does not support specific ports"));
    }
    Ok((protocols, found))
}

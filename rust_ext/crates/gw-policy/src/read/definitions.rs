//! Groups, hosts, IP sets, tag owners, approvers, postures and node attributes.
use super::fields::{Fields, object};
use super::{Reader, Side, array, string, strings};
use crate::address::{Span, Spans, Step, internet};
use crate::error::Fault;
use crate::model::{NodeAttr, SelectorId};
use crate::posture::Condition;
use crate::selector::Selector;
use crate::text::{Item, Key};
use rustc_hash::FxHashMap;
use std::collections::HashMap;

/// So many ranges may be in all IP sets together, those counted again that a set takes from others.
const MOST_RANGES: usize = 1 << 22;
/// So many postures may be asked for where a rule names none.
const MOST_DEFAULTS: usize = 256;
const RESERVED: [&str; 2] = ["100.100.100.0/24", "100.115.92.0/23"];

impl Reader {
    pub(super) fn groups(&mut self, top: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = top.get("groups") else { return Ok(()) };
        let mut members: Vec<&(Key, Item)> = object(item)?.iter().collect();
        for (key, _) in &members {
            if key.name.strip_prefix("group:").is_none_or(str::is_empty) {
                let message = format!("groups[{:?}]: group names must start with 'group:'", key.name);
                return Err(Fault::new(key.at, message).hint("expected \"group:name\""));
            }
        }
        members.sort_by(|(left, _), (right, _)| right.name.cmp(&left.name));
        for (key, value) in members {
            let mut ids = Vec::new();
            for (at, name) in strings(value)? {
                ids.push(self.group_member(&key.name, at, name)?);
            }
            self.policy.groups.insert(key.name.clone(), ids);
        }
        Ok(())
    }

    pub(super) fn group_member(&mut self, group: &str, at: u32, name: &str) -> Result<SelectorId, Fault> {
        let id = self.intern(name.trim());
        match &self.policy.selectors[id as usize] {
            Selector::User(_) => Ok(id),
            Selector::Domain(domain) => {
                let domain = domain.clone();
                self.policy.domains.push((at, domain));
                Ok(id)
            }
            Selector::Group(_) => {
                let message = format!("groups[{group:?}]: {name:?}: group members cannot be recursive");
                Err(Fault::new(at, message).hint("expected users; groups cannot contain groups"))
            }
            _ => Err(Fault::new(at, format!("groups[{group:?}]: {name:?}: invalid group member"))
                .hint("expected a user: alice@ or alice@example.com")),
        }
    }

    pub(super) fn hosts(&mut self, top: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = top.get("hosts") else { return Ok(()) };
        for (key, value) in object(item)? {
            let text = string(value)?;
            let Some(span) = Span::parse(text.trim()) else {
                let message = format!("hosts[{:?}]: invalid IP address or prefix {text:?}", key.name);
                return Err(Fault::new(value.at, message).hint("expected an address or a prefix such as 10.0.0.0/8"));
            };
            self.policy.hosts.insert(key.name.clone(), span);
        }
        Ok(())
    }

    pub(super) fn ipsets(&mut self, top: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = top.get("ipsets") else { return Ok(()) };
        let entries: HashMap<&str, (&Key, &Item)> =
            object(item)?.iter().map(|(key, value)| (&*key.name, (key, value))).collect();
        let mut names: Vec<&str> = entries.keys().copied().collect();
        names.sort_unstable();
        let mut left = MOST_RANGES;
        for name in names {
            self.ipset(&entries, name, &mut Vec::new(), &mut left)?;
        }
        Ok(())
    }

    /// Read one set after those it names; `open` are the sets being read, `left` the ranges that may still come.
    fn ipset<'a>(
        &mut self,
        entries: &HashMap<&'a str, (&'a Key, &'a Item)>,
        name: &'a str,
        open: &mut Vec<&'a str>,
        left: &mut usize,
    ) -> Result<(), Fault> {
        if self.policy.ipsets.contains_key(name) {
            return Ok(());
        }
        let (key, value) = entries[name];
        if !name.starts_with("ipset:") {
            let message = format!("ipsets[{name:?}]: IP set names must start with 'ipset:'");
            return Err(Fault::new(key.at, message).hint("expected \"ipset:name\""));
        }
        if open.contains(&name) || open.len() > 32 {
            let message = format!("ipsets[{name:?}]: circular or too deep reference to an IP set");
            return Err(Fault::new(key.at, message).hint("an IP set cannot contain itself"));
        }
        open.push(name);
        let mut parts: Vec<(bool, Part<'a>)> = Vec::new();
        for (at, text) in strings(value)? {
            let (remove, target) = operation(text);
            let part = match Selector::parse(target) {
                Selector::IpSet(_) if entries.contains_key(target) => {
                    self.ipset(entries, target, open, left)?;
                    Part::Named(target)
                }
                Selector::Internet => Part::Own(internet()),
                Selector::Span(span) => Part::Own(Spans::from_iter([span])),
                Selector::Host(host) if self.policy.hosts.contains_key(&host) => {
                    Part::Own(Spans::from_iter([self.policy.hosts[&host]]))
                }
                _ => {
                    let message = format!("ipsets[{name:?}]: invalid target {target:?}");
                    return Err(Fault::new(at, message)
                        .hint("expected an address, a prefix, a host, an IP set or autogroup:internet"));
                }
            };
            let length = part.spans(&self.policy.ipsets).as_slice().len();
            *left = left.checked_sub(length).ok_or_else(|| {
                let fault = Fault::new(at, format!("ipsets[{name:?}]: too many ranges"));
                fault.hint(format!("at most {MOST_RANGES} are read for all IP sets together"))
            })?;
            parts.push((remove, part));
        }
        open.pop();
        let known = &self.policy.ipsets;
        let parts = parts.iter().map(|(remove, part)| (*remove, part.spans(known)));
        let steps: Vec<Step<'_>> =
            parts.map(|(remove, spans)| if remove { Step::Remove(spans) } else { Step::Add(spans) }).collect();
        let set = Spans::after(&steps);
        self.policy.ipsets.insert(name.into(), set);
        Ok(())
    }

    pub(super) fn tag_owners(&mut self, top: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = top.get("tagOwners") else { return Ok(()) };
        let members = object(item)?;
        for (key, _) in members {
            check_tag(&key.name).map_err(|what| {
                Fault::new(key.at, format!("tagOwners[{:?}]: {what}", key.name)).hint("expected \"tag:name\"")
            })?;
            self.policy.tags.insert(key.name.clone());
        }
        for (key, value) in members {
            let mut owners = Vec::new();
            for (at, name) in strings(value)? {
                owners
                    .push(self.defined(at, name, Side::Other).map_err(|fault| inside("tagOwners", &key.name, fault))?);
            }
            self.policy.tag_owners.push((key.name.clone(), owners));
        }
        Ok(())
    }

    pub(super) fn postures(&mut self, top: &Fields<'_>) -> Result<(), Fault> {
        if let Some(item) = top.get("postures") {
            for (key, value) in object(item)? {
                if !key.name.starts_with("posture:") {
                    let message = format!("postures[{:?}]: posture names must start with 'posture:'", key.name);
                    return Err(Fault::new(key.at, message).hint("expected \"posture:name\""));
                }
                let conditions = strings(value)?
                    .into_iter()
                    .map(|(at, text)| Condition::parse(text).map_err(|message| Fault::new(at, message)))
                    .collect::<Result<_, _>>()?;
                self.postures.insert(key.name.clone(), self.policy.postures.len() as u32);
                self.policy.postures.push((key.name.clone(), conditions));
            }
        }
        self.policy.default_postures = self.posture_names(top, "defaultSrcPosture")?;
        if self.policy.default_postures.len() > MOST_DEFAULTS {
            let at = top.get("defaultSrcPosture").map_or(top.at, |item| item.at);
            let fault = Fault::new(at, format!("defaultSrcPosture names more than {MOST_DEFAULTS} postures"));
            return Err(fault.hint("expected fewer names"));
        }
        Ok(())
    }

    pub(super) fn posture_names(&mut self, fields: &Fields<'_>, field: &str) -> Result<Vec<u32>, Fault> {
        let mut found = Vec::new();
        for (at, name) in fields.strings(&[field])? {
            match self.postures.get(name) {
                Some(index) => found.push(*index),
                None => {
                    let fault = Fault::new(at, format!("{field}: posture not found: {name:?}"));
                    return Err(fault.hint("expected a posture that the policy defines"));
                }
            }
        }
        Ok(found)
    }

    pub(super) fn auto_approvers(&mut self, top: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = top.get("autoApprovers") else { return Ok(()) };
        let fields = Fields::read(item, &["routes", "exitNode", "services"])?;
        if let Some(routes) = fields.get("routes") {
            for (key, value) in object(routes)? {
                let Some(span) = Span::parse(&key.name) else {
                    let message = format!("autoApprovers.routes[{:?}]: invalid prefix", key.name);
                    return Err(Fault::new(key.at, message).hint("expected a prefix such as 10.0.0.0/8"));
                };
                let approvers = self.approvers(&strings(value)?)?;
                self.policy.auto_approvers.routes.push((span, approvers));
            }
        }
        self.policy.auto_approvers.exit_node = self.approvers(&fields.strings(&["exitNode"])?)?;
        if let Some(services) = fields.get("services") {
            for (_, value) in object(services)? {
                self.approvers(&strings(value)?)?;
            }
        }
        Ok(())
    }

    fn approvers(&mut self, names: &[(u32, &str)]) -> Result<Vec<SelectorId>, Fault> {
        names.iter().map(|(at, name)| self.defined(*at, name, Side::Other)).collect()
    }

    pub(super) fn node_attrs(&mut self, top: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = top.get("nodeAttrs") else { return Ok(()) };
        for entry in array(item)? {
            let fields = Fields::read(entry, &["target", "attr", "ipPool", "app"])?;
            let mut targets = Vec::new();
            for (at, name) in fields.strings(&["target"])? {
                let id = self.defined(at, name, Side::Other)?;
                if matches!(self.policy.selector(id), Selector::Own | Selector::Internet | Selector::DangerAll) {
                    let message = format!("nodeAttrs target {name:?} is not valid");
                    return Err(Fault::new(at, message).hint("expected users, groups, tags, hosts, addresses or *"));
                }
                targets.push(id);
            }
            let pools = fields
                .strings(&["ipPool"])?
                .into_iter()
                .map(|(at, text)| pool(text).map_err(|what| Fault::new(at, format!("IPPool({text}): {what}"))))
                .collect::<Result<_, _>>()?;
            let attributes = fields.strings(&["attr"])?.into_iter().map(|(_, name)| name.to_owned()).collect();
            let app = match fields.get("app") {
                Some(app) => object(app)?.iter().map(|(key, value)| (key.name.to_string(), value.plain())).collect(),
                None => Vec::new(),
            };
            self.policy.node_attrs.push(NodeAttr { targets, attributes, app, pools });
        }
        Ok(())
    }
}

/// What an entry of an IP set stands for: another set, or addresses of its own.
enum Part<'a> {
    Named(&'a str),
    Own(Spans),
}

impl Part<'_> {
    fn spans<'b>(&'b self, known: &'b FxHashMap<Box<str>, Spans>) -> &'b Spans {
        match self {
            Self::Named(name) => &known[*name],
            Self::Own(spans) => spans,
        }
    }
}

fn inside(section: &str, name: &str, fault: Fault) -> Fault {
    Fault { message: format!("{section}[{name:?}]: {}", fault.message), ..fault }
}

/// `add X`, `remove X`, or `X` alone, which adds.
fn operation(text: &str) -> (bool, &str) {
    let text = text.trim();
    match text.split_once(char::is_whitespace) {
        Some(("add", target)) => (false, target.trim()),
        Some(("remove", target)) => (true, target.trim()),
        _ => (false, text),
    }
}

/// What a tag may be called. The error is the message, without place.
fn check_tag(tag: &str) -> Result<(), &'static str> {
    let Some(name) = tag.strip_prefix("tag:") else {
        return Err("tags must start with 'tag:'");
    };
    let Some(first) = name.bytes().next() else {
        return Err("tag names must not be empty");
    };
    if !first.is_ascii_alphabetic() {
        return Err("tag names must start with a letter, after 'tag:'");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err("tag names can only contain numbers, letters, or dashes");
    }
    Ok(())
}

fn pool(text: &str) -> Result<Span, &'static str> {
    let Some(span) = Span::parse(text) else { return Err("invalid prefix") };
    let shared = Span::parse("100.64.0.0/10").is_some_and(|whole| whole.covers(&span));
    if RESERVED.iter().filter_map(|text| Span::parse(text)).any(|reserved| reserved.overlaps(&span)) {
        return Err("network within reserved range");
    }
    if shared { Ok(span) } else { Err("network must be within 100.64.0.0/10") }
}

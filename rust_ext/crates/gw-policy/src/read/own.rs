//! The key `ghostwire`: what this policy language adds to the original's.
use super::fields::{Fields, object};
use super::rules::{LIMITS, grant_ip};
use super::{Reader, Side, array, duration, string, strings};
use crate::error::{Fault, nearest};
use crate::model::{Access, Membership, RequestRule, Rule, Section, SelectorId};
use crate::ports::{ALL_PORTS, Ports, Protocols};
use crate::posture::Condition;
use crate::selector::Selector;
use crate::text::Item;
use crate::window::{Instant, Schedule, Window, parse_time};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

const SECTIONS: [&str; 7] = ["schedules", "conditions", "groups", "grants", "acls", "deny", "requests"];
const DEFAULT_PRIORITY: u32 = 100;
const MAX_PRIORITY: u32 = 1000;
/// Of postures with conditions for one rule.
const MOST_PAIRS: usize = 256;
/// The longest that a request may ask for: a year.
const LONGEST: i64 = 365 * 24 * 3600 * 1_000_000_000;
/// Protocols with ports, which a denial of bare ports means.
const PORTED: [u8; 3] = [6, 17, 132];

/// What limits rules and memberships, as far as it is read. Equal windows are one.
#[derive(Default)]
pub(super) struct Limits {
    schedules: FxHashMap<Box<str>, Arc<Schedule>>,
    windows: FxHashMap<(Box<str>, Option<Instant>), Arc<Window>>,
    /// Places among the policy's postures.
    conditions: FxHashMap<Box<str>, u32>,
    /// A posture and a condition that must both hold.
    pairs: FxHashMap<(u32, u32), u32>,
}

/// The members of the key itself.
pub(super) fn fields(item: &Item) -> Result<Fields<'_>, Fault> {
    Fields::read(item, &SECTIONS)
}

impl Reader {
    /// Schedules, and members of groups for a time only.
    pub(super) fn own_definitions(&mut self, own: &Fields<'_>) -> Result<(), Fault> {
        if let Some(item) = own.get("schedules") {
            for (key, value) in object(item)? {
                let fields = Fields::read(value, &["days", "hours", "zone"])?;
                let texts = |name: &str| -> Result<Vec<&str>, Fault> {
                    Ok(fields.strings(&[name])?.into_iter().map(|(_, text)| text).collect())
                };
                let (zone_at, zone) = fields.text("zone")?;
                let (days, hours) = (texts("days")?, texts("hours")?);
                let at = |field: &str| fields.get(field).map_or(value.at, |item| item.at);
                let schedule = Schedule::new(&key.name, &days, &hours, zone.trim()).map_err(|fault| {
                    let place = match fault.part {
                        "days" | "hours" => at(fault.part),
                        _ => zone_at,
                    };
                    Fault::new(place, format!("schedules[{:?}]: {}", key.name, fault.message)).hint(fault.hint)
                })?;
                self.limits.schedules.insert(key.name.clone(), Arc::new(schedule));
            }
        }
        let Some(item) = own.get("groups") else { return Ok(()) };
        let mut groups: Vec<_> = object(item)?.iter().collect();
        groups.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
        for (key, value) in groups {
            if key.name.strip_prefix("group:").is_none_or(str::is_empty) {
                let message = format!("groups[{:?}]: group names must start with 'group:'", key.name);
                return Err(Fault::new(key.at, message).hint("expected \"group:name\""));
            }
            self.policy.groups.entry(key.name.clone()).or_default();
            self.memberships(&key.name, value)?;
        }
        Ok(())
    }

    /// Members with equal windows are one membership; those without a window are in the group like any other.
    fn memberships(&mut self, group: &str, value: &Item) -> Result<(), Fault> {
        let mut known: FxHashMap<*const Window, usize> = FxHashMap::default();
        for entry in array(value)? {
            let fields = Fields::read(entry, &["member", "schedule", "expires"])?;
            let (at, name) = fields.text("member")?;
            let member = self.group_member(group, at, name)?;
            let Some(window) = self.window(&fields)? else {
                self.policy.groups.entry(group.into()).or_default().push(member);
                continue;
            };
            let place = *known.entry(Arc::as_ptr(&window)).or_insert(self.policy.memberships.len());
            if place == self.policy.memberships.len() {
                let selector = self.policy.selectors.len() as SelectorId;
                self.policy.selectors.push(Selector::Membership(place as u32));
                self.policy.memberships.push(Membership { group: group.into(), members: Vec::new(), window, selector });
            }
            self.policy.memberships[place].members.push(member);
        }
        Ok(())
    }

    pub(super) fn own_conditions(&mut self, own: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = own.get("conditions") else { return Ok(()) };
        for (key, value) in object(item)? {
            if key.name.strip_prefix("condition:").is_none_or(str::is_empty) {
                let message = format!("conditions[{:?}]: condition names must start with 'condition:'", key.name);
                return Err(Fault::new(key.at, message).hint("expected \"condition:name\""));
            }
            let parse = |(at, text)| Condition::parse_own(text).map_err(|message| Fault::new(at, message));
            let all = strings(value)?.into_iter().map(parse).collect::<Result<_, _>>()?;
            self.limits.conditions.insert(key.name.clone(), self.policy.postures.len() as u32);
            self.policy.postures.push((key.name.clone(), all));
        }
        Ok(())
    }

    pub(super) fn own_rules(&mut self, own: &Fields<'_>) -> Result<(), Fault> {
        self.grants(own, Section::OwnGrant)?;
        self.acls(own, Section::OwnAcl)?;
        self.denials(own)?;
        self.requests(own)
    }

    /// `schedule` and `expires`.
    pub(super) fn window(&mut self, fields: &Fields<'_>) -> Result<Option<Arc<Window>>, Fault> {
        let schedule = match fields.get("schedule") {
            None => None,
            Some(item) => Some(self.schedule(item)?),
        };
        let expires = match fields.get("expires") {
            None => None,
            Some(item) => Some(parse_time(string(item)?.trim()).ok_or_else(|| {
                let fault =
                    Fault::new(item.at, format!("expires is not a time: {:?}", string(item).unwrap_or_default()));
                fault.hint("expected a time such as \"2026-12-01T00:00:00Z\", before the year 2262")
            })?),
        };
        if schedule.is_none() && expires.is_none() {
            return Ok(None);
        }
        let name = schedule.as_ref().map_or("".into(), |schedule| schedule.name.clone());
        let window =
            self.limits.windows.entry((name, expires)).or_insert_with(|| Arc::new(Window { schedule, expires }));
        Ok(Some(window.clone()))
    }

    fn schedule(&self, item: &Item) -> Result<Arc<Schedule>, Fault> {
        let name = string(item)?;
        let known = &self.limits.schedules;
        known.get(name).cloned().ok_or_else(|| {
            let fault = Fault::new(item.at, format!("schedule not found: {name:?}"));
            match nearest(name, known.keys().map(|name| &**name)) {
                Some(near) => fault.hint(format!("did you mean {near:?}?")),
                None => fault.hint("expected a schedule that ghostwire.schedules defines"),
            }
        })
    }

    /// `when`: one of these conditions must hold.
    pub(super) fn conditions_named(&self, fields: &Fields<'_>) -> Result<Vec<u32>, Fault> {
        let known = &self.limits.conditions;
        let mut found = Vec::new();
        for (at, name) in fields.strings(&["when"])? {
            let Some(index) = known.get(name) else {
                let fault = Fault::new(at, format!("when: condition not found: {name:?}"));
                return Err(match nearest(name, known.keys().map(|name| &**name)) {
                    Some(near) => fault.hint(format!("did you mean {near:?}?")),
                    None => fault.hint("expected a condition that ghostwire.conditions defines"),
                });
            };
            found.push(*index);
        }
        if found.is_empty() && fields.get("when").is_some() {
            return Err(Fault::new(fields.at, "when is empty").hint("expected conditions, or no \"when\""));
        }
        Ok(found)
    }

    /// One of the postures and one of the conditions, as postures that ask for both.
    pub(super) fn both(
        &mut self,
        fields: &Fields<'_>,
        postures: Vec<u32>,
        conditions: Vec<u32>,
    ) -> Result<Vec<u32>, Fault> {
        if postures.is_empty() || conditions.is_empty() {
            return Ok([postures, conditions].concat());
        }
        if postures.len() * conditions.len() > MOST_PAIRS {
            let message = format!("srcPosture and when together make more than {MOST_PAIRS} combinations");
            return Err(Fault::new(fields.at, message).hint("expected fewer names"));
        }
        let mut found = Vec::new();
        for (posture, condition) in
            postures.iter().flat_map(|posture| conditions.iter().map(move |condition| (*posture, *condition)))
        {
            let known = &mut self.policy.postures;
            let index = *self.limits.pairs.entry((posture, condition)).or_insert_with(|| {
                let (one, other) = (&known[posture as usize], &known[condition as usize]);
                let name = format!("{} and {}", one.0, other.0);
                known.push((name.into(), [&one.1[..], &other.1[..]].concat()));
                known.len() as u32 - 1
            });
            found.push(index);
        }
        Ok(found)
    }

    /// Denials, put before all other rules in order of their priority.
    fn denials(&mut self, own: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = own.get("deny") else { return Ok(()) };
        let mut found: Vec<(u32, Rule)> = Vec::new();
        for (index, entry) in array(item)?.iter().enumerate() {
            let fields = Fields::read(entry, &[&["src", "dst", "ip", "priority"][..], &LIMITS].concat())?;
            let priority = fields.number("priority", MAX_PRIORITY)?.unwrap_or(DEFAULT_PRIORITY);
            let sources = self.sources(&fields.strings(&["src"])?, Side::GrantSource)?;
            let mut destinations = Vec::new();
            for (at, name) in fields.strings(&["dst"])? {
                destinations.push(self.grant_destination(at, name, false)?);
            }
            if sources.is_empty() || destinations.is_empty() {
                return Err(Fault::new(entry.at, "a denial needs both src and dst").hint("expected names, or \"*\""));
            }
            self.own_of_users(entry.at, &sources, &destinations)?;
            let access = denied_access(&fields.strings(&["ip"])?, &destinations)?;
            let (postures, window) = (self.conditions_named(&fields)?, self.window(&fields)?);
            let rule = Rule {
                section: Section::Deny,
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
            };
            found.push((priority, rule));
        }
        found.sort_by_key(|(priority, _)| *priority);
        self.policy.rules.splice(0..0, found.into_iter().map(|(_, rule)| Arc::new(rule)));
        Ok(())
    }

    fn requests(&mut self, own: &Fields<'_>) -> Result<(), Fault> {
        let Some(item) = own.get("requests") else { return Ok(()) };
        let mut names: FxHashSet<Box<str>> = FxHashSet::default();
        for entry in array(item)? {
            let fields = Fields::read(entry, &["name", "src", "dst", "ip", "approvers", "longest"])?;
            let request = self.request(&fields)?;
            if !names.insert(request.name.clone()) {
                let fault = Fault::new(entry.at, format!("request {:?} is defined twice", request.name));
                return Err(fault.hint("expected another name"));
            }
            self.policy.requests.push(request);
        }
        Ok(())
    }

    fn request(&mut self, fields: &Fields<'_>) -> Result<RequestRule, Fault> {
        let need = |what: &str| Fault::new(fields.at, format!("a request needs {what}"));
        let (_, name) = fields.text("name")?;
        if name.is_empty() {
            return Err(need("a name").hint("expected \"name\""));
        }
        let sources = self.sources(&fields.strings(&["src"])?, Side::GrantSource)?;
        let mut destinations = Vec::new();
        for (at, name) in fields.strings(&["dst"])? {
            destinations.push(self.grant_destination(at, name, false)?);
        }
        let mut ip = Vec::new();
        for (at, text) in fields.strings(&["ip"])? {
            ip.push(ports(at, text)?);
        }
        let mut approvers = Vec::new();
        for (at, name) in fields.strings(&["approvers"])? {
            let id = self.defined(at, name, Side::Other)?;
            if !self.policy.selector(id).is_of_users() {
                let fault = Fault::new(at, format!("approver {name:?} is not of users"));
                return Err(fault.hint("expected users, groups, autogroup:admin or another role"));
            }
            approvers.push(id);
        }
        for (list, what) in [(&sources, "src"), (&destinations, "dst"), (&approvers, "approvers")] {
            if list.is_empty() {
                return Err(need(what).hint(format!("expected names in {what:?}")));
            }
        }
        if ip.is_empty() {
            return Err(need("ip").hint("expected such as [\"tcp:22\"]"));
        }
        let (at, text) = fields.text("longest")?;
        let longest = duration::parse(text.trim()).filter(|longest| (1_000_000_000..=LONGEST).contains(longest));
        let Some(longest) = longest else {
            let fault = Fault::new(at, format!("longest is not a duration of 1s to 8760h: {text:?}"));
            return Err(fault.hint("expected such as \"4h\""));
        };
        let longest_s = longest as u64 / 1_000_000_000;
        Ok(RequestRule { name: name.into(), at: fields.at, sources, destinations, ip, approvers, longest_s })
    }
}

fn ports(at: u32, text: &str) -> Result<(Protocols, Vec<Ports>), Fault> {
    grant_ip(text.trim()).map_err(|message| {
        Fault::new(at, message).hint("expected \"*\", \"443\", \"80-443\", \"tcp:22\" or \"icmp:*\"")
    })
}

/// What a denial closes: everything unless `ip` says less. Bare ports are those of all protocols that have ports.
fn denied_access(ip: &[(u32, &str)], destinations: &[SelectorId]) -> Result<Vec<Access>, Fault> {
    let access = |protocols: Protocols, ports: Vec<Ports>| {
        let ports: Arc<[Ports]> = ports.into();
        Access { protocols, targets: destinations.iter().map(|id| (*id, ports.clone())).collect() }
    };
    if ip.is_empty() {
        return Ok(vec![access((0..=u8::MAX).collect(), vec![ALL_PORTS])]);
    }
    let mut found = Vec::new();
    for (at, text) in ip {
        let (protocols, ports) = ports(*at, text)?;
        let protocols = match (protocols.is_empty(), ports.contains(&ALL_PORTS)) {
            (true, true) => (0..=u8::MAX).collect(),
            (true, false) => PORTED.to_vec(),
            (false, _) => protocols,
        };
        found.push(access(protocols, ports));
    }
    Ok(found)
}

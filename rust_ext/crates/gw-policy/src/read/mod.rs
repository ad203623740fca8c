//! From text to policy: every section read, every name checked, the first fault reported with its place.
mod definitions;
mod duration;
mod fields;
mod own;
mod rules;
mod ssh;
mod tests_block;

use crate::aside::drop_aside;
use crate::error::{Fault, PolicyError};
use crate::model::{Policy, Prints, Section, SelectorId};
use crate::selector::{AUTOGROUPS, Selector};
use crate::text::{self, Item, Json, Key};
use fields::Fields;
pub(crate) use rules::grant_ip;
use rustc_hash::FxHashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Ids of rules have 53 bits: every reader of JSON takes them.
const ID_SHIFT: u32 = 11;

const SECTIONS: [&str; 20] = [
    "acls",
    "grants",
    "groups",
    "hosts",
    "ipsets",
    "tagOwners",
    "autoApprovers",
    "ssh",
    "nodeAttrs",
    "postures",
    "defaultSrcPosture",
    "tests",
    "sshTests",
    "randomizeClientPort",
    "disableIPv4",
    "derpMap",
    "oneCGNATRoute",
    "attrConfig",
    "extraDNSRecords",
    "ghostwire",
];

/// The document of a text that is this long, in bytes, is taken apart aside.
const LARGE: usize = 1 << 20;

impl Policy {
    /// Read and check a policy text.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let document = text::parse(text)?;
        let mut reader = Reader::default();
        reader.document(&document).map_err(|fault| text::locate(text, fault))?;
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1);
        reader.policy.lines = std::iter::once(0).chain(starts).collect();
        reader.fingerprint(&document);
        if text.len() >= LARGE {
            // Taking it apart takes an eighth of the whole time, and nobody waits for it.
            drop_aside(document);
        }
        Ok(reader.policy)
    }
}

/// The policy as far as it is read.
#[derive(Default)]
pub(crate) struct Reader {
    policy: Policy,
    interned: FxHashMap<Box<str>, SelectorId>,
    /// Places among the policy's postures, by name.
    postures: FxHashMap<Box<str>, u32>,
    limits: own::Limits,
}

/// On which side of a rule a name stands, as the service words it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    AclSource,
    AclDestination,
    GrantSource,
    GrantDestination,
    Other,
}

impl Side {
    /// Put the service's prefix for this side before `what`.
    fn word(self, name: &str, what: String) -> String {
        match self {
            Self::AclSource | Self::GrantSource => format!("src={what}"),
            Self::AclDestination => format!("dst={name:?}: {what}"),
            Self::GrantDestination | Self::Other => what,
        }
    }
}

impl Reader {
    fn document(&mut self, document: &Item) -> Result<(), Fault> {
        let top = Fields::read(document, &SECTIONS)?;
        let own = top.get("ghostwire").map(own::fields).transpose()?;
        self.groups(&top)?;
        own.as_ref().map_or(Ok(()), |own| self.own_definitions(own))?;
        self.hosts(&top)?;
        self.ipsets(&top)?;
        self.tag_owners(&top)?;
        self.postures(&top)?;
        let has_rules = |fields: &Fields<'_>| fields.any(&["acls", "grants"]).is_some();
        self.policy.allows_everything = !has_rules(&top) && !own.as_ref().is_some_and(has_rules);
        own.as_ref().map_or(Ok(()), |own| self.own_conditions(own))?;
        self.grants(&top, Section::Grant)?;
        self.acls(&top, Section::Acl)?;
        own.as_ref().map_or(Ok(()), |own| self.own_rules(own))?;
        self.auto_approvers(&top)?;
        self.ssh(&top)?;
        self.node_attrs(&top)?;
        self.tests(&top)?;
        self.ssh_tests(&top)?;
        self.policy.randomize_client_port = top.flag("randomizeClientPort")?;
        top.flag("disableIPv4")?;
        Ok(())
    }

    /// Number rules and definitions by their content, so that two policies can be compared rule by rule.
    fn fingerprint(&mut self, document: &Item) {
        let mut definitions = DefaultHasher::new();
        if let Json::Object(members) = &document.json {
            let mut names = vec!["groups", "hosts", "ipsets", "postures"];
            if self.policy.reads_attributes() {
                names.push("nodeAttrs");
            }
            hash_members(members, &names, &mut definitions);
            self.policy.prints = Prints { ssh: prints(members, "ssh"), node_attrs: prints(members, "nodeAttrs") };
            let own = members.iter().find(|(key, _)| key.name.eq_ignore_ascii_case("ghostwire"));
            if let Some((_, Item { json: Json::Object(members), .. })) = own {
                hash_members(members, &["schedules", "conditions", "groups"], &mut definitions);
            }
        }
        self.policy.definitions = definitions.finish();
        let policy = &self.policy;
        let selector = |ids: &[SelectorId], hasher: &mut DefaultHasher| {
            ids.iter().for_each(|id| policy.selector(*id).hash(hasher));
            u32::MAX.hash(hasher);
        };
        let fingerprints = policy.rules.iter().map(|rule| {
            let mut hasher = DefaultHasher::new();
            rule.section.hash(&mut hasher);
            for ids in [&rule.sources, &rule.destinations, &rule.via] {
                selector(ids, &mut hasher);
            }
            for access in &rule.access {
                access.protocols.hash(&mut hasher);
                for (id, ports) in &access.targets {
                    policy.selector(*id).hash(&mut hasher);
                    ports.hash(&mut hasher);
                }
            }
            for (name, values) in &rule.app {
                name.hash(&mut hasher);
                values.to_string().hash(&mut hasher);
            }
            rule.postures.hash(&mut hasher);
            if let Some(window) = &rule.window {
                window.schedule.as_ref().map(|schedule| &schedule.name).hash(&mut hasher);
                window.expires.hash(&mut hasher);
            }
            hasher.finish()
        });
        let fingerprints: Vec<u64> = fingerprints.collect();
        for (place, (rule, print)) in (0..).zip(self.policy.rules.iter_mut().zip(&fingerprints)) {
            let rule = Arc::make_mut(rule);
            rule.id = (print >> ID_SHIFT).max(1);
            self.policy.places.entry(rule.id).or_insert(place);
        }
        self.policy.fingerprints = fingerprints;
    }

    fn intern(&mut self, text: &str) -> SelectorId {
        if let Some(id) = self.interned.get(text) {
            return *id;
        }
        let id = self.policy.selectors.len() as SelectorId;
        self.policy.selectors.push(Selector::parse(text));
        self.interned.insert(text.into(), id);
        id
    }

    /// A name that has to be defined wherever it stands.
    fn defined(&mut self, at: u32, text: &str, side: Side) -> Result<SelectorId, Fault> {
        let text = text.trim();
        let id = self.intern(text);
        let policy = &self.policy;
        let missing = |what: &str, known: &mut dyn Iterator<Item = &str>| {
            let fault = Fault::new(at, side.word(text, format!("{what} not found: {text:?}")));
            match crate::error::nearest(text, known) {
                Some(near) => fault.hint(format!("did you mean {near:?}?")),
                None => fault.hint(format!("expected a {what} that the policy defines")),
            }
        };
        match &policy.selectors[id as usize] {
            Selector::Tag(tag) if !policy.tags.contains(tag) => {
                Err(missing("tag", &mut policy.tags.iter().map(|name| &**name)))
            }
            Selector::Group(group) if !policy.groups.contains_key(group) => {
                Err(missing("group", &mut policy.groups.keys().map(|name| &**name)))
            }
            Selector::IpSet(set) if !policy.ipsets.contains_key(set) => {
                Err(missing("ipset", &mut policy.ipsets.keys().map(|name| &**name)))
            }
            Selector::Host(host) if !policy.hosts.contains_key(host) => {
                let fault = missing("host", &mut policy.hosts.keys().map(|name| &**name));
                let users = "; users are written alice@ or alice@example.com";
                Err(Fault { hint: format!("{}{users}", fault.hint), ..fault })
            }
            Selector::Unknown(name) => {
                let fault = Fault::new(at, side.word(text, format!("unknown autogroup {name:?}")));
                Err(match crate::error::nearest(name, AUTOGROUPS) {
                    Some(near) => fault.hint(format!("did you mean {near:?}?")),
                    None => fault.hint(format!("expected one of {}", AUTOGROUPS.join(", "))),
                })
            }
            _ => Ok(id),
        }
    }
}

fn hash_members(members: &[(Key, Item)], names: &[&str], hasher: &mut DefaultHasher) {
    for (key, item) in members.iter().filter(|(key, _)| names.iter().any(|name| name.eq_ignore_ascii_case(&key.name))) {
        key.name.to_ascii_lowercase().hash(hasher);
        item.plain().to_string().hash(hasher);
    }
}

/// What each entry of a section says, as a number.
fn prints(members: &[(Key, Item)], section: &str) -> Vec<u64> {
    let entries = members.iter().find(|(key, _)| key.name.eq_ignore_ascii_case(section)).map(|(_, item)| &item.json);
    let Some(Json::Array(entries)) = entries else { return Vec::new() };
    let print = |entry: &Item| {
        let mut hasher = DefaultHasher::new();
        entry.plain().to_string().hash(&mut hasher);
        hasher.finish()
    };
    entries.iter().map(print).collect()
}

/// The text of a string item.
fn string(item: &Item) -> Result<&str, Fault> {
    match &item.json {
        Json::String(text) => Ok(text),
        _ => Err(Fault::new(item.at, "not a string").hint("expected a string")),
    }
}

/// The items of an array; null is an empty one.
fn array(item: &Item) -> Result<&[Item], Fault> {
    match &item.json {
        Json::Array(items) => Ok(items),
        Json::Null => Ok(&[]),
        _ => Err(Fault::new(item.at, "not an array").hint("expected an array")),
    }
}

/// An array of strings with their places.
fn strings(item: &Item) -> Result<Vec<(u32, &str)>, Fault> {
    array(item)?.iter().map(|item| Ok((item.at, string(item)?))).collect()
}

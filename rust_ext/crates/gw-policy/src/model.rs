//! A policy whose names have been read and checked. It knows no users and no nodes.
use crate::address::{Span, Spans};
use crate::ports::{Ports, Protocols};
use crate::posture::Condition;
use crate::selector::Selector;
use crate::window::{Instant, Window};
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;
use std::sync::Arc;

/// Index into [`Policy::selectors`].
pub type SelectorId = u32;

/// What a grant gives to applications: capability name and values.
pub type Capabilities = Vec<(String, serde_json::Value)>;

#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub selectors: Vec<Selector>,
    pub groups: FxHashMap<Box<str>, Vec<SelectorId>>,
    /// Members of groups for a time only, in order of the groups' names.
    pub memberships: Vec<Membership>,
    pub hosts: FxHashMap<Box<str>, Span>,
    pub ipsets: FxHashMap<Box<str>, Spans>,
    pub tag_owners: Vec<(Box<str>, Vec<SelectorId>)>,
    /// The names in `tag_owners`.
    pub tags: FxHashSet<Box<str>>,
    /// Domains of `user:*@domain` and `localpart:*@domain`, and where they stand.
    pub domains: Vec<(u32, Box<str>)>,
    pub auto_approvers: AutoApprovers,
    /// Denials by their priority, then `grants`, `acls`, and those of `ghostwire`.
    pub rules: Vec<Arc<Rule>>,
    /// Neither `acls` nor `grants` is there, which allows everything.
    pub allows_everything: bool,
    pub ssh: Vec<SshRule>,
    pub node_attrs: Vec<NodeAttr>,
    /// Postures, the conditions of `ghostwire`, and pairs of both where a rule asks for both.
    pub postures: Vec<(Box<str>, Vec<Condition>)>,
    pub default_postures: Vec<u32>,
    pub tests: Vec<Test>,
    pub ssh_tests: Vec<SshTest>,
    pub requests: Vec<RequestRule>,
    pub randomize_client_port: bool,
    /// Byte offsets at which the lines of the text start.
    pub lines: Arc<[u32]>,
    /// One per rule: equal rules, equal numbers.
    pub fingerprints: Vec<u64>,
    pub prints: Prints,
    /// The place of each rule by its id, of equal ones the first.
    pub places: FxHashMap<u64, u32>,
    /// Of everything that names in rules stand for.
    pub definitions: u64,
}

/// One for each entry of a section: entries that are written the same have equal numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prints {
    pub ssh: Vec<u64>,
    pub node_attrs: Vec<u64>,
}

#[derive(Debug, Clone, Default)]
pub struct AutoApprovers {
    pub routes: Vec<(Span, Vec<SelectorId>)>,
    pub exit_node: Vec<SelectorId>,
}

/// Where a rule was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    Acl,
    Grant,
    /// `acls`, `grants` and `deny` under `ghostwire`.
    OwnAcl,
    OwnGrant,
    Deny,
    /// Nowhere: access that was asked for and approved. Its index is its number.
    Access,
}

impl Section {
    pub fn name(self) -> &'static str {
        match self {
            Self::Acl => "acls",
            Self::Grant => "grants",
            Self::OwnAcl => "ghostwire.acls",
            Self::OwnGrant => "ghostwire.grants",
            Self::Deny => "ghostwire.deny",
            Self::Access => "access",
        }
    }
}

/// Sources may reach destinations.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub section: Section,
    /// Position in its section, from 0.
    pub index: u32,
    pub at: u32,
    pub sources: Vec<SelectorId>,
    pub destinations: Vec<SelectorId>,
    pub access: Vec<Access>,
    pub app: Capabilities,
    pub via: Vec<SelectorId>,
    /// One of these postures must hold; none asks nothing.
    pub postures: Vec<u32>,
    /// None for always.
    pub window: Option<Arc<Window>>,
    /// Names the rule by what it says, the same in every text that has it; 0 where it was written nowhere.
    pub id: u64,
}

/// Users who are in a group while a window is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    pub group: Box<str>,
    pub members: Vec<SelectorId>,
    pub window: Arc<Window>,
    /// [`Selector::Membership`] of this one.
    pub selector: SelectorId,
}

/// What may be asked for, who approves it, and for how long at most.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRule {
    pub name: Box<str>,
    pub at: u32,
    pub sources: Vec<SelectorId>,
    pub destinations: Vec<SelectorId>,
    pub ip: Vec<(Protocols, Vec<Ports>)>,
    pub approvers: Vec<SelectorId>,
    pub longest_s: u64,
}

/// Destinations with their ports, all under the same protocols.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    pub protocols: Protocols,
    pub targets: Vec<(SelectorId, Arc<[Ports]>)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SshRule {
    pub at: u32,
    pub check: bool,
    pub sources: Vec<SelectorId>,
    pub destinations: Vec<SelectorId>,
    /// Login names, `autogroup:nonroot` included, `localpart:*@domain` not.
    pub users: Vec<String>,
    /// Domains of `localpart:*@domain`.
    pub localparts: Vec<String>,
    pub accept_env: Vec<String>,
    pub postures: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NodeAttr {
    pub targets: Vec<SelectorId>,
    pub attributes: Vec<String>,
    /// Attributes with values: `app`.
    pub app: Capabilities,
    pub pools: Vec<Span>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    pub at: u32,
    pub source: String,
    pub protocol: Result<Protocols, String>,
    pub accept: Vec<(u32, String)>,
    pub deny: Vec<(u32, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SshTest {
    pub at: u32,
    pub source: String,
    pub destinations: Vec<(u32, String)>,
    pub accept: Vec<String>,
    pub check: Vec<String>,
    pub deny: Vec<String>,
}

impl Rule {
    pub fn denies(&self) -> bool {
        self.section == Section::Deny
    }

    pub fn is_open(&self, now: Instant) -> bool {
        self.window.as_ref().is_none_or(|window| window.is_open(now))
    }

    /// Every name in it.
    pub fn names(&self) -> impl Iterator<Item = SelectorId> + '_ {
        let targets = self.access.iter().flat_map(|access| &access.targets).map(|(id, _)| id);
        [&self.sources, &self.destinations, &self.via].into_iter().flatten().chain(targets).copied()
    }

    /// The same rule where names have other numbers.
    pub fn renamed(&self, number: impl Fn(SelectorId) -> SelectorId) -> Self {
        let mut new = self.clone();
        let targets = new.access.iter_mut().flat_map(|access| &mut access.targets).map(|(id, _)| id);
        let names = new.sources.iter_mut().chain(&mut new.destinations).chain(&mut new.via);
        names.chain(targets).for_each(|id| *id = number(*id));
        new
    }
}

impl Policy {
    pub fn selector(&self, id: SelectorId) -> &Selector {
        &self.selectors[id as usize]
    }

    /// The addresses that a selector names by themselves: hosts, prefixes and IP sets.
    pub fn spans(&self, selector: &Selector) -> Option<Rc<[Span]>> {
        match selector {
            Selector::Span(span) => Some(Rc::new([*span])),
            Selector::Host(name) => Some(Rc::from_iter(self.hosts.get(name).copied())),
            Selector::IpSet(name) => Some(self.ipsets.get(name).map_or(Rc::new([]), |set| set.as_slice().into())),
            _ => None,
        }
    }

    /// Line and column of a byte of the text, both from 1; columns count bytes.
    pub fn position(&self, at: u32) -> (u32, u32) {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).map_or(0, |line| self.lines[line]);
        (line as u32, at - start + 1)
    }

    /// Memberships of a group for a time only, by number.
    pub fn memberships(&self, group: &str) -> std::ops::Range<usize> {
        let first = self.memberships.partition_point(|known| &*known.group < group);
        let count = self.memberships[first..].partition_point(|known| &*known.group == group);
        first..first + count
    }

    /// Whether a condition asks for attributes that `nodeAttrs` gives.
    pub fn reads_attributes(&self) -> bool {
        self.postures.iter().flat_map(|(_, conditions)| conditions).any(Condition::is_of_attributes)
    }

    /// Whether a rule has a condition that asks for such attributes.
    pub fn asks_for_attributes(&self, rule: &Rule) -> bool {
        let conditions = rule.postures.iter().flat_map(|index| &self.postures[*index as usize].1);
        conditions.into_iter().any(Condition::is_of_attributes)
    }

    /// Whom a group always names, or a lone selector itself.
    pub fn members<'a>(&'a self, selector: &'a Selector) -> Option<&'a [SelectorId]> {
        match selector {
            Selector::Group(name) => self.groups.get(name).map(Vec::as_slice),
            _ => None,
        }
    }
}

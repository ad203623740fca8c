//! A policy whose names have been read and checked. It knows no users and no nodes.
use crate::address::{Span, Spans};
use crate::ports::{Ports, Protocols};
use crate::posture::Condition;
use crate::selector::Selector;
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
    pub hosts: FxHashMap<Box<str>, Span>,
    pub ipsets: FxHashMap<Box<str>, Spans>,
    pub tag_owners: Vec<(Box<str>, Vec<SelectorId>)>,
    /// The names in `tag_owners`.
    pub tags: FxHashSet<Box<str>>,
    /// Domains of `user:*@domain` and `localpart:*@domain`, and where they stand.
    pub domains: Vec<(u32, Box<str>)>,
    pub auto_approvers: AutoApprovers,
    pub rules: Vec<Rule>,
    /// Neither `acls` nor `grants` is there, which allows everything.
    pub allows_everything: bool,
    pub ssh: Vec<SshRule>,
    pub node_attrs: Vec<NodeAttr>,
    pub postures: Vec<(Box<str>, Vec<Condition>)>,
    pub default_postures: Vec<u32>,
    pub tests: Vec<Test>,
    pub ssh_tests: Vec<SshTest>,
    pub randomize_client_port: bool,
    /// Byte offsets at which the lines of the text start.
    pub lines: Arc<[u32]>,
    /// One per rule: equal rules, equal numbers.
    pub fingerprints: Vec<u64>,
    /// Of everything that names in rules stand for.
    pub definitions: u64,
}

#[derive(Debug, Clone, Default)]
pub struct AutoApprovers {
    pub routes: Vec<(Span, Vec<SelectorId>)>,
    pub exit_node: Vec<SelectorId>,
}

/// Whether a rule was written as `acls` or as `grants`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    Acl,
    Grant,
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

    /// What a group names, or a lone selector itself.
    pub fn members<'a>(&'a self, selector: &'a Selector) -> Option<&'a [SelectorId]> {
        match selector {
            Selector::Group(name) => self.groups.get(name).map(Vec::as_slice),
            _ => None,
        }
    }
}

//! Access that was asked for and approved: what the policy allows beside its own rules, for a time.
use crate::model::{Access, Rule, Section, SelectorId};
use crate::ports::{Ports, Protocols};
use crate::selector::Selector;
use crate::window::{Instant, Window};
use std::sync::Arc;

/// One grant. It ends by itself, and no denial yields to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Approved {
    pub number: u32,
    pub source: Selector,
    pub destinations: Vec<Selector>,
    pub ip: Vec<(Protocols, Vec<Ports>)>,
    pub until: Instant,
}

impl Approved {
    /// As a rule; `name` numbers what it names.
    pub fn rule(&self, name: &mut dyn FnMut(&Selector) -> SelectorId) -> Rule {
        let source = name(&self.source);
        let destinations: Vec<SelectorId> = self.destinations.iter().map(name).collect();
        let access = self.ip.iter().map(|(protocols, ports)| {
            let ports: Arc<[Ports]> = ports.clone().into();
            let targets = destinations.iter().map(|id| (*id, ports.clone())).collect();
            Access { protocols: protocols.clone(), targets }
        });
        Rule {
            section: Section::Access,
            index: self.number,
            at: 0,
            sources: vec![source],
            access: access.collect(),
            destinations,
            app: Vec::new(),
            via: Vec::new(),
            postures: Vec::new(),
            window: Some(Arc::new(Window { schedule: None, expires: Some(self.until) })),
            id: 0,
        }
    }
}

/// What `ip` of a grant says: `443`, `tcp:22`, `icmp:*`. The error is the message.
pub fn parse_ip(text: &str) -> Result<(Protocols, Vec<Ports>), String> {
    crate::read::grant_ip(text.trim())
}

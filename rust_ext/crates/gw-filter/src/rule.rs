//! Rules, and the answer to "may this packet start something?".
use crate::FilterError;
use crate::header::{Fragment, Headers, Transport, has_ports};
use hashbrown::HashMap;
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;

/// One rule as the network map carries it (`ghostwire.model.filter.FilterRule`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    pub classes: Vec<u64>,
    pub same_owner: bool,
    pub prefixes: Vec<String>,
    pub destinations: Vec<String>,
    pub ports: Vec<(u16, u16)>,
    pub protocols: Vec<u8>,
    pub deny: bool,
    /// UTC nanoseconds at which the rule ends by itself; 0 for never.
    pub until: u64,
    /// The id of the policy's rule that it comes from; 0 for none.
    pub rule: u64,
}

/// What the filter knows of the peer that sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sender {
    pub peer: u32,
    pub class: u64,
    pub owner: u64,
}

struct Compiled {
    classes: Vec<u64>,
    same_owner: bool,
    prefixes: Vec<IpNet>,
    destinations: Vec<IpNet>,
    ports: Vec<(u16, u16)>,
    protocols: Vec<u8>,
    deny: bool,
    until: u64,
    rule: u64,
    hits: u64,
}

/// All rules of a node, compiled.
#[derive(Default)]
pub struct RuleSet {
    rules: Vec<Compiled>,
    /// For each kind of sender the rules whose source may match, so that a large policy costs a sender its own rules.
    by_sender: HashMap<(u64, bool), Box<[u32]>>,
    /// Packets that wanted to start something and that no rule is about.
    unmatched: u64,
}

/// What became of a packet that wanted to start something; `by` is the place of the rule that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    pub accepted: bool,
    pub by: Option<u32>,
}

fn network(text: &str) -> Result<IpNet, FilterError> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| FilterError::Prefix(text.to_owned()))
}

impl Compiled {
    fn new(rule: Rule) -> Result<Self, FilterError> {
        if let Some(&(low, high)) = rule.ports.iter().find(|(low, high)| low > high) {
            return Err(FilterError::Ports(low, high));
        }
        Ok(Self {
            classes: rule.classes,
            same_owner: rule.same_owner,
            prefixes: rule.prefixes.iter().map(|t| network(t)).collect::<Result<_, _>>()?,
            destinations: rule.destinations.iter().map(|t| network(t)).collect::<Result<_, _>>()?,
            ports: rule.ports,
            protocols: rule.protocols,
            deny: rule.deny,
            until: rule.until,
            rule: rule.rule,
            hits: 0,
        })
    }

    fn names(&self, class: u64, same_owner: bool) -> bool {
        self.classes.contains(&class) || (self.same_owner && same_owner)
    }

    fn matches(&self, packet: &Question<'_>) -> bool {
        (self.until == 0 || packet.utc < self.until)
            && (self.protocols.is_empty() || self.protocols.contains(&packet.protocol))
            && self.matches_port(packet)
            && (self.names(packet.class, packet.same_owner) || self.prefixes.iter().any(|p| p.contains(&packet.source)))
            && if self.destinations.is_empty() {
                packet.own.contains(&packet.destination)
            } else {
                self.destinations.iter().any(|p| p.contains(&packet.destination))
            }
    }

    fn matches_port(&self, packet: &Question<'_>) -> bool {
        if self.ports.is_empty() || !has_ports(packet.protocol) {
            return true;
        }
        // A reply's port is no service of ours: a rule about ports says nothing about it.
        packet.port.is_some_and(|port| self.ports.iter().any(|&(low, high)| low <= port && port <= high))
    }
}

/// What is asked of the rules about one packet or flow.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub class: u64,
    pub same_owner: bool,
    pub own: &'a [IpAddr],
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// The destination port, where the protocol has ports and the packet is no reply.
    pub port: Option<u16>,
    pub utc: u64,
}

impl RuleSet {
    /// # Errors
    /// When the JSON is no list of rules, or a prefix or a port range makes no sense.
    pub fn parse(json: &[u8]) -> Result<Self, FilterError> {
        Self::new(serde_json::from_slice(json)?)
    }

    /// # Errors
    /// When a prefix or a port range makes no sense.
    pub fn new(rules: Vec<Rule>) -> Result<Self, FilterError> {
        let rules = rules.into_iter().map(Compiled::new).collect::<Result<_, _>>()?;
        Ok(Self { rules, ..Self::default() })
    }

    /// Whether a packet may start something: some accepting rule matches and no denying one.
    pub fn accepts(&mut self, question: &Question<'_>) -> bool {
        self.judge(question).accepted
    }

    /// What becomes of a packet that wants to start something, and by which rule: the first that denies it, or else
    /// the first that accepts it.
    pub fn judge(&mut self, question: &Question<'_>) -> Judgement {
        let mut accepting = None;
        let Self { rules, by_sender, .. } = self;
        for &index in candidates(rules, by_sender, question) {
            let rule = &rules[index as usize];
            if (accepting.is_none() || rule.deny) && rule.matches(question) {
                if rule.deny {
                    return Judgement { accepted: false, by: Some(index) };
                }
                accepting = Some(index);
            }
        }
        Judgement { accepted: accepting.is_some(), by: accepting }
    }

    /// Whether a packet may start something; one that cannot be parsed, or is a later fragment, may not.
    pub fn starts(&mut self, headers: Option<&Headers>, sender: Sender, owner: u64, own: &[IpAddr], utc: u64) -> bool {
        headers
            .and_then(|headers| Question::about(headers, sender, owner, own, utc))
            .is_some_and(|question| self.accepts(&question))
    }

    /// Count what a judgement of these rules did.
    pub fn count(&mut self, judgement: Judgement) {
        match judgement.by {
            Some(index) => self.rules[index as usize].hits += 1,
            None => self.unmatched += 1,
        }
    }

    /// Add what was counted since the last time to `hits`, by the rules of the policy; what no rule accepted under 0.
    pub fn take_hits(&mut self, hits: &mut HashMap<u64, u64>) {
        let counted = self.rules.iter_mut().filter(|rule| rule.rule != 0);
        let counted = counted.map(|rule| (rule.rule, std::mem::take(&mut rule.hits)));
        let unmatched = std::iter::once((0, std::mem::take(&mut self.unmatched)));
        for (rule, count) in counted.chain(unmatched).filter(|(_, count)| *count > 0) {
            *hits.entry(rule).or_default() += count;
        }
    }

    /// Whether a denying rule ends even replies: one that names the sender whatever the port.
    pub fn denies(&mut self, question: &Question<'_>) -> bool {
        let Self { rules, by_sender, .. } = self;
        candidates(rules, by_sender, question)
            .iter()
            .map(|&index| &rules[index as usize])
            .any(|rule| rule.deny && rule.matches(question))
    }

    /// The first moment after `utc` (UTC nanoseconds) at which a rule ends.
    #[must_use]
    pub fn next_end(&self, utc: u64) -> Option<u64> {
        self.rules.iter().map(|rule| rule.until).filter(|&until| until > utc).min()
    }
}

fn candidates<'a>(
    rules: &[Compiled],
    by_sender: &'a mut HashMap<(u64, bool), Box<[u32]>>,
    question: &Question<'_>,
) -> &'a [u32] {
    by_sender.entry((question.class, question.same_owner)).or_insert_with(|| {
        (0u32..)
            .zip(rules)
            .filter(|(_, rule)| rule.names(question.class, question.same_owner) || !rule.prefixes.is_empty())
            .map(|(index, _)| index)
            .collect()
    })
}

impl<'a> Question<'a> {
    /// The question that a packet which starts something poses. Nothing is known of a later fragment: `None`.
    #[must_use]
    pub fn about(headers: &Headers, sender: Sender, owner: u64, own: &'a [IpAddr], utc: u64) -> Option<Self> {
        if matches!(headers.fragment, Fragment::Later { .. }) {
            return None;
        }
        let port = match headers.transport {
            Transport::Ports { destination, .. } => Some(destination),
            _ => None,
        };
        Some(Self {
            class: sender.class,
            same_owner: owner != 0 && sender.owner == owner,
            own,
            source: headers.source,
            destination: headers.destination,
            protocol: headers.protocol,
            port,
            utc,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(rules: &str, class: u64, owners: (u64, u64), protocol: u8, port: Option<u16>, utc: u64) -> bool {
        let own = ["100.64.0.1".parse().expect("address")];
        RuleSet::parse(rules.as_bytes()).expect("rules").accepts(&Question {
            class,
            same_owner: owners.0 != 0 && owners.0 == owners.1,
            own: &own,
            source: "100.64.0.2".parse().expect("address"),
            destination: own[0],
            protocol,
            port,
            utc,
        })
    }

    #[test]
    fn nothing_passes_without_a_rule() {
        assert!(!ask("[]", 1, (1, 1), 6, Some(80), 0));
    }

    #[test]
    fn a_deny_wins_wherever_it_stands() {
        assert!(ask(r#"[{"classes":[1]}]"#, 1, (0, 0), 6, Some(80), 0));
        for rules in
            [r#"[{"classes":[1]},{"classes":[1],"deny":true}]"#, r#"[{"classes":[1],"deny":true},{"classes":[1]}]"#]
        {
            assert!(!ask(rules, 1, (0, 0), 6, Some(80), 0));
        }
    }

    #[test]
    fn owner_zero_owns_nothing() {
        let rules = r#"[{"same_owner":true}]"#;
        assert!(ask(rules, 1, (7, 7), 6, Some(80), 0));
        assert!(!ask(rules, 1, (0, 0), 6, Some(80), 0));
        assert!(!ask(rules, 1, (7, 8), 6, Some(80), 0));
    }

    #[test]
    fn ports_bind_only_where_there_are_ports() {
        let rules = r#"[{"classes":[1],"ports":[[22,22],[80,90]]}]"#;
        assert!(ask(rules, 1, (0, 0), 6, Some(85), 0));
        assert!(!ask(rules, 1, (0, 0), 17, Some(91), 0));
        assert!(ask(rules, 1, (0, 0), 1, None, 0));
    }

    #[test]
    fn a_rule_ends_at_its_moment() {
        let rules = r#"[{"classes":[1],"until":100}]"#;
        assert!(ask(rules, 1, (0, 0), 6, Some(1), 99));
        assert!(!ask(rules, 1, (0, 0), 6, Some(1), 100));
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        assert!(RuleSet::parse(br#"[{"prefixes":["10.0.0.0/33"]}]"#).is_err());
        assert!(RuleSet::parse(br#"[{"ports":[[2,1]]}]"#).is_err());
        assert!(RuleSet::parse(br#"[{"portz":[]}]"#).is_err());
    }
}

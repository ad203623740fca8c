//! The filter with its memory: rules, flows, fragments.
use crate::flow::{self, FlowKey, Flows, Opened};
use crate::fragment::Fragments;
use crate::header::{self, Fragment, Headers, TCP, Transport, has_ports};
use crate::rule::{Judgement, Question, RuleSet, Sender};
use hashbrown::HashMap;
use serde::Serialize;
use std::net::IpAddr;

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Malformed,
    Denied,
    Fragment,
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Drop(Reason),
}

/// The time as the caller knows it: monotonic milliseconds, and UTC nanoseconds that never go back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Now {
    pub ms: u64,
    pub utc: u64,
}

/// What became of packets, since the start.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counters {
    pub accepted: u64,
    pub dropped_malformed: u64,
    pub dropped_denied: u64,
    pub dropped_fragment: u64,
    pub dropped_full: u64,
    pub dropped_outbound: u64,
    pub flows_cut: u64,
}

/// The inbound filter of one node. Without rules it lets in replies only.
#[derive(Default)]
pub struct Filter {
    rules: RuleSet,
    own: Vec<IpAddr>,
    owner: u64,
    flows: Flows,
    fragments: Fragments,
    /// What rules that are no longer in force did, by the policy's rules they came from.
    hits: HashMap<u64, u64>,
    pub counters: Counters,
}

impl Filter {
    /// Replace the rules. Follow it with [`Filter::judge`].
    pub fn set_rules(&mut self, rules: RuleSet) {
        self.rules.take_hits(&mut self.hits);
        self.rules = rules;
    }

    /// Replace the node's own addresses and owner. Follow it with [`Filter::judge`].
    pub fn set_own(&mut self, addresses: Vec<IpAddr>, owner: u64) {
        self.own = addresses;
        self.owner = owner;
    }

    /// What each rule of the policy let in or refused since this was last asked: flows, and attempts at them. What no
    /// rule accepted is counted under 0.
    pub fn take_hits(&mut self) -> HashMap<u64, u64> {
        self.rules.take_hits(&mut self.hits);
        std::mem::take(&mut self.hits)
    }

    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// The first moment (UTC nanoseconds) after `utc` at which a rule ends and flows must be judged again.
    #[must_use]
    pub fn next_end(&self, utc: u64) -> Option<u64> {
        self.rules.next_end(utc)
    }

    /// Judge a decrypted packet whose source is already known to belong to the sender.
    pub fn inbound(&mut self, sender: Sender, headers: Option<&Headers>, packet: &[u8], now: Now) -> Verdict {
        let verdict = match headers {
            None => Verdict::Drop(Reason::Malformed),
            Some(headers) => self.judge_inbound(sender, headers, packet, now),
        };
        let counters = &mut self.counters;
        match verdict {
            Verdict::Pass => counters.accepted += 1,
            Verdict::Drop(Reason::Malformed) => counters.dropped_malformed += 1,
            Verdict::Drop(Reason::Denied) => counters.dropped_denied += 1,
            Verdict::Drop(Reason::Fragment) => counters.dropped_fragment += 1,
            Verdict::Drop(Reason::Full) => counters.dropped_full += 1,
        }
        verdict
    }

    fn judge_inbound(&mut self, sender: Sender, headers: &Headers, packet: &[u8], now: Now) -> Verdict {
        if matches!(headers.fragment, Fragment::Later { .. }) {
            return match self.fragments.follows(sender.peer, headers, now.ms) {
                true => Verdict::Pass,
                false => Verdict::Drop(Reason::Fragment),
            };
        }
        let key = flow::key(sender.peer, headers, true);
        let flags = flow::flags(headers);
        // A SYN is judged by the rules whatever was seen before on its ports.
        let known = match &key {
            Some(key) => !flow::is_syn(headers) && self.flows.pass(key, flags, true, now.ms),
            None => self.is_about_own_flow(sender, headers, packet, now),
        };
        if !known {
            let judgement = self.judge_start(sender, headers, now);
            // Of a SYN that is sent again only the first counts.
            if key.is_none_or(|key| self.flows.get(&key, now.ms) != Some(Opened::Inbound)) {
                self.rules.count(judgement);
            }
            if !judgement.accepted {
                return Verdict::Drop(Reason::Denied);
            }
            if key.is_some_and(|key| !self.flows.open(key, Opened::Inbound, flags, now.ms)) {
                return Verdict::Drop(Reason::Full);
            }
        }
        if self.fragments.note(sender.peer, headers, now.ms) { Verdict::Pass } else { Verdict::Drop(Reason::Full) }
    }

    fn judge_start(&mut self, sender: Sender, headers: &Headers, now: Now) -> Judgement {
        match Question::about(headers, sender, self.owner, &self.own, now.utc) {
            Some(question) => self.rules.judge(&question),
            None => Judgement { accepted: false, by: None },
        }
    }

    /// Whether an ICMP error speaks of a packet that this node sent in a live flow with that peer.
    fn is_about_own_flow(&mut self, sender: Sender, headers: &Headers, packet: &[u8], now: Now) -> bool {
        let Transport::IcmpError { quote } = headers.transport else { return false };
        packet
            .get(quote..headers.length)
            .and_then(header::parse_quote)
            .filter(|quoted| quoted.source == headers.destination && !matches!(quoted.fragment, Fragment::Later { .. }))
            .and_then(|quoted| flow::key(sender.peer, &quoted, false))
            .and_then(|key| self.flows.get(&key, now.ms))
            .is_some_and(|opened| opened != Opened::Cut)
    }

    /// Note a packet that this node sends to a peer, so that its replies pass. False: it belongs to a flow that was
    /// cut and must not leave.
    pub fn outbound(&mut self, peer: Sender, headers: &Headers, now: Now) -> bool {
        if matches!(headers.fragment, Fragment::Later { .. }) {
            return true;
        }
        let Some(key) = flow::key(peer.peer, headers, false) else { return true };
        let flags = flow::flags(headers);
        let syn = flow::is_syn(headers);
        if !syn && self.flows.pass(&key, flags, false, now.ms) {
            return true;
        }
        if !syn && self.flows.get(&key, now.ms) == Some(Opened::Cut) {
            self.flows.touch(&key, flags, false, now.ms);
            // The other side may be told that it is over.
            if headers.protocol == TCP && flags & header::RST != 0 {
                return true;
            }
            self.counters.dropped_outbound += 1;
            return false;
        }
        // Only a SYN opens a TCP flow: the rest of a connection that is no longer allowed must not.
        let opens = match headers.transport {
            Transport::Ports { .. } => headers.protocol != TCP || syn,
            Transport::Echo { request, .. } => request,
            _ => true,
        };
        if opens && !self.rules.denies(&reply(&key, peer, self.owner, &self.own, now)) {
            self.flows.open(key, Opened::Outbound, flags, now.ms);
        }
        true
    }

    /// Judge all live flows again, after rules, addresses, peers or the time changed. `sender` tells who a flow's peer
    /// is now; none if the flow's remote address is no longer that peer's. Returns the flows that were cut.
    pub fn judge(&mut self, sender: impl Fn(&FlowKey) -> Option<Sender>, now: Now) -> Vec<FlowKey> {
        let Self { rules, own, owner, flows, fragments, counters, .. } = self;
        let cut = flows.judge(
            |key, opened| {
                let Some(peer) = sender(key) else { return false };
                let mut question = reply(key, peer, *owner, own, now);
                if opened == Opened::Outbound {
                    return !rules.denies(&question);
                }
                question.port = has_ports(key.protocol).then_some(key.local_port);
                rules.accepts(&question)
            },
            now.ms,
        );
        fragments.clear();
        counters.flows_cut += cut.len() as u64;
        cut
    }

    /// Forget a peer; returns the flows that it had.
    pub fn forget(&mut self, peer: u32) -> Vec<FlowKey> {
        self.fragments.clear();
        self.flows.forget(peer)
    }

    /// Forget what expired. To be called now and then.
    pub fn sweep(&mut self, now: Now) {
        self.flows.sweep(now.ms);
        self.fragments.sweep(now.ms);
    }
}

/// The question that a flow's packets from the peer pose where the port is no service of this node.
fn reply<'a>(key: &FlowKey, peer: Sender, owner: u64, own: &'a [IpAddr], now: Now) -> Question<'a> {
    Question {
        class: peer.class,
        same_owner: owner != 0 && peer.owner == owner,
        own,
        source: key.remote,
        destination: key.local,
        protocol: key.protocol,
        port: None,
        utc: now.utc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{ACK, RST, SYN, UDP};

    const PEER: Sender = Sender { peer: 1, class: 5, owner: 9 };
    const NOW: Now = Now { ms: 1_000, utc: 50 };

    fn filter(rules: &str) -> Filter {
        let mut filter = Filter::default();
        filter.set_own(vec!["100.64.0.1".parse().expect("address")], 9);
        filter.set_rules(RuleSet::parse(rules.as_bytes()).expect("rules"));
        filter
    }

    fn packet(from: (u8, u16), to: (u8, u16), protocol: u8, flags: u8) -> Vec<u8> {
        let body = if protocol == TCP { 20 } else { 8 };
        let mut packet =
            vec![0x45, 0, 0, 20 + body, 0, 1, 0, 0, 64, protocol, 0, 0, 100, 64, 0, from.0, 100, 64, 0, to.0];
        packet.extend_from_slice(&from.1.to_be_bytes());
        packet.extend_from_slice(&to.1.to_be_bytes());
        packet.resize(20 + usize::from(body), 0);
        if protocol == TCP {
            packet[32] = 0x50;
            packet[33] = flags;
        }
        packet
    }

    fn arrives(filter: &mut Filter, packet: &[u8]) -> bool {
        filter.inbound(PEER, header::parse(packet).as_ref(), packet, NOW) == Verdict::Pass
    }

    fn leaves(filter: &mut Filter, packet: &[u8]) -> bool {
        filter.outbound(PEER, &header::parse(packet).expect("valid"), NOW)
    }

    #[test]
    fn replies_pass_and_nothing_else() {
        let mut filter = filter("[]");
        assert!(!arrives(&mut filter, &packet((2, 53), (1, 999), UDP, 0)));
        assert!(leaves(&mut filter, &packet((1, 999), (2, 53), UDP, 0)));
        assert!(arrives(&mut filter, &packet((2, 53), (1, 999), UDP, 0)));
        assert!(!arrives(&mut filter, &packet((2, 53), (1, 998), UDP, 0)));
    }

    #[test]
    fn an_answer_is_no_leave_to_connect_back() {
        let mut filter = filter("[]");
        assert!(leaves(&mut filter, &packet((1, 999), (2, 80), TCP, SYN)));
        assert!(arrives(&mut filter, &packet((2, 80), (1, 999), TCP, SYN | ACK)));
        assert!(!arrives(&mut filter, &packet((2, 80), (1, 999), TCP, SYN)));
    }

    #[test]
    fn a_cut_flow_is_not_opened_again_by_its_own_rest() {
        for protocol in [TCP, UDP] {
            let mut filter = filter(r#"[{"classes":[5]}]"#);
            assert!(arrives(&mut filter, &packet((2, 999), (1, 80), protocol, SYN)));
            assert!(leaves(&mut filter, &packet((1, 80), (2, 999), protocol, SYN | ACK)));
            filter.set_rules(RuleSet::default());
            assert_eq!(filter.judge(|_| Some(PEER), NOW).len(), 1);
            assert!(!leaves(&mut filter, &packet((1, 80), (2, 999), protocol, ACK)));
            assert!(!arrives(&mut filter, &packet((2, 999), (1, 80), protocol, ACK)));
            assert_eq!(leaves(&mut filter, &packet((1, 80), (2, 999), protocol, RST)), protocol == TCP);
        }
    }

    #[test]
    fn a_rule_that_still_holds_keeps_its_flows() {
        let mut filter = filter(r#"[{"classes":[5],"ports":[[80,80]]}]"#);
        assert!(arrives(&mut filter, &packet((2, 999), (1, 80), TCP, SYN)));
        filter.set_rules(RuleSet::parse(br#"[{"same_owner":true,"ports":[[80,80]]}]"#).expect("rules"));
        assert!(filter.judge(|_| Some(PEER), NOW).is_empty());
        assert_eq!(filter.judge(|_| Some(Sender { owner: 8, ..PEER }), NOW).len(), 1);
    }

    #[test]
    fn a_denied_sender_gets_no_replies_through() {
        let mut filter = filter(r#"[{"classes":[5],"deny":true}]"#);
        assert!(leaves(&mut filter, &packet((1, 999), (2, 53), UDP, 0)));
        assert!(!arrives(&mut filter, &packet((2, 53), (1, 999), UDP, 0)));
        filter.set_rules(RuleSet::parse(br#"[{"classes":[5],"ports":[[1,65535]],"deny":true}]"#).expect("rules"));
        assert!(leaves(&mut filter, &packet((1, 999), (2, 53), UDP, 0)));
        assert!(arrives(&mut filter, &packet((2, 53), (1, 999), UDP, 0)));
    }

    #[test]
    fn each_flow_counts_once_for_the_rule_that_decides() {
        let mut filter = filter(
            r#"[{"classes":[5],"ports":[[80,80]],"rule":7},{"classes":[5],"rule":8},
                {"classes":[5],"ports":[[22,22]],"deny":true,"rule":9}]"#,
        );
        for _ in 0..3 {
            assert!(arrives(&mut filter, &packet((2, 999), (1, 80), TCP, SYN)));
            assert!(arrives(&mut filter, &packet((2, 999), (1, 80), TCP, ACK)));
        }
        assert!(arrives(&mut filter, &packet((2, 998), (1, 80), UDP, 0)));
        assert!(arrives(&mut filter, &packet((2, 999), (1, 443), TCP, SYN)));
        assert!(!arrives(&mut filter, &packet((2, 999), (1, 22), TCP, SYN)));
        filter.set_rules(RuleSet::default());
        filter.judge(|_| Some(PEER), NOW);
        assert!(!arrives(&mut filter, &packet((2, 997), (1, 80), TCP, SYN)));
        assert_eq!(filter.take_hits(), HashMap::from_iter([(7, 2), (8, 1), (9, 1), (0, 1)]));
        assert!(filter.take_hits().is_empty());
    }

    #[test]
    fn fragments_need_their_first() {
        let mut filter = filter(r#"[{"classes":[5]}]"#);
        let mut later = packet((2, 53), (1, 999), UDP, 0);
        later[7] = 8;
        assert!(!arrives(&mut filter, &later));
        let mut first = packet((2, 53), (1, 999), UDP, 0);
        first[6] = 0x20;
        assert!(arrives(&mut filter, &first));
        assert!(arrives(&mut filter, &later));
    }

    #[test]
    fn icmp_errors_pass_for_own_flows_only() {
        let mut filter = filter("[]");
        let sent = packet((1, 999), (2, 53), UDP, 0);
        let mut error =
            vec![0x45, 0, 0, 56, 0, 1, 0, 0, 64, 1, 0, 0, 100, 64, 0, 2, 100, 64, 0, 1, 3, 3, 0, 0, 0, 0, 0, 0];
        error.extend_from_slice(&sent);
        assert!(!arrives(&mut filter, &error));
        assert!(leaves(&mut filter, &sent));
        assert!(arrives(&mut filter, &error));
    }

    #[test]
    fn one_peer_cannot_fill_the_table() {
        let mut filter = filter(r#"[{"classes":[5]}]"#);
        let opened = (1..=10_000).filter(|&port| arrives(&mut filter, &packet((2, port), (1, 53), UDP, 0))).count();
        assert_eq!(opened, 8_192);
        assert_eq!(filter.counters.dropped_full, 10_000 - 8_192);
    }
}

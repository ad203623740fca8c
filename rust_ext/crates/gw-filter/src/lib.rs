//! The inbound packet filter of a node: what peers may send in.
//!
//! Three layers, each usable alone: [`header`] parses an IP packet as far as a filter needs it, [`rule`] answers "may
//! this packet start something?" from the rules and who sent it, [`Filter`] adds what was seen before (flows and
//! fragments), so that replies pass and a changed rule ends what it no longer allows. Nothing here reads a clock: the
//! caller hands in monotonic milliseconds and UTC nanoseconds.
#![deny(unsafe_code)]

mod filter;
mod flow;
mod fragment;
pub mod header;
mod rule;

pub use filter::{Counters, Filter, Now, Reason, Verdict};
pub use flow::{FlowKey, Opened};
pub use header::{Fragment, Headers, Transport};
pub use rule::{Judgement, Question, Rule, RuleSet, Sender};

/// Why rules were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("the filter rules are not what they should be: {0}")]
    Rules(#[from] serde_json::Error),
    #[error("the rule's prefix {0:?} is neither an address nor a network")]
    Prefix(String),
    #[error("the rule's port range {0}-{1} ends before it begins")]
    Ports(u16, u16),
}

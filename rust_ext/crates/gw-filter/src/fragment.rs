//! Fragments pass only behind an accepted first one.
use crate::header::{Fragment, Headers};
use hashbrown::HashMap;
use std::net::IpAddr;

/// How long a first fragment opens the door for the rest of its datagram, in milliseconds.
const LIFETIME: u64 = 15_000;
/// Datagrams in pieces at one time, over all peers; more are refused.
const MAX: usize = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    peer: u32,
    source: IpAddr,
    destination: IpAddr,
    /// The protocol in IPv4; IPv6 tells datagrams apart by addresses and identification alone.
    protocol: u8,
    id: u32,
}

#[derive(Default)]
pub(crate) struct Fragments(HashMap<Key, u64>);

fn key(peer: u32, headers: &Headers, id: u32) -> Key {
    let protocol = if headers.source.is_ipv4() { headers.protocol } else { 0 };
    Key { peer, source: headers.source, destination: headers.destination, protocol, id }
}

impl Fragments {
    /// Note an accepted first fragment. False when too many datagrams are in pieces.
    pub fn note(&mut self, peer: u32, headers: &Headers, now: u64) -> bool {
        let Fragment::First { id } = headers.fragment else { return true };
        if self.0.len() >= MAX {
            self.sweep(now);
            if self.0.len() >= MAX {
                return false;
            }
        }
        self.0.insert(key(peer, headers, id), now.saturating_add(LIFETIME));
        true
    }

    /// Whether a later fragment follows an accepted first one.
    pub fn follows(&self, peer: u32, headers: &Headers, now: u64) -> bool {
        let Fragment::Later { id, .. } = headers.fragment else { return false };
        self.0.get(&key(peer, headers, id)).is_some_and(|&expires| expires > now)
    }

    pub fn sweep(&mut self, now: u64) {
        self.0.retain(|_, expires| *expires > now);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

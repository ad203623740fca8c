//! Flows: who opened what, and for how long it is remembered.
use crate::header::{ACK, FIN, Headers, RST, SYN, TCP, Transport, UDP};
use hashbrown::HashMap;
use std::net::IpAddr;

/// Flows opened by one peer, by all peers, and by this node. More are refused and counted.
const MAX_INBOUND_OF_PEER: usize = 8_192;
const MAX_INBOUND: usize = 65_536;
const MAX_OUTBOUND: usize = 65_536;

const SECOND: u64 = 1_000;
/// RFC 5382: at least 2 h 4 min for established TCP.
const TCP_IDLE: u64 = 7_440 * SECOND;
const TCP_OPENING: u64 = 120 * SECOND;
const TCP_CLOSING: u64 = 60 * SECOND;
/// RFC 4787: at least 2 min for UDP.
const UDP_IDLE: u64 = 180 * SECOND;
const OTHER_IDLE: u64 = 60 * SECOND;

/// One flow, seen from this node. For ICMP echo the asking side's port is the identifier, the other's is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    pub peer: u32,
    pub protocol: u8,
    pub local: IpAddr,
    pub local_port: u16,
    pub remote: IpAddr,
    pub remote_port: u16,
}

/// Who opened a flow. `Cut` remembers one that a changed rule ended, so that its rest does not open it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    Inbound,
    Outbound,
    Cut,
}

pub(crate) struct Flow {
    pub opened: Opened,
    expires: u64,
    /// TCP: bit 0 FIN seen from here, bit 1 FIN seen from there, bit 2 both sides have spoken.
    seen: u8,
}

const BOTH_FINS: u8 = 3;
const ESTABLISHED: u8 = 4;

#[derive(Default)]
pub(crate) struct Flows {
    table: HashMap<FlowKey, Flow>,
    inbound_of: HashMap<u32, usize>,
    inbound: usize,
    outbound: usize,
}

/// The key of the flow that a packet belongs to, if it is of a kind that has flows.
pub(crate) fn key(peer: u32, headers: &Headers, inbound: bool) -> Option<FlowKey> {
    let (source_port, destination_port) = match headers.transport {
        Transport::Ports { source, destination, .. } => (source, destination),
        Transport::Echo { request: true, id } => (id, 0),
        Transport::Echo { request: false, id } => (0, id),
        Transport::Opaque => (0, 0),
        Transport::IcmpError { .. } | Transport::Icmp { .. } => return None,
    };
    let (local, local_port, remote, remote_port) = if inbound {
        (headers.destination, destination_port, headers.source, source_port)
    } else {
        (headers.source, source_port, headers.destination, destination_port)
    };
    Some(FlowKey { peer, protocol: headers.protocol, local, local_port, remote, remote_port })
}

pub(crate) fn flags(headers: &Headers) -> u8 {
    match headers.transport {
        Transport::Ports { flags, .. } => flags,
        _ => 0,
    }
}

/// Whether a packet opens a TCP connection.
pub(crate) fn is_syn(headers: &Headers) -> bool {
    headers.protocol == TCP && flags(headers) & (SYN | ACK | RST | FIN) == SYN
}

impl Flow {
    fn touch(&mut self, protocol: u8, flags: u8, inbound: bool, now: u64) {
        let idle = match protocol {
            TCP => {
                if flags & FIN != 0 {
                    self.seen |= if inbound { 2 } else { 1 };
                }
                if flags & (ACK | SYN) == ACK {
                    self.seen |= ESTABLISHED;
                }
                if flags & RST != 0 || self.seen & BOTH_FINS == BOTH_FINS {
                    TCP_CLOSING
                } else if self.seen & ESTABLISHED == 0 {
                    TCP_OPENING
                } else {
                    TCP_IDLE
                }
            }
            UDP => UDP_IDLE,
            _ => OTHER_IDLE,
        };
        self.expires = now.saturating_add(idle);
    }
}

impl Flows {
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Look a live flow up; an expired one is gone.
    pub fn get(&mut self, key: &FlowKey, now: u64) -> Option<Opened> {
        let flow = self.table.get(key)?;
        if flow.expires <= now {
            self.remove(key);
            return None;
        }
        Some(flow.opened)
    }

    pub fn touch(&mut self, key: &FlowKey, flags: u8, inbound: bool, now: u64) {
        if let Some(flow) = self.table.get_mut(key) {
            flow.touch(key.protocol, flags, inbound, now);
        }
    }

    /// The hot path in one look-up: touch the flow if it lives and was not cut.
    pub fn pass(&mut self, key: &FlowKey, flags: u8, inbound: bool, now: u64) -> bool {
        match self.table.get_mut(key) {
            Some(flow) if flow.opened != Opened::Cut && flow.expires > now => {
                flow.touch(key.protocol, flags, inbound, now);
                true
            }
            _ => false,
        }
    }

    /// Open a flow, in place of whatever had its key. False when there are too many.
    pub fn open(&mut self, key: FlowKey, opened: Opened, flags: u8, now: u64) -> bool {
        self.remove(&key);
        if !self.has_room(&key, opened) {
            self.sweep(now);
            if !self.has_room(&key, opened) {
                return false;
            }
        }
        let mut flow = Flow { opened, expires: 0, seen: 0 };
        flow.touch(key.protocol, flags, opened == Opened::Inbound, now);
        self.count(&key, opened, true);
        self.table.insert(key, flow);
        true
    }

    fn has_room(&self, key: &FlowKey, opened: Opened) -> bool {
        match opened {
            Opened::Inbound => {
                self.inbound < MAX_INBOUND && self.inbound_of.get(&key.peer).is_none_or(|&n| n < MAX_INBOUND_OF_PEER)
            }
            _ => self.outbound < MAX_OUTBOUND,
        }
    }

    /// A cut flow counts as outbound: only this node's own packets keep it.
    fn count(&mut self, key: &FlowKey, opened: Opened, up: bool) {
        let step = |n: &mut usize| *n = if up { *n + 1 } else { n.saturating_sub(1) };
        if opened == Opened::Inbound {
            step(&mut self.inbound);
            step(self.inbound_of.entry(key.peer).or_default());
        } else {
            step(&mut self.outbound);
        }
    }

    fn remove(&mut self, key: &FlowKey) {
        if let Some(flow) = self.table.remove(key) {
            self.count(key, flow.opened, false);
        }
    }

    /// Forget what expired.
    pub fn sweep(&mut self, now: u64) {
        let gone: Vec<FlowKey> = self.table.iter().filter(|(_, f)| f.expires <= now).map(|(k, _)| *k).collect();
        for key in gone {
            self.remove(&key);
        }
    }

    /// Forget every flow of a peer; returns them.
    pub fn forget(&mut self, peer: u32) -> Vec<FlowKey> {
        let gone: Vec<FlowKey> = self.table.keys().filter(|k| k.peer == peer).copied().collect();
        for key in &gone {
            self.remove(key);
        }
        self.inbound_of.remove(&peer);
        gone
    }

    /// Cut every live flow that `keep` refuses; returns those.
    pub fn judge(&mut self, mut keep: impl FnMut(&FlowKey, Opened) -> bool, now: u64) -> Vec<FlowKey> {
        self.sweep(now);
        let cut: Vec<FlowKey> = self
            .table
            .iter()
            .filter(|(key, flow)| flow.opened != Opened::Cut && !keep(key, flow.opened))
            .map(|(key, _)| *key)
            .collect();
        for key in &cut {
            if let Some(was) = self.table.get(key).map(|flow| flow.opened) {
                self.count(key, was, false);
                self.count(key, Opened::Cut, true);
            }
            if let Some(flow) = self.table.get_mut(key) {
                flow.opened = Opened::Cut;
            }
        }
        cut
    }
}

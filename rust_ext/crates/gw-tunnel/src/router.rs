//! The path of a packet between the peers and this node: crypto routing, filter, WireGuard.
use crate::TunnelError;
use crate::allowed::AllowedIps;
use crate::clock::Clock;
use crate::config::{PeerConfig, bytes_from_hex};
use crate::peer::{Arrival, Flow, Identity, MESSAGE_DATA, Peer};
use crate::ping::Pings;
use crate::udp::Udp;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use gw_filter::{Filter, FlowKey, Headers, Now, Verdict, header};
use hashbrown::{HashMap, HashSet};
use serde::Serialize;
use std::collections::VecDeque;
use std::mem::take;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Handshake messages a second before senders must prove their address by a cookie.
const HANDSHAKES_UNDER_LOAD: u64 = 200;
/// WireGuard's REJECT_AFTER_MESSAGES; a counter beyond it is refused before the session sees it.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct RouterCounters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    /// Datagrams that were no WireGuard, or of no peer, or did not authenticate.
    pub dropped_unauthenticated: u64,
    /// Packets whose source is not the sending peer's.
    pub dropped_source: u64,
    /// Packets from here to an address of no peer.
    pub dropped_no_peer: u64,
    pub handshakes: u64,
    /// Packets that third-party code could not digest; the userspace stack was started anew each time.
    pub panics: u64,
}

/// An accepted packet in the plain buffer.
pub struct Accepted {
    pub headers: Headers,
    pub size: usize,
}

pub struct Router {
    pub clock: Clock,
    pub now: Now,
    /// The same moment in microseconds since the start, for the userspace stack.
    pub micros: i64,
    pub udp: Udp,
    pub filter: Filter,
    pub pings: Pings,
    pub counters: RouterCounters,
    pub mtu: usize,
    pub own: Vec<IpAddr>,
    identity: Arc<Identity>,
    /// Guards the door against floods of handshakes.
    limiter: RateLimiter,
    peers: Vec<Option<Peer>>,
    free: VecDeque<u32>,
    by_key: HashMap<[u8; 32], u32>,
    by_id: HashMap<u64, u32>,
    allowed: AllowedIps,
    by_candidate: HashMap<SocketAddr, u32>,
}

/// A peer list that has been checked and can no longer fail.
pub struct CheckedPeers(Vec<(PublicKey, PeerConfig)>);

impl CheckedPeers {
    pub fn parse(json: &[u8]) -> Result<Self, TunnelError> {
        let configs: Vec<PeerConfig> = serde_json::from_slice(json)?;
        let mut ids = HashSet::new();
        let mut keys = HashSet::new();
        let mut checked = Vec::with_capacity(configs.len());
        for config in configs {
            let key = bytes_from_hex(&config.key).ok_or_else(|| {
                TunnelError::invalid(format!("the key of peer {} is not 64 hexadecimal digits", config.id))
            })?;
            if !ids.insert(config.id) || !keys.insert(key) {
                return Err(TunnelError::invalid(format!("peer {} is listed twice, or its key is", config.id)));
            }
            checked.push((PublicKey::from(key), config));
        }
        Ok(Self(checked))
    }
}

impl Router {
    pub fn new(secret: StaticSecret, udp: Udp, mtu: u16) -> Self {
        let identity = Arc::new(Identity::new(secret));
        let clock = Clock::new();
        Self {
            now: clock.now(),
            micros: clock.micros(),
            clock,
            udp,
            filter: Filter::default(),
            pings: Pings::default(),
            counters: RouterCounters::default(),
            mtu: usize::from(mtu),
            own: Vec::new(),
            limiter: RateLimiter::new(&identity.public, HANDSHAKES_UNDER_LOAD),
            identity,
            peers: Vec::new(),
            free: VecDeque::new(),
            by_key: HashMap::new(),
            by_id: HashMap::new(),
            allowed: AllowedIps::new(),
            by_candidate: HashMap::new(),
        }
    }

    /// Look at the clock. Everything until the next look happens at that moment.
    pub fn look(&mut self) {
        self.now = self.clock.now();
        self.micros = self.clock.micros();
    }

    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().flatten()
    }

    fn peer(&mut self, slot: u32) -> Option<&mut Peer> {
        self.peers.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    /// The slot of the peer that an address belongs to.
    pub fn owner_of(&self, address: &IpAddr) -> Option<u32> {
        self.allowed.find(address)
    }

    /// Replace the private key; every session starts over.
    pub fn set_secret(&mut self, secret: StaticSecret) {
        self.identity = Arc::new(Identity::new(secret));
        self.limiter = RateLimiter::new(&self.identity.public, HANDSHAKES_UNDER_LOAD);
        let now = self.now.ms;
        for peer in self.peers.iter_mut().flatten() {
            peer.restart(peer.key, self.identity.clone());
            if peer.config.keepalive > 0 {
                peer.initiate(&mut self.udp, now);
            }
        }
    }

    pub fn set_own(&mut self, addresses: Vec<IpAddr>, owner: u64) -> Vec<FlowKey> {
        self.own.clone_from(&addresses);
        self.filter.set_own(addresses, owner);
        self.judge()
    }

    /// The slots of peers that are not in a new set.
    pub fn doomed(&self, wanted: &CheckedPeers) -> Vec<u32> {
        let keep: HashSet<u64> = wanted.0.iter().map(|(_, config)| config.id).collect();
        self.peers().filter(|peer| !keep.contains(&peer.config.id)).map(|peer| peer.slot).collect()
    }

    /// The slots of peers whose time is over.
    pub fn ended(&self) -> Vec<u32> {
        let utc = self.now.utc;
        self.peers().filter(|p| p.config.until != 0 && p.config.until <= utc).map(|p| p.slot).collect()
    }

    /// Replace the whole set of peers. Unchanged ones keep their sessions, one with a new key starts a new session and
    /// keeps its flows; returns the flows of those that are gone or may no longer do what they did.
    pub fn set_peers(&mut self, wanted: CheckedPeers) -> Vec<FlowKey> {
        let mut cut = Vec::new();
        let gone = self.doomed(&wanted);
        for slot in gone {
            cut.extend(self.remove(slot));
        }
        let utc = self.now.utc;
        for (key, config) in wanted.0 {
            if config.until == 0 || config.until > utc {
                self.upsert(key, config);
            } else if let Some(&slot) = self.by_id.get(&config.id) {
                cut.extend(self.remove(slot));
            }
        }
        self.rebuild_tables();
        cut.extend(self.judge());
        cut
    }

    fn upsert(&mut self, key: PublicKey, config: PeerConfig) {
        let now = self.now.ms;
        if let Some(&slot) = self.by_id.get(&config.id) {
            if let Some(peer) = self.peers[slot as usize].as_mut() {
                if peer.key != key {
                    self.by_key.remove(peer.key.as_bytes());
                    self.by_key.insert(*key.as_bytes(), slot);
                    peer.restart(key, self.identity.clone());
                }
                peer.update(config, &mut self.udp, now);
            }
            return;
        }
        let slot = self.free.pop_front().unwrap_or_else(|| {
            self.peers.push(None);
            u32::try_from(self.peers.len() - 1).unwrap_or(u32::MAX)
        });
        self.by_key.insert(*key.as_bytes(), slot);
        self.by_id.insert(config.id, slot);
        let mut peer = Peer::new(config, key, slot, self.identity.clone());
        if peer.config.keepalive > 0 {
            peer.initiate(&mut self.udp, now);
        }
        self.peers[slot as usize] = Some(peer);
    }

    /// Drop a peer with its handshakes, keys and flows.
    fn remove(&mut self, slot: u32) -> Vec<FlowKey> {
        let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::take) else { return Vec::new() };
        self.by_key.remove(peer.key.as_bytes());
        self.by_id.remove(&peer.config.id);
        self.free.push_back(slot);
        self.filter.forget(slot)
    }

    fn rebuild_tables(&mut self) {
        let mut allowed = AllowedIps::new();
        let mut by_candidate = HashMap::new();
        for peer in self.peers() {
            for &network in &peer.config.allowed_ips {
                allowed.insert(network, peer.slot);
            }
            by_candidate.extend(peer.config.endpoints.iter().map(|&endpoint| (endpoint, peer.slot)));
        }
        self.allowed = allowed;
        self.by_candidate = by_candidate;
    }

    /// Judge all flows again; returns those that were cut.
    pub fn judge(&mut self) -> Vec<FlowKey> {
        let Self { peers, allowed, filter, now, .. } = self;
        let sender = |flow: &FlowKey| {
            let slot = allowed.find(&flow.remote).filter(|&slot| slot == flow.peer)?;
            peers.get(slot as usize)?.as_ref().map(Peer::sender)
        };
        filter.judge(sender, *now)
    }

    /// End what has ended by the clock: peers whose time is over, flows of rules whose time is over.
    pub fn expire(&mut self) -> Vec<FlowKey> {
        let over = self.ended();
        let mut cut = Vec::new();
        if !over.is_empty() {
            for slot in over {
                cut.extend(self.remove(slot));
            }
            self.rebuild_tables();
        }
        cut.extend(self.judge());
        cut
    }

    /// The next moment (UTC nanoseconds) at which [`Router::expire`] has something to do.
    pub fn next_end(&self) -> Option<u64> {
        let utc = self.now.utc;
        let peers = self.peers().map(|peer| peer.config.until).filter(|&until| until > utc).min();
        peers.into_iter().chain(self.filter.next_end(utc)).min()
    }

    /// Send the packet in the first `size` bytes of `buffer` to the peer that its destination belongs to. What follows
    /// in the buffer may be overwritten by padding.
    pub fn send(&mut self, buffer: &mut [u8], size: usize) {
        let Some(headers) = header::parse(&buffer[..size]) else { return };
        let now = self.now;
        let Some(slot) = self.allowed.find(&headers.destination) else {
            self.counters.dropped_no_peer += 1;
            return;
        };
        let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        if !self.filter.outbound(peer.sender(), &headers, now) {
            return;
        }
        self.counters.tx_packets += 1;
        self.counters.tx_bytes += size as u64;
        peer.flow.sent(size);
        let padded = size.next_multiple_of(16).min(self.mtu.max(size)).min(buffer.len());
        buffer[size..padded].fill(0);
        peer.send(&buffer[..padded], &mut self.udp, now.ms);
    }

    /// A datagram from the network; an accepted packet stands in `plain`.
    pub fn receive(&mut self, datagram: &[u8], from: SocketAddr, plain: &mut [u8]) -> Option<Accepted> {
        let now = self.now;
        let arrived = self.addressee(datagram, from).and_then(|slot| {
            let peer = self.peers.get_mut(slot as usize)?.as_mut()?;
            match peer.receive(datagram, from, plain, &mut self.udp, now.ms) {
                Arrival::Refused => None,
                arrival => Some((slot, arrival)),
            }
        });
        let Some((slot, arrival)) = arrived else {
            self.counters.dropped_unauthenticated += 1;
            if datagram.first() == Some(&MESSAGE_DATA) {
                self.renew(from);
            }
            return None;
        };
        if datagram[0] != MESSAGE_DATA {
            self.counters.handshakes += u64::from(datagram[0] < 3);
            return None;
        }
        let Arrival::Packet(size) = arrival else { return None };
        self.accept(slot, &plain[..size])
    }

    /// Somebody uses a session that this node does not have, as after a restart: if a peer may be there, it is offered
    /// a new one instead of leaving it to find out by silence.
    fn renew(&mut self, from: SocketAddr) {
        let now = self.now.ms;
        let Some(&slot) = self.by_candidate.get(&from) else { return };
        if let Some(peer) = self.peers.get_mut(slot as usize).and_then(Option::as_mut) {
            peer.renew(&mut self.udp, now);
        }
    }

    /// The slot of the peer that a datagram claims to be from, after the checks that need no session.
    fn addressee(&mut self, datagram: &[u8], from: SocketAddr) -> Option<u32> {
        let index = match Tunn::parse_incoming_packet(datagram).ok()? {
            Packet::PacketData(_) => {
                let counter = u64::from_le_bytes(datagram.get(8..16)?.try_into().ok()?);
                if counter >= REJECT_AFTER_MESSAGES {
                    return None;
                }
                u32::from_le_bytes(datagram.get(4..8)?.try_into().ok()?)
            }
            Packet::PacketCookieReply(reply) => reply.receiver_idx,
            Packet::HandshakeInit(_) | Packet::HandshakeResponse(_) => {
                let mut cookie = [0; 64];
                match self.limiter.verify_packet(Some(from.ip()), datagram, &mut cookie) {
                    Ok(Packet::HandshakeResponse(response)) => response.receiver_idx,
                    Ok(Packet::HandshakeInit(init)) => {
                        let half = parse_handshake_anon(&self.identity.secret, &self.identity.public, &init).ok()?;
                        return self.by_key.get(&half.peer_static_public).copied();
                    }
                    Err(TunnResult::WriteToNetwork(reply)) => {
                        self.udp.send(from, reply);
                        return None;
                    }
                    _ => return None,
                }
            }
        };
        Some(index >> 8)
    }

    fn accept(&mut self, slot: u32, packet: &[u8]) -> Option<Accepted> {
        let headers = header::parse(packet);
        if headers.is_some_and(|headers| self.allowed.find(&headers.source) != Some(slot)) {
            self.counters.dropped_source += 1;
            return None;
        }
        let sender = self.peers.get(slot as usize)?.as_ref()?.sender();
        if self.filter.inbound(sender, headers.as_ref(), packet, self.now) != Verdict::Pass {
            return None;
        }
        let headers = headers?;
        self.counters.rx_packets += 1;
        self.counters.rx_bytes += headers.length as u64;
        let answered = self.pings.answered(&headers);
        let peer = self.peer(slot)?;
        peer.flow.received(headers.length);
        if answered.is_some() {
            peer.rtt_ms = answered;
            return None;
        }
        Some(Accepted { headers, size: headers.length })
    }

    /// What passed between this node and each peer since the last call, by the peer's id, where anything did.
    pub fn take_flows(&mut self) -> Vec<(u64, Flow)> {
        let taken = self.peers.iter_mut().flatten().map(|peer| (peer.config.id, take(&mut peer.flow)));
        taken.filter(|(_, flow)| *flow != Flow::default()).collect()
    }

    /// To be called a few times a second.
    pub fn tick(&mut self) {
        self.limiter.reset_count();
        let now = self.now;
        for peer in self.peers.iter_mut().flatten() {
            peer.tick(&mut self.udp, now.ms);
        }
    }
}

//! One peer: its WireGuard session, where it may be reached, when to try again.
use crate::config::PeerConfig;
use crate::udp::Udp;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use gw_filter::Sender;
use std::net::SocketAddr;
use std::sync::Arc;

pub const MESSAGE_INITIATION: u8 = 1;
pub const MESSAGE_RESPONSE: u8 = 2;
pub const MESSAGE_DATA: u8 = 4;
/// Size of the largest message that is no data.
pub const HANDSHAKE_SIZE: usize = 148;
/// Bytes that WireGuard adds to a packet.
pub const OVERHEAD: usize = 32;

/// Pauses between the first initiations of an attempt, in milliseconds: a peer that is just starting is met quickly.
/// The last is WireGuard's REKEY_TIMEOUT and repeats.
const RETRY: [u64; 5] = [250, 500, 1_000, 2_000, 5_000];
/// WireGuard's REKEY_ATTEMPT_TIME: without a keepalive, an attempt ends after this long.
const ATTEMPT: u64 = 90_000;
/// An endpoint that was silent for this long (KEEPALIVE_TIMEOUT + REKEY_TIMEOUT) is no longer the only one tried.
const SILENCE: u64 = 15_000;

/// A datagram of an unknown session means something only after this long without one of a known session.
const RENEW_SILENCE: u64 = 2_000;
/// New sessions are offered no more often than this.
const RENEW_PAUSE: u64 = 5_000;

/// What a datagram from a peer turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// A packet of this many bytes stands in the plain buffer.
    Packet(usize),
    /// A handshake message or a keepalive.
    Control,
    /// It did not authenticate.
    Refused,
}

/// What every session of this node is made with.
pub struct Identity {
    pub secret: StaticSecret,
    pub public: PublicKey,
    /// Sessions share one that never limits: the router's own guards the door.
    unlimited: Arc<RateLimiter>,
}

impl Identity {
    pub fn new(secret: StaticSecret) -> Self {
        let public = PublicKey::from(&secret);
        Self { secret, public, unlimited: Arc::new(RateLimiter::new(&public, u64::MAX)) }
    }
}

/// What passed between this node and a peer, without what the tunnel adds to packets.
///
/// A packet counts as sent when the filter has let it out to the peer: also one that waits for a handshake, which is lost
/// where the peer never answers. It goes with the peer: what was not taken before the peer is removed is never told, and
/// nobody would hear it, since a node is believed only about peers that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
}

impl Flow {
    pub fn received(&mut self, size: usize) {
        self.rx_packets += 1;
        self.rx_bytes += size as u64;
    }

    pub fn sent(&mut self, size: usize) {
        self.tx_packets += 1;
        self.tx_bytes += size as u64;
    }
}

pub struct Peer {
    pub config: PeerConfig,
    pub key: PublicKey,
    pub slot: u32,
    identity: Arc<Identity>,
    /// Made when the peer is first spoken to or heard of: it costs a key agreement and some kilobytes, and most peers
    /// of a large network never speak to each other.
    tunn: Option<Box<Tunn>>,
    /// Where the peer's last authenticated packet came from.
    pub endpoint: Option<SocketAddr>,
    last_sent: u64,
    last_received: Option<u64>,
    last_initiation: Option<u64>,
    pub last_handshake: Option<u64>,
    pub handshakes: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// Since it was last taken.
    pub flow: Flow,
    /// Of the last ping or handshake, in milliseconds.
    pub rtt_ms: Option<f64>,
    attempts: usize,
    attempt_began: u64,
    next_try: Option<u64>,
    /// Packets wait inside the session's queue for a handshake.
    queued: bool,
}

impl Peer {
    pub fn new(config: PeerConfig, key: PublicKey, slot: u32, identity: Arc<Identity>) -> Self {
        Self {
            config,
            key,
            slot,
            identity,
            tunn: None,
            endpoint: None,
            last_sent: 0,
            last_received: None,
            last_initiation: None,
            last_handshake: None,
            handshakes: 0,
            rx_bytes: 0,
            tx_bytes: 0,
            flow: Flow::default(),
            rtt_ms: None,
            attempts: 0,
            attempt_began: 0,
            next_try: None,
            queued: false,
        }
    }

    /// Start over, with another key of this node or of the peer.
    pub fn restart(&mut self, key: PublicKey, identity: Arc<Identity>) {
        self.key = key;
        self.identity = identity;
        self.tunn = None;
        self.last_handshake = None;
        self.last_received = None;
        self.last_initiation = None;
        self.attempts = 0;
        self.next_try = None;
        self.queued = false;
    }

    pub fn sender(&self) -> Sender {
        Sender { peer: self.slot, class: self.config.class, owner: self.config.owner }
    }

    fn has_session(&self) -> bool {
        self.tunn.as_ref().is_some_and(|tunn| tunn.time_since_last_handshake().is_some())
    }

    fn tunn(&mut self) -> &mut Tunn {
        let Self { tunn, identity, key, slot, .. } = self;
        tunn.get_or_insert_with(|| {
            let limiter = Some(identity.unlimited.clone());
            Box::new(Tunn::new(identity.secret.clone(), *key, None, None, *slot, limiter))
        })
    }

    /// Encrypt a packet and send it, or queue it behind a handshake.
    pub fn send(&mut self, packet: &[u8], udp: &mut Udp, now: u64) {
        let space = udp.space((packet.len() + OVERHEAD).max(HANDSHAKE_SIZE));
        let (kind, size) = match self.tunn().encapsulate(packet, space) {
            TunnResult::WriteToNetwork(message) => (message[0], message.len()),
            _ => {
                self.queued = true;
                return;
            }
        };
        if kind == MESSAGE_DATA {
            if let Some(endpoint) = self.endpoint {
                self.tx_bytes += size as u64;
                self.last_sent = now;
                udp.commit(endpoint, size);
            }
            return;
        }
        self.queued = true;
        let mut message = [0; HANDSHAKE_SIZE];
        let size = size.min(HANDSHAKE_SIZE);
        message[..size].copy_from_slice(&udp.space(size)[..size]);
        self.send_initiation(&message[..size], !self.is_lively(now), udp, now);
    }

    /// Begin a handshake everywhere, or repeat its first message.
    pub fn initiate(&mut self, udp: &mut Udp, now: u64) {
        let mut buffer = [0; HANDSHAKE_SIZE];
        if let TunnResult::WriteToNetwork(message) = self.tunn().format_handshake_initiation(&mut buffer, true) {
            let size = message.len();
            self.send_initiation(&buffer[..size], true, udp, now);
        }
    }

    /// Offer a new session, unless the present one was heard of lately or the last offer is young.
    pub fn renew(&mut self, udp: &mut Udp, now: u64) {
        let young = |at: Option<u64>, age: u64| at.is_some_and(|at| now.saturating_sub(at) < age);
        if self.next_try.is_none()
            && !young(self.last_received, RENEW_SILENCE)
            && !young(self.last_initiation, RENEW_PAUSE)
        {
            self.initiate(udp, now);
        }
    }

    /// Whether the endpoint works as far as is known, so that others need not be asked.
    fn is_lively(&self, now: u64) -> bool {
        self.endpoint.is_some()
            && self.attempts == 0
            && self.last_received.is_some_and(|at| now.saturating_sub(at) < SILENCE)
    }

    /// One initiation goes to every place where the peer may be: the first that arrives is answered, the others are
    /// replays to the peer, and the answer shows which place works.
    fn send_initiation(&mut self, message: &[u8], everywhere: bool, udp: &mut Udp, now: u64) {
        if let Some(endpoint) = self.endpoint {
            udp.send(endpoint, message);
            self.tx_bytes += message.len() as u64;
        }
        if everywhere {
            for &candidate in self.config.endpoints.iter().filter(|&&c| Some(c) != self.endpoint) {
                udp.send(candidate, message);
                self.tx_bytes += message.len() as u64;
            }
        }
        if self.attempts == 0 {
            self.attempt_began = now;
        }
        let pause = RETRY[self.attempts.min(RETRY.len() - 1)];
        self.attempts += 1;
        // Two that begin at the same moment shall not meet for ever.
        let jitter = u64::from(message.get(8).copied().unwrap_or(0)) * pause / 2_048;
        self.next_try = Some(now + pause + jitter);
        self.last_initiation = Some(now);
        self.last_sent = now;
    }

    fn settle(&mut self) {
        self.attempts = 0;
        self.next_try = None;
    }

    /// A datagram that names this peer. `plain` holds the decrypted packet afterwards.
    pub fn receive(&mut self, datagram: &[u8], from: SocketAddr, plain: &mut [u8], udp: &mut Udp, now: u64) -> Arrival {
        let kind = datagram.first().copied().unwrap_or(0);
        if self.tunn.is_none() && kind != MESSAGE_INITIATION {
            return Arrival::Refused;
        }
        let arrival = match self.tunn().decapsulate(Some(from.ip()), datagram, plain) {
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Arrival::Packet(packet.len())
            }
            TunnResult::WriteToNetwork(message) => {
                let size = message.len();
                udp.send(from, &plain[..size]);
                self.tx_bytes += size as u64;
                self.last_sent = now;
                Arrival::Control
            }
            TunnResult::Done => Arrival::Control,
            TunnResult::Err(_) => return Arrival::Refused,
        };
        self.rx_bytes += datagram.len() as u64;
        // A cookie proves nothing about where the peer is.
        if matches!(kind, MESSAGE_INITIATION | MESSAGE_RESPONSE | MESSAGE_DATA) {
            self.endpoint = Some(from);
            self.last_received = Some(now);
        }
        match kind {
            MESSAGE_INITIATION | MESSAGE_RESPONSE => {
                self.handshakes += 1;
                self.last_handshake = Some(now);
                if kind == MESSAGE_RESPONSE {
                    self.settle();
                    self.note_handshake_rtt();
                }
            }
            MESSAGE_DATA if self.attempts > 0 && self.has_session() => self.settle(),
            _ => {}
        }
        if self.queued && self.has_session() && kind != MESSAGE_INITIATION {
            self.send_queued(udp, now);
        }
        arrival
    }

    fn note_handshake_rtt(&mut self) {
        if let (.., Some(rtt)) = self.tunn().stats() {
            self.rtt_ms = Some(f64::from(rtt));
        }
    }

    fn send_queued(&mut self, udp: &mut Udp, now: u64) {
        self.queued = false;
        loop {
            let space = udp.space(usize::from(u16::MAX));
            let TunnResult::WriteToNetwork(message) = self.tunn().decapsulate(None, &[], space) else { return };
            let size = message.len();
            let Some(endpoint) = self.endpoint else { return };
            self.tx_bytes += size as u64;
            self.last_sent = now;
            udp.commit(endpoint, size);
        }
    }

    /// Take a new description of the same peer with the same key; the session stays.
    pub fn update(&mut self, config: PeerConfig, udp: &mut Udp, now: u64) {
        let fresh = config.endpoints.iter().any(|e| !self.config.endpoints.contains(e));
        let idle = config.keepalive > 0 && !self.has_session();
        let moved = self.endpoint.is_some_and(|endpoint| !config.endpoints.contains(&endpoint));
        let wants = self.next_try.is_some() || idle || moved;
        self.config = config;
        if (fresh && wants) || (idle && self.next_try.is_none()) {
            self.attempts = 0;
            self.initiate(udp, now);
        }
    }

    /// To be called a few times a second: rekeys, retries, keepalives.
    pub fn tick(&mut self, udp: &mut Udp, now: u64) {
        let mut buffer = [0; HANDSHAKE_SIZE];
        let due = match self.tunn.as_mut().map(|tunn| tunn.update_timers(&mut buffer)) {
            Some(TunnResult::WriteToNetwork(message)) => Some((message[0], message.len())),
            _ => None,
        };
        match due {
            Some((MESSAGE_INITIATION, size)) => {
                self.send_initiation(&buffer[..size], !self.is_lively(now), udp, now);
            }
            Some((_, size)) => {
                if let Some(endpoint) = self.endpoint {
                    udp.send(endpoint, &buffer[..size]);
                    self.tx_bytes += size as u64;
                    self.last_sent = now;
                }
            }
            None => {}
        }
        if self.next_try.is_some_and(|at| at <= now) {
            if now.saturating_sub(self.attempt_began) < ATTEMPT || self.config.keepalive > 0 {
                self.initiate(udp, now);
            } else {
                self.settle();
                self.queued = false;
            }
        }
        let pause = u64::from(self.config.keepalive) * 1_000;
        if pause > 0 && self.next_try.is_none() && now.saturating_sub(self.last_sent) >= pause {
            self.send(&[], udp, now);
        }
    }
}

//! The engine's thread: one event loop over UDP, proxies or device, and calls from outside.
use crate::TunnelError;
use crate::device::Device;
use crate::proxy::Proxies;
use crate::router::{CheckedPeers, Router};
use crate::side::Side;
use crate::udp::{Family, MAX_DATAGRAM, RECEIVE_BATCH};
use gw_filter::{FlowKey, RuleSet};
use mio::{Events, Poll, Token, Waker};
use quinn_udp::RecvMeta;
use std::io::IoSliceMut;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const WAKER: Token = Token(0);
const UDP_V4: Token = Token(1);
const UDP_V6: Token = Token(2);
/// The first of the tokens that this node's side uses.
pub const FIRST_TOKEN: usize = 3;

/// Timers are looked at this often, in milliseconds.
const TICK: u64 = 100;
/// Flows are swept this often, in milliseconds.
const SWEEP: u64 = 5_000;
/// Rounds of work before the event queue is looked at again.
const ROUNDS: usize = 8;

pub type Job = Box<dyn FnOnce(&mut Engine) + Send>;

/// A way into the engine's thread.
#[derive(Clone)]
pub struct Remote {
    jobs: mpsc::Sender<Job>,
    waker: Arc<Waker>,
}

impl Remote {
    /// Run something there, some time soon. Whether it could be handed over.
    pub fn run(&self, job: impl FnOnce(&mut Engine) + Send + 'static) -> bool {
        self.jobs.send(Box::new(job)).is_ok() && self.waker.wake().is_ok()
    }

    /// Run something there and wait for its result.
    pub fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, TunnelError> {
        let (answer, result) = mpsc::channel();
        self.run(move |engine| {
            // The caller waits below.
            let _waits = answer.send(job(engine));
        });
        result.recv().map_err(|_| TunnelError::Closed)
    }
}

pub struct Engine {
    pub router: Router,
    pub side: Side,
    poll: Poll,
    jobs: mpsc::Receiver<Job>,
    running: bool,
    readable: [bool; 2],
    next_tick: u64,
    next_sweep: u64,
    next_end: Option<u64>,
    received: Vec<u8>,
    metas: [RecvMeta; RECEIVE_BATCH],
    plain: Vec<u8>,
}

impl Engine {
    /// An engine and the way into it. It does nothing until [`Engine::run`].
    pub fn new(mut router: Router, device: Option<Device>) -> Result<(Self, Remote), TunnelError> {
        let failed = || "cannot start the event loop";
        let poll = Poll::new().map_err(TunnelError::io(failed()))?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(TunnelError::io(failed()))?);
        router.udp.register(poll.registry(), UDP_V4, UDP_V6).map_err(TunnelError::io(failed()))?;
        let registry = poll.registry().try_clone().map_err(TunnelError::io(failed()))?;
        let (sender, jobs) = mpsc::channel();
        let remote = Remote { jobs: sender, waker };
        let side = match device {
            Some(device) => {
                device.register(&registry, Token(FIRST_TOKEN)).map_err(TunnelError::io(failed()))?;
                Side::Device(Box::new(device))
            }
            None => Side::Userspace(Box::new(Proxies::new(&mut router, registry, remote.clone())?)),
        };
        let engine = Self {
            router,
            side,
            poll,
            jobs,
            running: true,
            readable: [true; 2],
            next_tick: 0,
            next_sweep: 0,
            next_end: None,
            received: vec![0; MAX_DATAGRAM * RECEIVE_BATCH],
            metas: [RecvMeta::default(); RECEIVE_BATCH],
            plain: vec![0; MAX_DATAGRAM + 64],
        };
        Ok((engine, remote))
    }

    pub fn stop(&mut self) {
        self.running = false;
    }

    /// The event loop; returns after [`Engine::stop`].
    pub fn run(mut self) {
        let mut events = Events::with_capacity(256);
        let mut more = true;
        while self.running {
            let wait = if more { Some(Duration::ZERO) } else { self.wait() };
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return,
                _ => {}
            }
            // Third-party code sees what peers send: should a packet make it panic, the node goes on without it.
            more = catch_unwind(AssertUnwindSafe(|| self.turn(&events))).unwrap_or_else(|_| {
                self.router.counters.panics += 1;
                self.side.reset(&mut self.router);
                true
            });
        }
    }

    /// Everything that the events ask for, and some rounds of work. True when there is more to do.
    fn turn(&mut self, events: &Events) -> bool {
        self.router.look();
        for event in events {
            match event.token() {
                UDP_V4 => self.readable[0] = true,
                UDP_V6 => self.readable[1] = true,
                token => self.side.event(event, token, &mut self.router),
            }
        }
        while let Ok(job) = self.jobs.try_recv() {
            job(self);
        }
        self.time();
        (0..ROUNDS).all(|_| {
            self.router.look();
            let arrived = self.drain(Family::V4) | self.drain(Family::V6);
            self.side.work(&mut self.router) || arrived
        })
    }

    /// How long nothing will happen by itself.
    fn wait(&mut self) -> Option<Duration> {
        let now = self.router.clock.now();
        let mut until = self.next_tick;
        if let Some(deadline) = self.router.pings.next_deadline() {
            until = until.min(deadline);
        }
        let mut wait = Duration::from_millis(until.saturating_sub(now.ms));
        if let Some(end) = self.next_end {
            wait = wait.min(Duration::from_nanos(end.saturating_sub(now.utc)));
        }
        if let Some(delay) = self.side.delay(&self.router) {
            wait = wait.min(delay);
        }
        Some(wait)
    }

    fn time(&mut self) {
        let now = self.router.now;
        self.router.pings.expire(now.ms);
        self.send_pings();
        if self.next_end.is_some_and(|end| end <= now.utc) {
            self.expire();
        }
        if now.ms >= self.next_tick {
            self.next_tick = now.ms + TICK;
            self.router.tick();
            self.side.tick(&mut self.router);
            self.router.udp.flush();
        }
        if now.ms >= self.next_sweep {
            self.next_sweep = now.ms + SWEEP;
            self.router.filter.sweep(now);
        }
    }

    /// Receive one batch from a socket. True when there was one.
    fn drain(&mut self, family: Family) -> bool {
        let flag = usize::from(family == Family::V6);
        if !self.readable[flag] {
            return false;
        }
        let Self { router, side, received, metas, plain, .. } = self;
        let mut chunks = received.chunks_exact_mut(MAX_DATAGRAM);
        let mut buffers: [IoSliceMut<'_>; RECEIVE_BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let Ok(count) = router.udp.receive(family, &mut buffers, metas) else {
            // Nothing there; or an error of a single datagram, after which the next event comes anew.
            self.readable[flag] = false;
            return false;
        };
        for (buffer, meta) in received.chunks_exact(MAX_DATAGRAM).zip(&metas[..count]) {
            for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                router.udp.counters.rx_packets += 1;
                router.udp.counters.rx_bytes += datagram.len() as u64;
                if let Some(accepted) = router.receive(datagram, meta.addr, plain) {
                    side.ingest(router, &plain[..accepted.size], &accepted.headers);
                }
            }
        }
        router.udp.flush();
        true
    }

    fn cut(&mut self, flows: &[FlowKey]) {
        self.side.cut(flows, &self.router);
        self.next_end = self.router.next_end();
    }

    pub fn set_peers(&mut self, peers: CheckedPeers) {
        let doomed = self.router.doomed(&peers);
        self.side.abandon(&doomed, &mut self.router);
        let cut = self.router.set_peers(peers);
        self.cut(&cut);
    }

    pub fn set_rules(&mut self, rules: RuleSet) {
        self.router.filter.set_rules(rules);
        let cut = self.router.judge();
        self.cut(&cut);
    }

    pub fn set_addresses(&mut self, addresses: Vec<IpAddr>, owner: u64) -> Result<(), TunnelError> {
        self.side.set_addresses(&addresses)?;
        let cut = self.router.set_own(addresses, owner);
        self.cut(&cut);
        Ok(())
    }

    pub fn tick(&mut self, utc: u64) {
        self.router.clock.tick(utc);
        self.router.look();
        self.expire();
    }

    /// End what has ended by the clock.
    fn expire(&mut self) {
        let ended = self.router.ended();
        self.side.abandon(&ended, &mut self.router);
        let cut = self.router.expire();
        self.cut(&cut);
    }

    pub fn admit(&mut self, session: usize, serial: u64, admitted: bool) {
        if let Side::Userspace(proxies) = &mut self.side {
            proxies.admit(session, serial, admitted, &mut self.router);
        }
    }

    /// Send an echo request; the answer goes to `answer`.
    pub fn ping(&mut self, address: IpAddr, timeout_ms: u64, size: u16, answer: mpsc::Sender<Option<f64>>) {
        let router = &mut self.router;
        if router.own.contains(&address) {
            // This node itself; the caller waits.
            let _waits = answer.send(Some(0.0));
            return;
        }
        let source = router.own.iter().copied().find(|own| own.is_ipv4() == address.is_ipv4());
        let (Some(source), Some(_)) = (source, router.owner_of(&address)) else {
            let _waits = answer.send(None);
            return;
        };
        let deadline = router.now.ms.saturating_add(timeout_ms);
        router.pings.begin((source, address), size, deadline, answer);
        self.send_pings();
    }

    fn send_pings(&mut self) {
        let router = &mut self.router;
        while let Some(mut packet) = router.pings.due(router.now.ms) {
            let length = packet.len();
            packet.resize(length.next_multiple_of(16), 0);
            router.send(&mut packet, length);
        }
        router.udp.flush();
    }
}

//! Proxies of a tunnel without a device: SOCKS5, forwards, exposed ports, over the userspace stack.
mod arrivals;
mod callers;

use crate::TunnelError;
use crate::engine::{FIRST_TOKEN, Remote};
use crate::local::{Listener, Local, LocalAddress, uid_of};
use crate::router::Router;
use crate::session::{Ends, Session, Stage};
use crate::socks::Credentials;
use crate::stack::{Handle, Stack};
use callers::{DYNAMIC_PORTS, canonical};
use gw_filter::FlowKey;
use gw_filter::header::TCP;
use hashbrown::{HashMap, HashSet};
use mio::{Interest, Registry, Token};
use serde::Serialize;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;
use std::time::Duration;

/// How long a client may take to say what it wants, in milliseconds.
const GREETING_TIMEOUT: u64 = 30_000;
/// Proxied connections at one time; more are refused and counted.
const MAX_SESSIONS: usize = 4_096;

/// Packets a socket may send before others have their turn.
const EGRESS_BUDGET: usize = 128;
/// Microseconds after which a socket that always wants to be looked at is.
const SOON: i64 = 1_000;

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct ProxyCounters {
    pub opened: u64,
    /// Callers that are neither this agent's user nor hold the password.
    pub refused_callers: u64,
    /// Requests for what is no peer's.
    pub refused_targets: u64,
    pub refused_full: u64,
    pub failed: u64,
}

enum Purpose {
    Socks(Option<Credentials>),
    Forward(String, u16),
}

struct Door {
    listener: Listener,
    purpose: Purpose,
    /// Serves whoever comes.
    open: bool,
}

/// A question to the thread that finds out who connected.
struct Question {
    session: usize,
    serial: u64,
    ends: crate::local::Ends,
}

pub struct Proxies {
    pub stack: Stack,
    pub counters: ProxyCounters,
    doors: Slab<Door>,
    sessions: Slab<Session>,
    by_ends: HashMap<Ends, usize>,
    dirty: Vec<usize>,
    /// When sessions want to be looked at; an entry that is not its session's `wake` is void.
    wakes: BinaryHeap<Reverse<(i64, usize)>>,
    exposed: HashMap<u16, LocalAddress>,
    names: HashMap<String, Vec<IpAddr>>,
    ports: HashSet<u16>,
    next_port: u16,
    serial: u64,
    uid: u32,
    registry: Registry,
    questions: mpsc::Sender<Question>,
    buffer: Vec<u8>,
}

/// Tokens of doors are even, those of sessions odd, counted from the first of this side.
fn door_token(index: usize) -> Token {
    Token(FIRST_TOKEN + index * 2)
}

fn session_token(index: usize) -> Token {
    Token(FIRST_TOKEN + index * 2 + 1)
}

fn spawn_gate(remote: Remote, uid: u32) -> Result<mpsc::Sender<Question>, TunnelError> {
    let (questions, asked) = mpsc::channel::<Question>();
    std::thread::Builder::new()
        .name("gw-tunnel-gate".into())
        .spawn(move || {
            for question in asked {
                let admitted = uid_of(question.ends) == Some(uid);
                remote.run(move |engine| engine.admit(question.session, question.serial, admitted));
            }
        })
        .map_err(TunnelError::io("cannot start a thread"))?;
    Ok(questions)
}

impl Proxies {
    pub fn new(router: &mut Router, registry: Registry, remote: Remote) -> Result<Self, TunnelError> {
        let uid = rustix::process::getuid().as_raw();
        let first = u16::try_from(router.clock.now().utc / 1_000 % 16_384).unwrap_or(0);
        Ok(Self {
            stack: Stack::new(router),
            counters: ProxyCounters::default(),
            doors: Slab::new(),
            sessions: Slab::new(),
            by_ends: HashMap::new(),
            dirty: Vec::new(),
            wakes: BinaryHeap::new(),
            exposed: HashMap::new(),
            names: HashMap::new(),
            ports: HashSet::new(),
            next_port: DYNAMIC_PORTS.start() + first,
            serial: 0,
            uid,
            registry,
            questions: spawn_gate(remote, uid)?,
            buffer: vec![0; 4_096],
        })
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub fn set_names(&mut self, names: Vec<(String, Vec<IpAddr>)>) {
        self.names = names.into_iter().map(|(name, addresses)| (canonical(&name), addresses)).collect();
    }

    pub fn socks5(
        &mut self,
        address: &str,
        open: bool,
        credentials: Option<Credentials>,
    ) -> Result<String, TunnelError> {
        if credentials.as_ref().is_some_and(|c| !c.contains(':')) {
            return Err(TunnelError::invalid("the proxy's credentials are USER:PASSWORD"));
        }
        self.add_door(address, Purpose::Socks(credentials), open)
    }

    pub fn forward(&mut self, local: &str, peer: &str, port: u16, open: bool) -> Result<String, TunnelError> {
        self.add_door(local, Purpose::Forward(peer.to_owned(), port), open)
    }

    pub fn expose(&mut self, port: u16, local: &str) -> Result<(), TunnelError> {
        let local = LocalAddress::parse(local)?;
        if let Some(taken) = self.exposed.get(&port) {
            return Err(TunnelError::invalid(format!("port {port} is already exposed as {taken}")));
        }
        self.exposed.insert(port, local);
        Ok(())
    }

    fn add_door(&mut self, address: &str, purpose: Purpose, open: bool) -> Result<String, TunnelError> {
        let address = LocalAddress::parse(address)?;
        if !open && !address.is_private() {
            return Err(TunnelError::invalid(format!(
                "{address} is reachable from elsewhere: a proxy binds loopback or a Unix socket unless it is declared open"
            )));
        }
        let failed = || format!("cannot listen on {address}");
        let mut listener = Listener::bind(&address).map_err(TunnelError::io(failed()))?;
        let bound = listener.address().map_err(TunnelError::io(failed()))?;
        let entry = self.doors.vacant_entry();
        self.registry
            .register(listener.source(), door_token(entry.key()), Interest::READABLE)
            .map_err(TunnelError::io(failed()))?;
        entry.insert(Door { listener, purpose, open });
        Ok(bound.to_string())
    }

    /// An event of the token `place` after the first.
    pub fn event(&mut self, event: &mio::event::Event, place: usize, router: &mut Router) {
        if place.is_multiple_of(2) {
            self.accept(place / 2, router);
        } else if let Some(session) = self.sessions.get_mut(place / 2) {
            session.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            session.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
            self.dirty.push(place / 2);
        }
    }

    fn add(&mut self, mut local: Local, stage: Stage, now: u64) -> Option<usize> {
        if self.sessions.len() >= MAX_SESSIONS {
            self.counters.refused_full += 1;
            return None;
        }
        let entry = self.sessions.vacant_entry();
        if local.register(&self.registry, session_token(entry.key())).is_err() {
            self.counters.failed += 1;
            return None;
        }
        self.serial += 1;
        let key = entry.key();
        entry.insert(Session::new(self.serial, local, stage, now));
        Some(key)
    }

    fn attach(&mut self, place: usize, handle: Handle, ends: Ends) {
        let session = &mut self.sessions[place];
        session.handle = Some(handle);
        session.ends = Some(ends);
        self.by_ends.insert(ends, place);
    }

    /// Everything that can be done without waiting. True when there is more to do.
    pub fn work(&mut self, router: &mut Router) -> bool {
        while let Some(&Reverse((at, place))) = self.wakes.peek() {
            if at > router.micros {
                break;
            }
            self.wakes.pop();
            if let Some(session) = self.sessions.get_mut(place).filter(|session| session.wake == Some(at)) {
                session.wake = None;
                self.dirty.push(place);
            }
        }
        let mut places = std::mem::take(&mut self.dirty);
        places.sort_unstable();
        places.dedup();
        for place in places {
            self.advance(place, router);
            self.speak(place, router);
        }
        router.udp.flush();
        !self.dirty.is_empty()
    }

    /// Let a session's socket send what it has, and note when it wants to be looked at again.
    fn speak(&mut self, place: usize, router: &mut Router) {
        let Some(session) = self.sessions.get_mut(place) else { return };
        let Some(handle) = session.handle else { return };
        if (0..EGRESS_BUDGET).all(|_| self.stack.egress(router, handle)) {
            self.dirty.push(place);
            return;
        }
        let Some(at) = self.stack.deadline(router.micros, handle) else { return };
        // It has just been looked at: at once means soon.
        let at = at.max(router.micros.saturating_add(SOON));
        if session.wake.is_none_or(|wake| at < wake) {
            session.wake = Some(at);
            self.wakes.push(Reverse((at, place)));
        }
    }

    /// How long nothing will happen by itself.
    pub fn delay(&self, router: &Router) -> Option<Duration> {
        let &Reverse((at, _)) = self.wakes.peek()?;
        Some(Duration::from_micros(u64::try_from(at - router.clock.micros()).unwrap_or(0)))
    }

    fn advance(&mut self, place: usize, router: &mut Router) {
        let Some(session) = self.sessions.get_mut(place) else { return };
        match &session.stage {
            Stage::Vetting => {}
            Stage::Greeting(_) => self.greet(place, router),
            Stage::Dialing { .. } => self.check_dial(place, router.now.ms),
            Stage::Answering => {
                let connected = session.local.as_ref().and_then(Local::connected);
                match connected {
                    Some(true) => {
                        self.counters.opened += 1;
                        session.stage = Stage::Open;
                        session.writable = true;
                        session.readable = true;
                        session.pump(&mut self.stack);
                    }
                    Some(false) => {
                        self.counters.failed += 1;
                        session.abort(&mut self.stack);
                    }
                    None => {}
                }
            }
            Stage::Open => session.pump(&mut self.stack),
            Stage::Closing { .. } => {}
        }
    }

    /// Forget a session that has no socket in the stack.
    fn drop_session(&mut self, place: usize, reset: bool) {
        if let Some(session) = self.sessions.try_remove(place) {
            if let (Some(local), true) = (&session.local, reset) {
                local.reset();
            }
            self.release(&session);
        }
    }

    fn release(&mut self, session: &Session) {
        if let Some(handle) = session.handle {
            self.stack.remove(handle);
        }
        if let Some(ends) = session.ends {
            self.by_ends.remove(&ends);
            if session.listener.is_some() {
                self.ports.remove(&ends.local.port());
            }
        }
    }

    /// Reset the connections with peers that are about to go, so that both ends learn of it.
    pub fn abandon(&mut self, doomed: &[u32], router: &mut Router) {
        for (_, session) in &mut self.sessions {
            let Some(ends) = session.ends else { continue };
            let slot = router.owner_of(&ends.remote.ip());
            if slot.is_some_and(|slot| doomed.contains(&slot)) && !matches!(session.stage, Stage::Closing { .. }) {
                session.abort(&mut self.stack);
                // The reset.
                if let Some(handle) = session.handle {
                    self.stack.egress(router, handle);
                }
            }
        }
        router.udp.flush();
    }

    /// Drop every connection and start with a fresh stack.
    pub fn reset(&mut self, router: &mut Router) {
        for session in self.sessions.drain() {
            if let Some(local) = &session.local {
                local.reset();
            }
        }
        self.by_ends.clear();
        self.ports.clear();
        self.dirty.clear();
        self.wakes.clear();
        self.stack = Stack::new(router);
        // They were accepted before.
        let _accepted = self.stack.set_addresses(&router.own);
    }

    /// End the connections of flows that may no longer be, and those to addresses that are no peer's any more.
    pub fn cut(&mut self, flows: &[FlowKey], router: &Router) {
        let cut: HashSet<Ends> = flows
            .iter()
            .filter(|key| key.protocol == TCP)
            .map(|key| Ends {
                local: SocketAddr::new(key.local, key.local_port),
                remote: SocketAddr::new(key.remote, key.remote_port),
            })
            .collect();
        for (place, session) in &mut self.sessions {
            let Some(ends) = session.ends else { continue };
            let homeless = router.owner_of(&ends.remote.ip()).is_none() || !router.own.contains(&ends.local.ip());
            if (homeless || cut.contains(&ends)) && !matches!(session.stage, Stage::Closing { .. }) {
                session.abort(&mut self.stack);
                self.dirty.push(place);
            }
        }
    }

    /// To be called a few times a second: deadlines, and sessions that are over.
    pub fn tick(&mut self, router: &mut Router) {
        let now = router.now.ms;
        let mut over = Vec::new();
        for (place, session) in &mut self.sessions {
            let dawdles = matches!(session.stage, Stage::Vetting | Stage::Greeting(_));
            if session.is_over(&mut self.stack, now) || (dawdles && now > session.born.saturating_add(GREETING_TIMEOUT))
            {
                over.push(place);
            } else if !matches!(session.stage, Stage::Open) {
                self.dirty.push(place);
            }
        }
        for place in over {
            self.drop_session(place, false);
        }
    }
}

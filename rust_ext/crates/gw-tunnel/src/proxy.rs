//! Proxies of a tunnel without a device: SOCKS5, forwards, exposed ports, over the userspace stack.
use crate::TunnelError;
use crate::engine::{FIRST_TOKEN, Remote};
use crate::local::{Caller, Listener, Local, LocalAddress, uid_of};
use crate::router::Router;
use crate::session::{Ends, Session, Stage};
use crate::socks::{self, Credentials, Reply, Step, Target};
use crate::stack::Stack;
use gw_filter::header::{ACK, FIN, RST, SYN, TCP};
use gw_filter::{FlowKey, Headers, Transport};
use hashbrown::{HashMap, HashSet};
use mio::{Interest, Registry, Token};
use serde::Serialize;
use slab::Slab;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;

/// How long a connection over the tunnel may take to open, in milliseconds.
const DIAL_TIMEOUT: u64 = 5_000;
/// How long a client may take to say what it wants, in milliseconds.
const GREETING_TIMEOUT: u64 = 30_000;
/// Proxied connections at one time; more are refused and counted.
const MAX_SESSIONS: usize = 4_096;
/// RFC 6335's dynamic ports.
const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

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

    fn accept(&mut self, index: usize, router: &mut Router) {
        loop {
            let Some(door) = self.doors.get(index) else { return };
            let (local, caller) = match door.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // One that was gone before it was accepted; when descriptors run out, the next event tries again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(_) => {
                    self.counters.failed += 1;
                    return;
                }
            };
            let vouched = door.open || matches!(door.purpose, Purpose::Socks(Some(_)));
            let known = match caller {
                Caller::Uid(uid) => Some(uid == self.uid),
                Caller::Unknown(_) => None,
            };
            if !vouched && known == Some(false) {
                self.counters.refused_callers += 1;
                continue;
            }
            let Some(place) = self.add(local, Stage::Vetting, router.now.ms) else { continue };
            self.sessions[place].listener = Some(index);
            match caller {
                Caller::Unknown(ends) if !vouched => {
                    let serial = self.sessions[place].serial;
                    // The thread lives as long as this sender.
                    let _alive = self.questions.send(Question { session: place, serial, ends });
                }
                _ => self.begin(place, router),
            }
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

    /// The answer to who connected.
    pub fn admit(&mut self, place: usize, serial: u64, admitted: bool, router: &mut Router) {
        match self.sessions.get_mut(place) {
            Some(session) if session.serial == serial => {}
            _ => return,
        }
        if admitted {
            self.begin(place, router);
        } else {
            self.counters.refused_callers += 1;
            self.drop_session(place, true);
        }
    }

    /// The caller may use the proxy.
    fn begin(&mut self, place: usize, router: &mut Router) {
        let door = self.sessions[place].listener.and_then(|index| self.doors.get(index));
        match door.map(|door| &door.purpose) {
            Some(Purpose::Forward(peer, port)) => {
                let target = Target::Name(peer.clone(), *port);
                if self.dial(place, &target, false, Vec::new(), router).is_err() {
                    self.drop_session(place, true);
                }
            }
            Some(Purpose::Socks(_)) => self.sessions[place].stage = Stage::Greeting(socks::Server::new()),
            None => self.drop_session(place, true),
        }
        self.dirty.push(place);
    }

    /// Addresses of a peer that a name or literal stands for; nothing else is ever dialled.
    fn resolve(&self, target: &Target, router: &Router) -> Result<(SocketAddr, u32), Reply> {
        let (addresses, port) = match target {
            Target::Address(address) => (vec![address.ip().to_canonical()], address.port()),
            Target::Name(name, port) => match name.parse::<IpAddr>() {
                Ok(address) => (vec![address], *port),
                Err(_) => (self.names.get(&canonical(name)).cloned().ok_or(Reply::HostUnreachable)?, *port),
            },
        };
        addresses
            .into_iter()
            .filter(|address| router.own.iter().any(|own| own.is_ipv4() == address.is_ipv4()))
            .find_map(|address| Some((SocketAddr::new(address, port), router.owner_of(&address)?)))
            .ok_or(Reply::NotAllowed)
    }

    fn dial(
        &mut self,
        place: usize,
        target: &Target,
        answer: bool,
        early: Vec<u8>,
        router: &mut Router,
    ) -> Result<(), Reply> {
        let resolved = self.resolve(target, router);
        if resolved.is_err() {
            self.counters.refused_targets += 1;
        }
        let (remote, _) = resolved?;
        let source = router.own.iter().copied().find(|own| own.is_ipv4() == remote.is_ipv4());
        let source = source.ok_or(Reply::HostUnreachable)?;
        let local = SocketAddr::new(source, self.take_port().ok_or(Reply::HostUnreachable)?);
        let Some(handle) = self.stack.connect(local, remote) else {
            self.ports.remove(&local.port());
            return Err(Reply::HostUnreachable);
        };
        self.attach(place, handle, Ends { local, remote });
        self.sessions[place].stage = Stage::Dialing { answer, early, deadline: router.now.ms + DIAL_TIMEOUT };
        Ok(())
    }

    fn take_port(&mut self) -> Option<u16> {
        for _ in DYNAMIC_PORTS {
            let port = self.next_port;
            self.next_port = if port == *DYNAMIC_PORTS.end() { *DYNAMIC_PORTS.start() } else { port + 1 };
            if !self.exposed.contains_key(&port) && self.ports.insert(port) {
                return Some(port);
            }
        }
        None
    }

    fn attach(&mut self, place: usize, handle: SocketHandle, ends: Ends) {
        let session = &mut self.sessions[place];
        session.handle = Some(handle);
        session.ends = Some(ends);
        self.by_ends.insert(ends, place);
    }

    /// A packet that passed the filter.
    pub fn ingest(&mut self, router: &mut Router, packet: &[u8], headers: &Headers) {
        let Transport::Ports { source, destination, flags } = headers.transport else {
            self.stack.ingest(router, packet);
            return;
        };
        if headers.protocol != TCP {
            self.stack.ingest(router, packet);
            return;
        }
        let ends = Ends {
            local: SocketAddr::new(headers.destination, destination),
            remote: SocketAddr::new(headers.source, source),
        };
        if let Some(&place) = self.by_ends.get(&ends) {
            self.stack.ingest(router, packet);
            let session = &mut self.sessions[place];
            // A reset before the handshake's end would make the socket listen for somebody else.
            if session.handle.is_some_and(|handle| self.stack.socket(handle).state() == State::Listen) {
                session.abort(&mut self.stack);
            }
            if self.dirty.last() != Some(&place) {
                self.dirty.push(place);
            }
            return;
        }
        let opens = flags & (SYN | ACK | RST | FIN) == SYN;
        let target = self.exposed.get(&destination).filter(|_| opens && router.own.contains(&headers.destination));
        let target = target.cloned();
        let listening = target.and_then(|target| Some((self.stack.listen(ends.local)?, target)));
        self.stack.ingest(router, packet);
        if let Some((handle, target)) = listening {
            self.answer(handle, ends, &target, router.now.ms);
        }
    }

    /// Somebody connected to an exposed port.
    fn answer(&mut self, handle: SocketHandle, ends: Ends, target: &LocalAddress, now: u64) {
        if self.stack.socket(handle).state() != State::SynReceived {
            self.stack.remove(handle);
            return;
        }
        let place = match Local::dial(target) {
            Ok(local) => self.add(local, Stage::Answering, now),
            Err(_) => None,
        };
        let Some(place) = place else {
            self.counters.failed += 1;
            self.refuse(handle);
            return;
        };
        self.sessions[place].writable = false;
        self.attach(place, handle, ends);
        self.dirty.push(place);
    }

    /// Reset a connection for which there is no session; the socket goes at the next sweep.
    fn refuse(&mut self, handle: SocketHandle) {
        self.stack.socket(handle).abort();
        self.serial += 1;
        let mut session = Session::over(self.serial);
        session.handle = Some(handle);
        self.sessions.insert(session);
    }

    /// Everything that can be done without waiting. True when there is more to do.
    pub fn work(&mut self, router: &mut Router) -> bool {
        let mut places = std::mem::take(&mut self.dirty);
        places.sort_unstable();
        places.dedup();
        for place in places.drain(..) {
            self.advance(place, router);
        }
        let mut sent = 0;
        while sent < EGRESS_BUDGET && self.stack.egress(router) {
            sent += 1;
        }
        router.udp.flush();
        sent == EGRESS_BUDGET || !self.dirty.is_empty()
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

    fn greet(&mut self, place: usize, router: &mut Router) {
        loop {
            let session = &mut self.sessions[place];
            let Stage::Greeting(server) = &mut session.stage else { return };
            let door = session.listener.and_then(|index| self.doors.get(index));
            let credentials = match door.map(|door| &door.purpose) {
                Some(Purpose::Socks(credentials)) => credentials.as_ref(),
                _ => None,
            };
            let over = match server.step(credentials) {
                Step::Wait => match session.read_local(&mut self.buffer) {
                    Ok(Some(size @ 1..)) => {
                        if let Stage::Greeting(server) = &mut session.stage {
                            server.feed(&self.buffer[..size]);
                        }
                        false
                    }
                    Ok(None) => return,
                    _ => true,
                },
                Step::Say(bytes) => !session.say(&bytes),
                Step::End(bytes) => {
                    session.say(&bytes);
                    true
                }
                Step::Garbage => true,
                Step::Connect(target) => {
                    let early = match std::mem::replace(&mut session.stage, Stage::Vetting) {
                        Stage::Greeting(server) => server.rest(),
                        _ => Vec::new(),
                    };
                    match self.dial(place, &target, true, early, router) {
                        Ok(()) => return,
                        Err(code) => {
                            self.sessions[place].say(&socks::reply(code));
                            true
                        }
                    }
                }
            };
            if over {
                self.drop_session(place, false);
                return;
            }
        }
    }

    fn check_dial(&mut self, place: usize, now: u64) {
        let session = &mut self.sessions[place];
        let (Stage::Dialing { answer, early, deadline }, Some(handle)) = (&mut session.stage, session.handle) else {
            return;
        };
        let socket = self.stack.socket(handle);
        let code = match socket.state() {
            State::SynSent | State::SynReceived if *deadline > now => return,
            State::SynSent | State::SynReceived => Reply::HostUnreachable,
            State::Closed => Reply::Refused,
            _ => Reply::Succeeded,
        };
        let (answer, early) = (*answer, std::mem::take(early));
        let said = !answer || session.say(&socks::reply(code));
        if code == Reply::Succeeded && said {
            // What was said early is shorter than the empty send buffer.
            let _fits = self.stack.socket(handle).send_slice(&early);
            self.counters.opened += 1;
            session.stage = Stage::Open;
            session.readable = true;
            session.pump(&mut self.stack);
        } else {
            self.counters.failed += 1;
            // An answered client gets an orderly end, so that it reads the answer.
            if answer && said {
                session.local = None;
            }
            session.abort(&mut self.stack);
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
            }
        }
        // Each socket says one thing: those that were aborted, their reset.
        self.stack.egress(router);
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
        for (_, session) in &mut self.sessions {
            let Some(ends) = session.ends else { continue };
            let homeless = router.owner_of(&ends.remote.ip()).is_none() || !router.own.contains(&ends.local.ip());
            if (homeless || cut.contains(&ends)) && !matches!(session.stage, Stage::Closing { .. }) {
                session.abort(&mut self.stack);
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
            } else {
                self.dirty.push(place);
            }
        }
        for place in over {
            self.drop_session(place, false);
        }
    }
}

/// Packets a socket may send before the engine looks at what has arrived.
const EGRESS_BUDGET: usize = 128;

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

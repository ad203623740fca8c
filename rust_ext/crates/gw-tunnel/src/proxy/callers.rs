//! Connections that begin on this machine: who calls, what they want, and dialling it over the tunnel.
use super::{Proxies, Purpose, Question};
use crate::local::Caller;
use crate::router::Router;
use crate::session::{Ends, Stage};
use crate::socks::{self, Reply, Step, Target};
use smoltcp::socket::tcp::State;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// How long a connection over the tunnel may take to open, in milliseconds.
const DIAL_TIMEOUT: u64 = 5_000;
/// RFC 6335's dynamic ports.
pub(super) const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

impl Proxies {
    pub(super) fn accept(&mut self, index: usize, router: &mut Router) {
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

    pub(super) fn greet(&mut self, place: usize, router: &mut Router) {
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

    pub(super) fn check_dial(&mut self, place: usize, now: u64) {
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
}

/// Names are compared without case and without the root's dot.
pub(super) fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

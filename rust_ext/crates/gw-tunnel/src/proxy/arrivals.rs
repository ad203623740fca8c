//! Packets that arrive over the tunnel, and the connections to exposed ports that begin with them.
use super::{MAX_SESSIONS, Proxies};
use crate::local::{Local, LocalAddress};
use crate::router::Router;
use crate::session::{Ends, Session, Stage};
use crate::stack::Handle;
use gw_filter::header::{ACK, FIN, RST, SYN, TCP};
use gw_filter::{Headers, Transport};
use smoltcp::socket::tcp::State;
use std::net::SocketAddr;

impl Proxies {
    /// A packet that passed the filter.
    pub fn ingest(&mut self, router: &mut Router, packet: &[u8], headers: &Headers) {
        let Transport::Ports { source, destination, flags } = headers.transport else {
            self.stack.ingest(router, packet, None);
            return;
        };
        if headers.protocol != TCP {
            self.stack.ingest(router, packet, None);
            return;
        }
        let ends = Ends {
            local: SocketAddr::new(headers.destination, destination),
            remote: SocketAddr::new(headers.source, source),
        };
        if let Some(&place) = self.by_ends.get(&ends) {
            let session = &mut self.sessions[place];
            self.stack.ingest(router, packet, session.handle);
            // A reset before the handshake's end would make the socket listen for somebody else.
            if session.handle.is_some_and(|handle| self.stack.socket(handle).state() == State::Listen) {
                session.abort(&mut self.stack);
            }
            if self.dirty.last() != Some(&place) {
                self.dirty.push(place);
            }
            return;
        }
        let opens = flags & (SYN | ACK | RST | FIN) == SYN && router.own.contains(&headers.destination);
        let target = self.exposed.get(&destination).filter(|_| opens).cloned();
        let full = target.is_some() && self.sessions.len() >= MAX_SESSIONS;
        self.counters.refused_full += u64::from(full);
        let listening = target.filter(|_| !full).and_then(|target| Some((self.stack.listen(ends.local)?, target)));
        self.stack.ingest(router, packet, listening.as_ref().map(|(handle, _)| *handle));
        if let Some((handle, target)) = listening {
            self.answer(handle, ends, &target, router.now.ms);
        }
    }

    /// Somebody connected to an exposed port.
    fn answer(&mut self, handle: Handle, ends: Ends, target: &LocalAddress, now: u64) {
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
    fn refuse(&mut self, handle: Handle) {
        self.stack.socket(handle).abort();
        self.serial += 1;
        let mut session = Session::over(self.serial);
        session.handle = Some(handle);
        let place = self.sessions.insert(session);
        self.dirty.push(place);
    }
}

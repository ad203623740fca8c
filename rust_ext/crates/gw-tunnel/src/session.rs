//! One proxied connection: a local socket, a socket of the userspace stack, and bytes between them.
use crate::local::Local;
use crate::socks;
use crate::stack::{Handle, Stack};
use smoltcp::socket::tcp::State;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

/// A finished socket stays this long, so that its last words leave.
const LAST_WORDS: u64 = 250;
const TIME_WAIT: u64 = 1_000;

pub enum Stage {
    /// Who connected is being found out.
    Vetting,
    Greeting(socks::Server),
    /// A connection over the tunnel is being opened, until the deadline.
    Dialing {
        answer: bool,
        early: Vec<u8>,
        deadline: u64,
    },
    /// A connection came in over the tunnel; the local one is being opened.
    Answering,
    Open,
    /// The local side is gone, the stack's socket is ending.
    Closing {
        since: Option<u64>,
    },
}

/// The ends of a connection as the stack knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

pub struct Session {
    /// Tells apart sessions that had the same place in the table.
    pub serial: u64,
    /// When it was accepted, in monotonic milliseconds.
    pub born: u64,
    /// The listener that it came through; none for one that came over the tunnel.
    pub listener: Option<usize>,
    pub local: Option<Local>,
    pub handle: Option<Handle>,
    pub ends: Option<Ends>,
    pub stage: Stage,
    /// When the stack's socket wants to be looked at, in microseconds since the start.
    pub wake: Option<i64>,
    pub readable: bool,
    pub writable: bool,
    /// The local side has said all it will say.
    said_all: bool,
    /// The local side was told that the remote has said all.
    heard_all: bool,
}

impl Session {
    pub fn new(serial: u64, local: Local, stage: Stage, born: u64) -> Self {
        Self {
            serial,
            born,
            listener: None,
            local: Some(local),
            handle: None,
            ends: None,
            stage,
            wake: None,
            readable: true,
            writable: true,
            said_all: false,
            heard_all: false,
        }
    }

    /// The rest of a connection that was refused before it had a local side.
    pub fn over(serial: u64) -> Self {
        Self {
            serial,
            born: 0,
            listener: None,
            local: None,
            handle: None,
            ends: None,
            stage: Stage::Closing { since: None },
            wake: None,
            readable: false,
            writable: false,
            said_all: true,
            heard_all: true,
        }
    }

    /// Read what the local side says before the tunnel is involved.
    pub fn read_local(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(mut local) = self.local.as_ref() else { return Err(io::ErrorKind::NotConnected.into()) };
        match local.read(buffer) {
            Ok(size) => Ok(Some(size)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Say something short to the local side, which has just connected: it fits the socket's buffer.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        self.local.as_ref().is_some_and(|mut local| matches!(local.write(bytes), Ok(size) if size == bytes.len()))
    }

    /// Move bytes both ways until one side blocks.
    pub fn pump(&mut self, stack: &mut Stack) {
        let (Some(handle), Some(local)) = (self.handle, self.local.as_ref()) else { return };
        let socket = stack.socket(handle);
        let mut broken = false;
        while self.writable && socket.can_recv() {
            let result = socket.recv(|data| match (&mut &*local).write(data) {
                Ok(0) => (0, Err(io::ErrorKind::WriteZero.into())),
                Ok(size) => (size, Ok(())),
                Err(error) => (0, Err(error)),
            });
            match result {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                _ => {
                    broken = true;
                    break;
                }
            }
        }
        while !broken && !self.said_all && self.readable && socket.can_send() {
            let result = socket.send(|space| match (&mut &*local).read(space) {
                Ok(size) => (size, Ok(size)),
                Err(error) => (0, Err(error)),
            });
            match result {
                Ok(Ok(0)) => {
                    self.said_all = true;
                    socket.close();
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                _ => broken = true,
            }
        }
        if broken {
            self.abort(stack);
        } else {
            self.notice_end(stack);
        }
    }

    fn notice_end(&mut self, stack: &mut Stack) {
        let (Some(handle), Some(local)) = (self.handle, self.local.as_ref()) else { return };
        let socket = stack.socket(handle);
        let remote_silent = !socket.may_recv() && !matches!(socket.state(), State::SynSent | State::SynReceived);
        if remote_silent && !self.heard_all {
            // Anything but the remote's FIN that ends reception is a reset.
            if socket.state() == State::Closed && !self.said_all {
                local.reset();
                self.close();
                return;
            }
            self.heard_all = true;
            local.finish();
        }
        if self.heard_all && (self.said_all || socket.state() == State::Closed) {
            self.close();
        }
    }

    fn close(&mut self) {
        self.local = None;
        self.stage = Stage::Closing { since: None };
    }

    /// End at once, both ways, as a reset.
    pub fn abort(&mut self, stack: &mut Stack) {
        if let Some(local) = &self.local {
            local.reset();
        }
        if let Some(handle) = self.handle {
            stack.socket(handle).abort();
        }
        self.close();
    }

    /// Whether nothing is left to do and the session can be forgotten.
    pub fn is_over(&mut self, stack: &mut Stack, now: u64) -> bool {
        let Stage::Closing { since } = &mut self.stage else { return false };
        let Some(handle) = self.handle else { return true };
        let pause = match stack.socket(handle).state() {
            State::Closed => LAST_WORDS,
            State::TimeWait => TIME_WAIT,
            _ => {
                // The remote may still be talking to nobody: what it says is taken and thrown away.
                while let Ok(1..) = stack.socket(handle).recv(|data| (data.len(), data.len())) {}
                return false;
            }
        };
        now >= since.get_or_insert(now).saturating_add(pause)
    }
}

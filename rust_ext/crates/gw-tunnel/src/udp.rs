//! The UDP sockets, and the batches that leave through them.
use crate::TunnelError;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Kernel buffers: one round trip of a fast path. Without privileges the kernel grants what it will.
const SOCKET_BUFFER: usize = 8 << 20;
/// A datagram, or what the kernel coalesces into one buffer.
pub const MAX_DATAGRAM: usize = 65_536;
/// Buffers filled by one system call.
pub const RECEIVE_BATCH: usize = 8;
/// The kernel refuses more bytes than an IP packet holds in one batch.
const MAX_BATCH: usize = 65_000;
/// How many ports beyond the one asked for are tried.
const PORT_TRIES: u16 = 100;
/// How long a full socket may hold up the engine before the batch is dropped, as a network would.
const FULL_SOCKET_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

struct Bound {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
}

/// Which socket an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct UdpCounters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
}

/// Both sockets and the batch being filled: datagrams of one size to one destination leave in one system call.
pub struct Udp {
    v4: Bound,
    v6: Option<Bound>,
    pub port: u16,
    pub counters: UdpCounters,
    batch: Vec<u8>,
    used: usize,
    segment: usize,
    segments: usize,
    /// A shorter datagram ends a batch.
    ended: bool,
    destination: SocketAddr,
}

fn open(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    enlarge(&socket);
    let socket = mio::net::UdpSocket::from_std(socket.into());
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    Ok(Bound { socket, state })
}

/// Root may exceed the system's limit; everybody else gets as much as the limit. Smaller buffers only cost speed.
fn enlarge(socket: &Socket) {
    use rustix::net::sockopt;
    let _forced = sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER));
    let _granted = sockopt::set_socket_send_buffer_size(socket, SOCKET_BUFFER);
}

impl Udp {
    /// Bind `port` or, when it is taken, the next free one; 0 is any.
    pub fn bind(port: u16) -> Result<Self, TunnelError> {
        let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
        for step in 0..PORT_TRIES {
            let wanted = if port == 0 { 0 } else { port.saturating_add(step) };
            match Self::bind_pair(wanted) {
                Ok(udp) => return Ok(udp),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => failure = error,
                Err(error) => return Err(TunnelError::io(format!("cannot bind UDP port {wanted}"))(error)),
            }
        }
        Err(TunnelError::io(format!("no UDP port is free from {port} on"))(failure))
    }

    fn bind_pair(port: u16) -> io::Result<Self> {
        let v4 = open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        let port = v4.socket.local_addr()?.port();
        let v6 = match open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Ok(bound) => Some(bound),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // A machine without IPv6.
            Err(_) => None,
        };
        Ok(Self {
            v4,
            v6,
            port,
            counters: UdpCounters::default(),
            batch: vec![0; MAX_BATCH + MAX_DATAGRAM],
            used: 0,
            segment: 0,
            segments: 0,
            ended: false,
            destination: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        })
    }

    pub fn register(&mut self, registry: &mio::Registry, v4: mio::Token, v6: mio::Token) -> io::Result<()> {
        registry.register(&mut self.v4.socket, v4, mio::Interest::READABLE)?;
        if let Some(bound) = &mut self.v6 {
            registry.register(&mut bound.socket, v6, mio::Interest::READABLE)?;
        }
        Ok(())
    }

    /// Fill `buffers` with what has arrived; the number of buffers filled.
    pub fn receive(
        &mut self,
        family: Family,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        let bound = match family {
            Family::V4 => &self.v4,
            Family::V6 => self.v6.as_ref().ok_or(io::ErrorKind::WouldBlock)?,
        };
        bound.state.recv(UdpSockRef::from(&bound.socket), buffers, metas)
    }

    /// Room to write the next datagram of at most `need` bytes into; [`Udp::commit`] sends it.
    pub fn space(&mut self, need: usize) -> &mut [u8] {
        if self.used + need > MAX_BATCH {
            self.flush();
        }
        &mut self.batch[self.used..]
    }

    /// The first `size` bytes of the last [`Udp::space`] are a datagram for `destination`.
    pub fn commit(&mut self, destination: SocketAddr, size: usize) {
        let joins = self.used > 0 && !self.ended && destination == self.destination && size <= self.segment;
        if self.used > 0 && !joins {
            let at = self.used;
            self.flush();
            self.batch.copy_within(at..at + size, 0);
        }
        if self.used == 0 {
            self.destination = destination;
            self.segment = size;
            self.segments = 0;
            self.ended = false;
        }
        self.used += size;
        self.segments += 1;
        self.ended = size < self.segment;
        if self.segments >= self.max_segments() {
            self.flush();
        }
    }

    /// Send one datagram that stands elsewhere.
    pub fn send(&mut self, destination: SocketAddr, datagram: &[u8]) {
        self.space(datagram.len())[..datagram.len()].copy_from_slice(datagram);
        self.commit(destination, datagram.len());
    }

    fn bound(&self, destination: SocketAddr) -> Option<&Bound> {
        if destination.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() }
    }

    fn max_segments(&self) -> usize {
        self.bound(self.destination).map_or(1, |bound| bound.state.max_gso_segments())
    }

    /// Send the batch. What the kernel refuses is lost, as it would be on the way.
    pub fn flush(&mut self) {
        if self.used == 0 {
            return;
        }
        let (used, segment) = (self.used, self.segment);
        self.used = 0;
        let contents = &self.batch[..used];
        let sent = match self.bound(self.destination) {
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
            Some(bound) => transmit(bound, self.destination, contents, segment).or_else(|error| {
                if used <= segment {
                    return Err(error);
                }
                // Some devices and tunnels refuse batches: one by one, then.
                contents.chunks(segment).try_for_each(|one| transmit(bound, self.destination, one, segment))
            }),
        };
        let counters = &mut self.counters;
        match sent {
            Ok(()) => {
                counters.tx_packets += self.segments as u64;
                counters.tx_bytes += used as u64;
            }
            Err(_) => counters.tx_errors += 1,
        }
    }
}

fn transmit(bound: &Bound, destination: SocketAddr, contents: &[u8], segment: usize) -> io::Result<()> {
    let segment_size = (contents.len() > segment).then_some(segment);
    let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
    match bound.state.try_send(UdpSockRef::from(&bound.socket), &transmit) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            poll(&mut [PollFd::new(&bound.socket, PollFlags::OUT)], Some(&FULL_SOCKET_WAIT))?;
            bound.state.try_send(UdpSockRef::from(&bound.socket), &transmit)
        }
        result => result,
    }
}

//! The userspace TCP/IP stack: smoltcp between the router and the proxied connections.
use crate::TunnelError;
use crate::router::Router;
use crate::sent::Sent;
use slab::Slab;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint, Ipv4Address, Ipv6Address};
use std::net::{IpAddr, SocketAddr};

/// Each way, for each connection: 1 Gbit/s at 8 ms, 100 Mbit/s at 80 ms. Pages are touched as they are used.
const WINDOW: usize = 1 << 20;
/// The stack's clock runs this much faster than time. smoltcp waits at least the second of RFC 6298 (2.4) before it sends
/// again what was lost; so it is a fifth of one, as in the kernels that the connections come from.
const HASTE: i64 = 5;
/// A connection whose data nobody acknowledges for this long is dead.
const DEAD: Duration = stack_time(120_000);
/// An idle connection is probed this often.
const PROBE: Duration = stack_time(75_000);
/// An acknowledgement waits this long for data to travel with.
const ACK_DELAY: Duration = stack_time(10);
/// Room behind a packet for WireGuard's padding.
const PADDING: usize = 16;
/// smoltcp is built for this many addresses (feature `iface-max-addr-count-8`).
const MAX_ADDRESSES: usize = 8;

/// So many milliseconds by the stack's clock.
const fn stack_time(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds * HASTE.unsigned_abs())
}

/// When it is so many microseconds after the start, by the stack's clock.
fn stack_instant(micros: i64) -> Instant {
    Instant::from_micros(micros.saturating_mul(HASTE))
}

/// The interface and its sockets. Each socket has a set of its own, so that what a packet costs does not grow with the
/// number of connections: smoltcp asks every socket of a set.
pub struct Stack {
    interface: Interface,
    sockets: Slab<Alone>,
    none: SocketSet<'static>,
    /// Where a packet is written before it is encrypted, with room for padding.
    scratch: Vec<u8>,
    mtu: usize,
}

/// A socket of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle(usize);

struct Alone {
    set: SocketSet<'static>,
    handle: SocketHandle,
    sent: Sent,
}

impl Alone {
    fn halves(&mut self) -> (&mut SocketSet<'static>, Option<&mut Sent>) {
        (&mut self.set, Some(&mut self.sent))
    }
}

/// smoltcp's device for the length of one call: at most one packet in, any number out.
struct Port<'a> {
    router: &'a mut Router,
    scratch: &'a mut [u8],
    arrived: Option<&'a [u8]>,
    /// Of the connection that it is for, if it is for one.
    sent: Option<&'a mut Sent>,
    mtu: usize,
}

struct Arrived<'a>(&'a [u8]);

struct Leaving<'a>(&'a mut Router, &'a mut [u8], Option<&'a mut Sent>);

impl phy::RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, size: usize, f: F) -> R {
        let result = f(&mut self.1[..size]);
        if let Some(sent) = self.2 {
            sent.note(&mut self.1[..size]);
        }
        self.0.send(self.1, size);
        result
    }
}

impl Device for Port<'_> {
    type RxToken<'t>
        = Arrived<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Leaving<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Leaving<'_>)> {
        let packet = self.arrived.take()?;
        Some((Arrived(packet), Leaving(self.router, self.scratch, self.sent.as_deref_mut())))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(self.router, self.scratch, self.sent.as_deref_mut()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    // What arrives was authenticated by WireGuard, byte for byte; what leaves needs its checksums.
    capabilities.checksum.ipv4 = Checksum::Tx;
    capabilities.checksum.tcp = Checksum::Tx;
    capabilities.checksum.udp = Checksum::Tx;
    capabilities.checksum.icmpv4 = Checksum::Tx;
    capabilities.checksum.icmpv6 = Checksum::Tx;
    capabilities
}

fn endpoint(address: SocketAddr) -> IpEndpoint {
    IpEndpoint { addr: address.ip().into(), port: address.port() }
}

impl Stack {
    pub fn new(router: &mut Router) -> Self {
        let mtu = router.mtu;
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed();
        // smoltcp stays within the MTU.
        let mut scratch = vec![0; mtu + PADDING];
        let mut port = Port { router, scratch: &mut scratch, arrived: None, sent: None, mtu };
        let interface = Interface::new(config, &mut port, Instant::ZERO);
        Self { interface, sockets: Slab::new(), none: SocketSet::new(Vec::new()), scratch, mtu }
    }

    pub fn set_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), TunnelError> {
        if addresses.len() > MAX_ADDRESSES {
            return Err(TunnelError::invalid(format!("more than {MAX_ADDRESSES} addresses")));
        }
        self.interface.update_ip_addrs(|list| {
            list.clear();
            for address in addresses {
                let length = if address.is_ipv4() { 32 } else { 128 };
                // Within capacity, as checked above.
                let _fits = list.push(IpCidr::new((*address).into(), length));
            }
        });
        // There are no gateways in a tunnel; the router finds the peer by the destination.
        let routes = self.interface.routes_mut();
        let _v4 = routes.add_default_ipv4_route(Ipv4Address::new(0, 0, 0, 1));
        let _v6 = routes.add_default_ipv6_route(Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
        Ok(())
    }

    /// Hand an accepted packet to the stack: to the socket that it is for, or to answer that there is none.
    pub fn ingest(&mut self, router: &mut Router, packet: &[u8], handle: Option<Handle>) {
        let now = stack_instant(router.micros);
        let (set, sent) = match handle {
            Some(Handle(at)) => self.sockets[at].halves(),
            None => (&mut self.none, None),
        };
        let mut port = Port { router, scratch: &mut self.scratch, arrived: Some(packet), sent, mtu: self.mtu };
        self.interface.poll_ingress_single(now, &mut port, set);
    }

    /// Let a socket send at most one packet; false when it had none.
    pub fn egress(&mut self, router: &mut Router, Handle(at): Handle) -> bool {
        let now = stack_instant(router.micros);
        let (set, sent) = self.sockets[at].halves();
        let mut port = Port { router, scratch: &mut self.scratch, arrived: None, sent, mtu: self.mtu };
        self.interface.poll_egress(now, &mut port, set) == PollResult::SocketStateChanged
    }

    /// When a socket wants to be looked at without anything happening to it, in microseconds since the start.
    pub fn deadline(&mut self, now: i64, Handle(at): Handle) -> Option<i64> {
        let at = self.interface.poll_at(stack_instant(now), &self.sockets[at].set)?;
        // Never a moment too early: it would be looked at in vain.
        Some(at.total_micros().saturating_add(HASTE - 1) / HASTE)
    }

    fn add(&mut self) -> Handle {
        let buffer = || tcp::SocketBuffer::new(vec![0; WINDOW]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_timeout(Some(DEAD));
        socket.set_keep_alive(Some(PROBE));
        socket.set_ack_delay(Some(ACK_DELAY));
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Handle(self.sockets.insert(Alone { set, handle, sent: Sent::default() }))
    }

    /// A socket that waits for the SYN that is about to be ingested.
    pub fn listen(&mut self, local: SocketAddr) -> Option<Handle> {
        let handle = self.add();
        let listen = IpListenEndpoint { addr: Some(IpAddress::from(local.ip())), port: local.port() };
        if self.socket(handle).listen(listen).is_err() {
            self.remove(handle);
            return None;
        }
        Some(handle)
    }

    pub fn connect(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<Handle> {
        let handle = self.add();
        let Self { interface, sockets, .. } = self;
        let alone = &mut sockets[handle.0];
        let socket = alone.set.get_mut::<tcp::Socket<'_>>(alone.handle);
        if socket.connect(interface.context(), endpoint(remote), endpoint(local)).is_err() {
            self.remove(handle);
            return None;
        }
        Some(handle)
    }

    pub fn socket(&mut self, Handle(at): Handle) -> &mut tcp::Socket<'static> {
        let alone = &mut self.sockets[at];
        alone.set.get_mut(alone.handle)
    }

    pub fn remove(&mut self, Handle(at): Handle) {
        self.sockets.remove(at);
    }
}

/// smoltcp draws initial sequence numbers from this.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

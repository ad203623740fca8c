//! The TUN device: packets between the router and the system's own network stack.
use crate::TunnelError;
use crate::router::Router;
use hashbrown::HashSet;
use ipnet::IpNet;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use route_manager::{Route, RouteManager};
use serde::Serialize;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use tun_rs::{DeviceBuilder, GROTable, IDEAL_BATCH_SIZE, SyncDevice, VIRTIO_NET_HDR_LEN};

/// What the kernel hands over at once when it leaves segmentation to us.
const MAX_READ: usize = VIRTIO_NET_HDR_LEN + 65_535;
/// Reads before the engine looks at what has arrived from the network.
const READS: usize = 8;
/// Room for padding behind a packet.
const PADDING: usize = 16;

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct DeviceCounters {
    pub rx_errors: u64,
    pub tx_errors: u64,
    /// Routes that the system refused, for instance because another device has them.
    pub route_errors: u64,
}

pub struct Device {
    device: SyncDevice,
    index: u32,
    pub counters: DeviceCounters,
    readable: bool,
    read: Vec<u8>,
    split: Vec<Vec<u8>>,
    sizes: Vec<usize>,
    arrived: Vec<Vec<u8>>,
    waiting: usize,
    table: GROTable,
    addresses: HashSet<IpAddr>,
    routes: HashSet<IpNet>,
    manager: RouteManager,
}

impl Device {
    /// Create the device and bring it up. It vanishes when this is dropped.
    pub fn create(name: &str, mtu: u16) -> Result<Self, TunnelError> {
        let failed = || format!("cannot create the TUN device {name}");
        let device =
            DeviceBuilder::new().name(name).mtu(mtu).offload(true).build_sync().map_err(TunnelError::io(failed()))?;
        device.set_nonblocking(true).map_err(TunnelError::io(failed()))?;
        let index = device.if_index().map_err(TunnelError::io(failed()))?;
        let manager = RouteManager::new().map_err(TunnelError::io(failed()))?;
        Ok(Self {
            device,
            index,
            counters: DeviceCounters::default(),
            readable: true,
            read: vec![0; MAX_READ],
            split: vec![vec![0; usize::from(mtu) + PADDING]; IDEAL_BATCH_SIZE],
            sizes: vec![0; IDEAL_BATCH_SIZE],
            // Packets that belong together are appended to the first of them as far as it has capacity.
            arrived: (0..IDEAL_BATCH_SIZE).map(|_| Vec::with_capacity(MAX_READ)).collect(),
            waiting: 0,
            table: GROTable::new(),
            addresses: HashSet::new(),
            routes: HashSet::new(),
            manager,
        })
    }

    pub fn name(&self) -> Result<String, TunnelError> {
        self.device.name().map_err(TunnelError::io("cannot read the device's name"))
    }

    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.device.as_raw_fd()), token, Interest::READABLE)
    }

    pub fn set_readable(&mut self) {
        self.readable = true;
    }

    pub fn set_addresses(&mut self, wanted: &[IpAddr]) -> Result<(), TunnelError> {
        let wanted: HashSet<IpAddr> = wanted.iter().copied().collect();
        let failed = |address: &IpAddr| TunnelError::io(format!("cannot change the address {address} of the device"));
        for address in self.addresses.difference(&wanted) {
            self.device.remove_address(*address).map_err(failed(address))?;
        }
        for address in wanted.difference(&self.addresses) {
            match address {
                IpAddr::V4(v4) => self.device.add_address_v4(*v4, 32u8),
                IpAddr::V6(v6) => self.device.add_address_v6(*v6, 128u8),
            }
            .map_err(failed(address))?;
        }
        self.addresses = wanted;
        Ok(())
    }

    /// Route what belongs to peers into the device. Default routes are left to whoever decides about exit nodes: they
    /// would swallow the tunnel's own datagrams.
    pub fn set_routes(&mut self, wanted: impl Iterator<Item = IpNet>) {
        let wanted: HashSet<IpNet> = wanted.map(|net| net.trunc()).filter(|net| net.prefix_len() > 0).collect();
        let index = self.index;
        let route = |net: &IpNet| Route::new(net.addr(), net.prefix_len()).with_if_index(index);
        for net in self.routes.difference(&wanted) {
            // The system drops routes by itself when an address goes.
            let _gone_already = self.manager.delete(&route(net));
        }
        for net in wanted.difference(&self.routes) {
            self.counters.route_errors += u64::from(self.manager.add(&route(net)).is_err());
        }
        self.routes = wanted;
    }

    /// Queue an accepted packet for the system.
    pub fn ingest(&mut self, packet: &[u8]) {
        let buffer = &mut self.arrived[self.waiting];
        buffer.clear();
        buffer.resize(VIRTIO_NET_HDR_LEN, 0);
        buffer.extend_from_slice(packet);
        self.waiting += 1;
        if self.waiting == self.arrived.len() {
            self.flush();
        }
    }

    /// Hand queued packets to the system, coalesced where they belong together.
    fn flush(&mut self) {
        if self.waiting == 0 {
            return;
        }
        let batch = &mut self.arrived[..self.waiting];
        self.waiting = 0;
        if self.device.send_multiple(&mut self.table, batch, VIRTIO_NET_HDR_LEN).is_err() {
            self.counters.tx_errors += 1;
        }
    }

    /// Move packets both ways without waiting. True when there is more to do.
    pub fn work(&mut self, router: &mut Router) -> bool {
        self.flush();
        let mut reads = 0;
        while self.readable && reads < READS {
            reads += 1;
            match self.device.recv_multiple(&mut self.read, &mut self.split, &mut self.sizes, 0) {
                Ok(count) => {
                    for (buffer, &size) in self.split.iter_mut().zip(&self.sizes[..count]) {
                        router.send(buffer, size);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                // A packet that makes no sense is lost alone; when the system refuses, as for a device that somebody
                // deleted, it says when to read again.
                Err(error) => {
                    self.counters.rx_errors += 1;
                    self.readable = error.raw_os_error().is_none();
                }
            }
        }
        router.udp.flush();
        self.readable
    }
}

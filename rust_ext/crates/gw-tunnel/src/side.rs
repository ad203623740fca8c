//! This node's side of the tunnel: the system's stack behind a device, or a stack in userspace behind proxies.
use crate::TunnelError;
use crate::device::Device;
use crate::engine::FIRST_TOKEN;
use crate::proxy::Proxies;
use crate::router::Router;
use gw_filter::{FlowKey, Headers};
use mio::Token;
use mio::event::Event;
use std::net::IpAddr;
use std::time::Duration;

pub enum Side {
    Device(Box<Device>),
    Userspace(Box<Proxies>),
}

impl Side {
    /// The proxies, which only a tunnel without a device has.
    pub fn proxies(&mut self) -> Result<&mut Proxies, TunnelError> {
        match self {
            Self::Userspace(proxies) => Ok(proxies),
            Self::Device(_) => Err(TunnelError::invalid(
                "with a TUN device the system itself reaches the peers: proxies are for userspace mode",
            )),
        }
    }

    pub fn set_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), TunnelError> {
        match self {
            Self::Device(device) => device.set_addresses(addresses),
            Self::Userspace(proxies) => proxies.stack.set_addresses(addresses),
        }
    }

    /// A packet that passed the filter.
    pub fn ingest(&mut self, router: &mut Router, packet: &[u8], headers: &Headers) {
        match self {
            Self::Device(device) => device.ingest(packet),
            Self::Userspace(proxies) => proxies.ingest(router, packet, headers),
        }
    }

    /// An event of one of this side's tokens; a device has only one.
    pub fn event(&mut self, event: &Event, token: Token, router: &mut Router) {
        match (self, token.0.checked_sub(FIRST_TOKEN)) {
            (Self::Device(device), Some(_)) => device.set_readable(),
            (Self::Userspace(proxies), Some(place)) => proxies.event(event, place, router),
            // The waker's: there is a job.
            (_, None) => {}
        }
    }

    /// Everything that can be done without waiting. True when there is more to do.
    pub fn work(&mut self, router: &mut Router) -> bool {
        match self {
            Self::Device(device) => device.work(router),
            Self::Userspace(proxies) => proxies.work(router),
        }
    }

    /// Peers are about to be removed: what can still be said to them is said now.
    pub fn abandon(&mut self, doomed: &[u32], router: &mut Router) {
        if let (Self::Userspace(proxies), false) = (self, doomed.is_empty()) {
            proxies.abandon(doomed, router);
        }
    }

    /// Start over after a packet that something could not digest.
    pub fn reset(&mut self, router: &mut Router) {
        if let Self::Userspace(proxies) = self {
            proxies.reset(router);
        }
    }

    /// Follow a change of peers, filter or addresses.
    pub fn cut(&mut self, flows: &[FlowKey], router: &Router) {
        match self {
            Self::Device(device) => {
                device.set_routes(router.peers().flat_map(|peer| peer.config.allowed_ips.iter().copied()));
            }
            Self::Userspace(proxies) => proxies.cut(flows, router),
        }
    }

    /// To be called a few times a second.
    pub fn tick(&mut self, router: &mut Router) {
        if let Self::Userspace(proxies) = self {
            proxies.tick(router);
        }
    }

    /// How long it can be left alone.
    pub fn delay(&mut self, router: &Router) -> Option<Duration> {
        match self {
            Self::Device(_) => None,
            Self::Userspace(proxies) => proxies.delay(router),
        }
    }
}

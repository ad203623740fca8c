//! The handle on a running tunnel. Every call may be made from any thread; none of them touches a packet.
use crate::TunnelError;
use crate::config::{TunnelConfig, secret_from_hex};
use crate::device::{Device, DeviceCounters};
use crate::engine::{Engine, Remote};
use crate::peer::Flow;
use crate::proxy::ProxyCounters;
use crate::router::{CheckedPeers, Router, RouterCounters};
use crate::side::Side;
use crate::udp::{Udp, UdpCounters};
use boringtun::x25519::StaticSecret;
use gw_filter::{Counters, RuleSet};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use zeroize::{Zeroize, Zeroizing};

/// Longest echo payload: what fits the smallest MTU, so that nothing is fragmented.
pub const MAX_PING: u16 = 1_200;

#[derive(Serialize)]
struct PeerStatus {
    id: u64,
    endpoint: Option<SocketAddr>,
    last_handshake_s: Option<f64>,
    handshakes: u64,
    rx_bytes: u64,
    tx_bytes: u64,
    rtt_ms: Option<f64>,
}

#[derive(Serialize)]
struct Stats {
    udp: UdpCounters,
    tunnel: RouterCounters,
    filter: Counters,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<ProxyCounters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<DeviceCounters>,
    flows: usize,
    connections: usize,
    peers: usize,
}

/// A WireGuard tunnel with its own thread.
pub struct Tunnel {
    remote: Remote,
    thread: Mutex<Option<JoinHandle<()>>>,
    port: u16,
    tun_name: Option<String>,
}

impl Tunnel {
    /// Open the sockets and start the engine.
    ///
    /// # Errors
    /// When the configuration makes no sense or the system refuses a socket or the device.
    pub fn open(json: &[u8]) -> Result<Self, TunnelError> {
        let config = TunnelConfig::parse(json)?;
        let secret = secret_from_hex(&config.private_key)?;
        let udp = Udp::bind(config.port)?;
        let port = udp.port;
        let device = config.tun.map(|name| Device::create(&name, config.mtu)).transpose()?;
        let tun_name = device.as_ref().map(Device::name).transpose()?;
        let (mut engine, remote) = Engine::new(Router::new(secret, udp, config.mtu), device)?;
        engine.set_addresses(config.addresses, config.owner)?;
        let thread = std::thread::Builder::new()
            .name("gw-tunnel".into())
            .spawn(move || engine.run())
            .map_err(TunnelError::io("cannot start a thread"))?;
        Ok(Self { remote, thread: Mutex::new(Some(thread)), port, tun_name })
    }

    #[cfg(test)]
    pub(crate) fn remote(&self) -> &Remote {
        &self.remote
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    #[must_use]
    pub fn tun_name(&self) -> Option<&str> {
        self.tun_name.as_deref()
    }

    /// # Errors
    /// When the tunnel is closed.
    pub fn set_private_key(&self, mut key: [u8; 32]) -> Result<(), TunnelError> {
        let secret = StaticSecret::from(key);
        key.zeroize();
        self.remote.call(move |engine| engine.router.set_secret(secret))
    }

    /// # Errors
    /// When the system refuses an address or the tunnel is closed.
    pub fn set_addresses(&self, addresses: Vec<IpAddr>, owner: u64) -> Result<(), TunnelError> {
        self.remote.call(move |engine| engine.set_addresses(addresses, owner))?
    }

    /// Replace the whole set of peers: on return, those not listed are cut.
    ///
    /// # Errors
    /// When the JSON is no list of peers (nothing changes then) or the tunnel is closed.
    pub fn set_peers(&self, json: &[u8]) -> Result<(), TunnelError> {
        let peers = CheckedPeers::parse(json)?;
        self.remote.call(move |engine| engine.set_peers(peers))
    }

    /// Replace the filter: on return, live flows that it does not allow are cut.
    ///
    /// # Errors
    /// When the JSON is no list of rules (nothing changes then) or the tunnel is closed.
    pub fn set_filter(&self, json: &[u8]) -> Result<(), TunnelError> {
        let rules = RuleSet::parse(json)?;
        self.remote.call(move |engine| engine.set_rules(rules))
    }

    /// # Errors
    /// When the tunnel is closed.
    pub fn set_names(&self, names: Vec<(String, Vec<IpAddr>)>) -> Result<(), TunnelError> {
        self.remote.call(move |engine| {
            if let Side::Userspace(proxies) = &mut engine.side {
                proxies.set_names(names);
            }
        })
    }

    /// Serve SOCKS5; returns the bound address.
    ///
    /// # Errors
    /// When the address is taken, or not private and the proxy not open.
    pub fn socks5(&self, address: &str, open: bool, credentials: Option<String>) -> Result<String, TunnelError> {
        let (address, credentials) = (address.to_owned(), credentials.map(Zeroizing::new));
        self.remote.call(move |engine| engine.side.proxies()?.socks5(&address, open, credentials))?
    }

    /// Forward a local listener to a port of a peer; returns the bound address.
    ///
    /// # Errors
    /// When the address is taken, or not private and the forward not open.
    pub fn forward(&self, local: &str, peer: &str, port: u16, open: bool) -> Result<String, TunnelError> {
        let (local, peer) = (local.to_owned(), peer.to_owned());
        self.remote.call(move |engine| engine.side.proxies()?.forward(&local, &peer, port, open))?
    }

    /// Let what arrives over the tunnel on `port` connect to a local address.
    ///
    /// # Errors
    /// When the address makes no sense or the port is already exposed.
    pub fn expose(&self, port: u16, local: &str) -> Result<(), TunnelError> {
        let local = local.to_owned();
        self.remote.call(move |engine| engine.side.proxies()?.expose(port, &local))?
    }

    /// Round trip to an address of a peer in milliseconds, by ICMP echo; `None` when no answer came in time.
    ///
    /// # Errors
    /// When `size` is larger than [`MAX_PING`] or the tunnel is closed.
    pub fn ping(&self, address: IpAddr, timeout_ms: u64, size: u16) -> Result<Option<f64>, TunnelError> {
        if size > MAX_PING {
            return Err(TunnelError::invalid(format!("a ping carries at most {MAX_PING} bytes")));
        }
        let (answer, result) = mpsc::channel();
        self.remote.call(move |engine| engine.ping(address, timeout_ms, size, answer))?;
        // The engine answers at the deadline; the margin is for one that is stopping.
        match result.recv_timeout(Duration::from_millis(timeout_ms.saturating_add(1_000))) {
            Ok(rtt) => Ok(rtt),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(TunnelError::Closed),
        }
    }

    /// What is known of each peer, as JSON.
    ///
    /// # Errors
    /// When the tunnel is closed.
    pub fn peers(&self) -> Result<Vec<u8>, TunnelError> {
        let peers: Vec<PeerStatus> = self.remote.call(|engine| {
            let now = engine.router.clock.now().ms;
            let age = |at: u64| Duration::from_millis(now.saturating_sub(at)).as_secs_f64();
            engine
                .router
                .peers()
                .map(|peer| PeerStatus {
                    id: peer.config.id,
                    endpoint: peer.endpoint,
                    last_handshake_s: peer.last_handshake.map(age),
                    handshakes: peer.handshakes,
                    rx_bytes: peer.rx_bytes,
                    tx_bytes: peer.tx_bytes,
                    rtt_ms: peer.rtt_ms,
                })
                .collect()
        })?;
        Ok(serde_json::to_vec(&peers)?)
    }

    /// Counters since the start, as JSON.
    ///
    /// # Errors
    /// When the tunnel is closed.
    pub fn stats(&self) -> Result<Vec<u8>, TunnelError> {
        let stats = self.remote.call(|engine| {
            let (proxy, device, connections) = match &engine.side {
                Side::Userspace(proxies) => (Some(proxies.counters), None, proxies.sessions()),
                Side::Device(device) => (None, Some(device.counters), 0),
            };
            Stats {
                udp: engine.router.udp.counters,
                tunnel: engine.router.counters,
                filter: engine.router.filter.counters,
                proxy,
                device,
                flows: engine.router.filter.flows(),
                connections,
                peers: engine.router.peers().count(),
            }
        })?;
        Ok(serde_json::to_vec(&stats)?)
    }

    /// What each rule of the policy let in or refused since this was last asked, by the rule's id; what none accepted
    /// under 0.
    ///
    /// # Errors
    /// When the tunnel is closed.
    pub fn take_hits(&self) -> Result<Vec<(u64, u64)>, TunnelError> {
        self.remote.call(|engine| engine.router.filter.take_hits().into_iter().collect())
    }

    /// What passed between this node and each peer since the last call, by the peer's id, where anything did.
    ///
    /// # Errors
    /// When the tunnel is closed.
    pub fn take_flows(&self) -> Result<Vec<(u64, Flow)>, TunnelError> {
        self.remote.call(|engine| engine.router.take_flows())
    }

    /// Hand in a wall clock (UTC nanoseconds). The highest seen counts: one set back opens nothing again.
    ///
    /// # Errors
    /// When the tunnel is closed.
    pub fn tick(&self, utc: u64) -> Result<(), TunnelError> {
        self.remote.call(move |engine| engine.tick(utc))
    }

    /// Stop: sockets, listeners and the device are gone on return. May be called again.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.remote.run(Engine::stop);
            // A panic there was reported by the thread itself.
            let _panicked = thread.join();
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.close();
    }
}

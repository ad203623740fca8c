//! What the agent hands in, as JSON.
use crate::TunnelError;
use boringtun::x25519::StaticSecret;
use ipnet::IpNet;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use zeroize::{Zeroize, Zeroizing};

/// The smallest MTU that IPv6 allows, and room for every path that carries IPv6.
pub const DEFAULT_MTU: u16 = 1280;

/// The tunnel itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunnelConfig {
    /// Hexadecimal.
    pub private_key: Zeroizing<String>,
    /// UDP port; 0 for any. A taken port makes way for the next free one.
    #[serde(default)]
    pub port: u16,
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// Name of the TUN device; without one the tunnel runs in userspace.
    #[serde(default)]
    pub tun: Option<String>,
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The owner of this node; 0 owns nothing.
    #[serde(default)]
    pub owner: u64,
}

fn default_mtu() -> u16 {
    DEFAULT_MTU
}

/// One peer that should be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    pub id: u64,
    /// Hexadecimal X25519 public key.
    pub key: String,
    #[serde(default)]
    pub allowed_ips: Vec<IpNet>,
    /// Where the peer may be reached, best first.
    #[serde(default)]
    pub endpoints: Vec<SocketAddr>,
    #[serde(default)]
    pub class: u64,
    #[serde(default)]
    pub owner: u64,
    /// Seconds between keepalives; 0 for none.
    #[serde(default)]
    pub keepalive: u16,
    /// UTC nanoseconds at which the peer ends by itself; 0 for never.
    #[serde(default)]
    pub until: u64,
}

impl TunnelConfig {
    /// # Errors
    /// When the JSON is not a tunnel's configuration or the MTU is out of range.
    pub fn parse(json: &[u8]) -> Result<Self, TunnelError> {
        let config: Self = serde_json::from_slice(json)?;
        if !(1280..=9000).contains(&config.mtu) {
            return Err(TunnelError::invalid(format!("the MTU {} is not between 1280 and 9000", config.mtu)));
        }
        Ok(config)
    }
}

/// A private key from its 64 hexadecimal digits.
pub fn secret_from_hex(text: &str) -> Result<StaticSecret, TunnelError> {
    let mut bytes = bytes_from_hex(text).ok_or_else(|| TunnelError::invalid("a key is 64 hexadecimal digits"))?;
    let secret = StaticSecret::from(bytes);
    bytes.zeroize();
    Ok(secret)
}

/// 32 bytes from 64 hexadecimal digits.
pub fn bytes_from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

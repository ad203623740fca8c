//! Ports and protocols.

/// Destination ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

pub const ALL_PORTS: Ports = Ports { first: 0, last: u16::MAX };

/// IP protocol numbers; none means those a rule without `proto` allows.
pub type Protocols = Vec<u8>;

/// What a rule without `proto` allows: TCP, UDP and both ICMPs.
pub const DEFAULT_PROTOCOLS: [u8; 4] = [6, 17, 1, 58];

const NAMES: [(&str, u8); 15] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipv4", 4),
    ("ip-in-ip", 4),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("sctp", 132),
    ("fc", 133),
];

/// Whether the protocol has ports at all.
pub fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 132)
}

/// A protocol's name or number. The error is the message, without place.
pub fn parse_protocol(text: &str) -> Result<Protocols, String> {
    let name = text.trim().to_ascii_lowercase();
    if name.is_empty() {
        return Ok(Vec::new());
    }
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(vec![*number]);
    }
    if !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "proto name \"{name}\" not known; use protocol number 0-255 or protocol name (icmp, tcp, udp, etc.)"
        ));
    }
    if name.starts_with('0') {
        return Err(format!("leading 0 not permitted in protocol number \"{name}\""));
    }
    name.parse().map(|number| vec![number]).map_err(|_| format!("protocol number out of range (0-255): {name}"))
}

/// `*`, `22`, `80-443`, or several with commas. The error is the message, without place.
pub fn parse_ports(text: &str) -> Result<Vec<Ports>, String> {
    if text == "*" {
        return Ok(vec![ALL_PORTS]);
    }
    text.split(',').map(|part| parse_range(part.trim())).collect()
}

fn parse_range(text: &str) -> Result<Ports, String> {
    if text == "*" {
        return Ok(ALL_PORTS);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first = number(first).ok_or_else(|| format!("port range {text:?}: invalid first integer"))?;
    let last = number(last).ok_or_else(|| format!("port range {text:?}: invalid last integer"))?;
    if first > last {
        return Err(format!("port range {text:?}: first port must be less than or equal to last port"));
    }
    Ok(Ports { first, last })
}

fn number(text: &str) -> Option<u16> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

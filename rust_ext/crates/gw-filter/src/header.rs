//! A bounded parser for IP packets, as far as a filter needs them.
//!
//! It refuses whatever it does not understand: wrong lengths, source routes, more than [`MAX_EXTENSIONS`] IPv6
//! extension headers, first fragments that hide a part of the transport header. `tests/reference/filter.py` is its
//! slow twin.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest chain of IPv6 extension headers that is followed.
pub const MAX_EXTENSIONS: usize = 8;
/// A later fragment may not start inside the longest TCP header, where it could rewrite what was judged.
pub const MIN_FRAGMENT_OFFSET: u16 = 64;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const DCCP: u8 = 33;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;
pub const UDP_LITE: u8 = 136;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// Where a packet stands in a fragmented datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    Whole,
    First {
        id: u32,
    },
    /// `offset` in bytes, at least [`MIN_FRAGMENT_OFFSET`].
    Later {
        id: u32,
        offset: u16,
    },
}

/// What the transport header says, for the protocols that a filter tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, UDP, UDP-Lite, DCCP, SCTP; `flags` are TCP's, otherwise 0.
    Ports {
        source: u16,
        destination: u16,
        flags: u8,
    },
    Echo {
        request: bool,
        id: u16,
    },
    /// An ICMP error; it quotes the packet it is about from byte `quote` on.
    IcmpError {
        quote: usize,
    },
    Icmp {
        kind: u8,
        code: u8,
    },
    /// Any other protocol, or a later fragment.
    Opaque,
}

/// A parsed packet. `protocol` is the first header after IP that is no extension; `payload` its offset; `length` what
/// the IP header says the packet's length is, at most that of the slice parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub fragment: Fragment,
    pub transport: Transport,
    pub payload: usize,
    pub length: usize,
}

/// Whether `ports` of a rule bind this protocol.
#[must_use]
pub fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | DCCP | SCTP | UDP_LITE)
}

/// Parse a packet that arrived, which may be followed by padding.
#[must_use]
pub fn parse(packet: &[u8]) -> Option<Headers> {
    parse_with(packet, false)
}

/// Parse the beginning of a packet as quoted by an ICMP error, which may be cut anywhere after the ports.
#[must_use]
pub fn parse_quote(packet: &[u8]) -> Option<Headers> {
    parse_with(packet, true)
}

fn parse_with(packet: &[u8], cut: bool) -> Option<Headers> {
    match packet.first()? >> 4 {
        4 => parse_v4(packet, cut),
        6 => parse_v6(packet, cut),
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn parse_v4(packet: &[u8], cut: bool) -> Option<Headers> {
    let fixed: &[u8; 20] = packet.get(..20)?.try_into().ok()?;
    let payload = usize::from(fixed[0] & 0x0f) * 4;
    let claimed = usize::from(be16(fixed, 2)?);
    let length = if cut { claimed.min(packet.len()) } else { claimed };
    if payload < 20 || claimed < payload || length < payload || packet.len() < length {
        return None;
    }
    if has_source_route(&packet[20..payload]) {
        return None;
    }
    let word = be16(fixed, 6)?;
    let (more, offset) = (word & 0x2000 != 0, (word & 0x1fff) * 8);
    let headers = Headers {
        source: IpAddr::V4(Ipv4Addr::from(be32(fixed, 12)?)),
        destination: IpAddr::V4(Ipv4Addr::from(be32(fixed, 16)?)),
        protocol: fixed[9],
        fragment: classify(more, offset, u32::from(be16(fixed, 4)?))?,
        transport: Transport::Opaque,
        payload,
        length,
    };
    finish(headers, packet, cut)
}

/// Source routes (LSRR, SSRR) would make the destination a lie. A malformed option list counts as one.
fn has_source_route(mut options: &[u8]) -> bool {
    while let Some(&kind) = options.first() {
        match kind {
            0 => return false,
            1 => options = &options[1..],
            131 | 137 => return true,
            _ => {
                let Some(&size) = options.get(1) else { return true };
                if size < 2 {
                    return true;
                }
                let Some(rest) = options.get(usize::from(size)..) else { return true };
                options = rest;
            }
        }
    }
    false
}

fn classify(more: bool, offset: u16, id: u32) -> Option<Fragment> {
    match (more, offset) {
        (false, 0) => Some(Fragment::Whole),
        (true, 0) => Some(Fragment::First { id }),
        (_, offset) if offset < MIN_FRAGMENT_OFFSET => None,
        (_, offset) => Some(Fragment::Later { id, offset }),
    }
}

fn parse_v6(packet: &[u8], cut: bool) -> Option<Headers> {
    let fixed: &[u8; 40] = packet.get(..40)?.try_into().ok()?;
    let claimed = usize::from(be16(fixed, 4)?) + 40;
    let length = if cut { claimed.min(packet.len()) } else { claimed };
    let body = packet.get(..length)?;
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = fixed.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)))
    };
    let chain = walk(body, fixed[6])?;
    let headers = Headers {
        source: address(8)?,
        destination: address(24)?,
        protocol: chain.protocol,
        fragment: chain.fragment,
        transport: Transport::Opaque,
        payload: chain.payload,
        length,
    };
    finish(headers, packet, cut)
}

struct Chain {
    protocol: u8,
    payload: usize,
    fragment: Fragment,
}

/// Follow the extension headers. `body` ends where the packet ends.
fn walk(body: &[u8], first: u8) -> Option<Chain> {
    let mut chain = Chain { protocol: first, payload: 40, fragment: Fragment::Whole };
    for position in 0..=MAX_EXTENSIONS {
        let at = chain.payload;
        let size = match chain.protocol {
            HOP_BY_HOP if position > 0 => return None,
            // A routing header with segments left: the destination is not the last one.
            ROUTING if *body.get(at + 3)? != 0 => return None,
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 => (usize::from(*body.get(at + 1)?) + 1) * 8,
            AUTHENTICATION => (usize::from(*body.get(at + 1)?) + 2) * 4,
            FRAGMENT => {
                if chain.fragment != Fragment::Whole {
                    return None;
                }
                let word = be16(body, at + 2)?;
                let id = be32(body, at + 4)?;
                chain.fragment = classify(word & 1 != 0, word & 0xfff8, id)?;
                8
            }
            _ => return Some(chain),
        };
        let next = *body.get(at)?;
        chain.payload = at.checked_add(size)?;
        if chain.payload > body.len() {
            return None;
        }
        chain.protocol = next;
        // What a later fragment carries is not a header.
        if matches!(chain.fragment, Fragment::Later { .. }) {
            return Some(chain);
        }
    }
    None
}

fn finish(mut headers: Headers, packet: &[u8], cut: bool) -> Option<Headers> {
    if !matches!(headers.fragment, Fragment::Later { .. }) {
        let segment = packet.get(headers.payload..headers.length)?;
        headers.transport = transport(&headers, segment, cut)?;
    }
    Some(headers)
}

fn transport(headers: &Headers, segment: &[u8], cut: bool) -> Option<Transport> {
    let minimum = match headers.protocol {
        TCP => 20,
        UDP | UDP_LITE => 8,
        SCTP | DCCP => 12,
        ICMP | ICMPV6 => 8,
        _ => return Some(Transport::Opaque),
    };
    let needed = match headers.protocol {
        _ if !cut => minimum,
        ICMP | ICMPV6 => 8,
        _ => 4,
    };
    if segment.len() < needed {
        return None;
    }
    if matches!(headers.protocol, ICMP | ICMPV6) {
        return icmp(headers, segment);
    }
    let flags = match headers.protocol {
        TCP if !cut => {
            let header = usize::from(segment[12] >> 4) * 4;
            if header < 20 || header > segment.len() {
                return None;
            }
            segment[13]
        }
        _ => 0,
    };
    Some(Transport::Ports { source: be16(segment, 0)?, destination: be16(segment, 2)?, flags })
}

/// ICMP belongs to IPv4, ICMPv6 to IPv6; crossed, it is refused.
fn icmp(headers: &Headers, segment: &[u8]) -> Option<Transport> {
    if headers.source.is_ipv4() != (headers.protocol == ICMP) {
        return None;
    }
    let (kind, code) = (segment[0], segment[1]);
    let echo = |request| Some(Transport::Echo { request, id: be16(segment, 4)? });
    match (headers.protocol, kind) {
        (ICMP, 8) | (ICMPV6, 128) => echo(true),
        (ICMP, 0) | (ICMPV6, 129) => echo(false),
        (ICMP, 3 | 11 | 12) | (ICMPV6, 1..=4) => Some(Transport::IcmpError { quote: headers.payload + 8 }),
        _ => Some(Transport::Icmp { kind, code }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn udp4() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 7, 0, 0, 64, UDP, 0, 0, 100, 64, 0, 1, 100, 64, 0, 2];
        packet.extend_from_slice(&[0x12, 0x34, 0, 53, 0, 8, 0, 0]);
        packet
    }

    #[test]
    fn reads_udp_over_ipv4_and_ignores_padding() {
        let mut packet = udp4();
        packet.extend_from_slice(&[0; 4]);
        let headers = parse(&packet).expect("valid");
        assert_eq!(headers.length, 28);
        assert_eq!(headers.transport, Transport::Ports { source: 0x1234, destination: 53, flags: 0 });
    }

    #[test]
    fn refuses_a_source_route() {
        let mut packet = udp4();
        packet[0] = 0x46;
        packet[3] = 32;
        packet.splice(20..20, [131, 4, 4, 0]);
        assert_eq!(parse(&packet), None);
    }

    #[test]
    fn refuses_fragments_that_could_rewrite_the_header() {
        let mut packet = udp4();
        packet[7] = 1;
        assert_eq!(parse(&packet), None);
        packet[7] = 8;
        assert_eq!(parse(&packet).expect("valid").fragment, Fragment::Later { id: 7, offset: 64 });
    }

    #[test]
    fn refuses_chains_that_are_too_long() {
        let build = |count: usize| {
            let mut packet = vec![0x60, 0, 0, 0, 0, 0, DESTINATION, 64];
            packet.extend_from_slice(&[0xfd; 32]);
            for n in 0..count {
                packet.extend_from_slice(&[if n + 1 == count { 59 } else { DESTINATION }, 0, 0, 0, 0, 0, 0, 0]);
            }
            packet[4..6].copy_from_slice(&u16::try_from(count * 8).expect("short").to_be_bytes());
            packet
        };
        assert_eq!(parse(&build(MAX_EXTENSIONS)).expect("valid").protocol, 59);
        assert_eq!(parse(&build(MAX_EXTENSIONS + 1)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn never_panics_and_stays_inside(mut packet in proptest::collection::vec(any::<u8>(), 0..160), v6 in any::<bool>(), tidy in any::<bool>()) {
            if let Some(first) = packet.first_mut() {
                *first = if v6 { 0x60 } else { 0x40 | (*first & 0x0f) };
            }
            if tidy && packet.len() >= 40 {
                let total = u16::try_from(packet.len()).expect("short");
                if v6 {
                    packet[4..6].copy_from_slice(&(total - 40).to_be_bytes());
                    packet[6] = [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, TCP][usize::from(packet[6] % 6)];
                } else {
                    packet[0] = 0x45 + (packet[0] & 3);
                    packet[2..4].copy_from_slice(&total.to_be_bytes());
                }
            }
            for parsed in [parse(&packet), parse_quote(&packet)].into_iter().flatten() {
                prop_assert!(parsed.payload <= parsed.length && parsed.length <= packet.len());
                if let Transport::IcmpError { quote } = parsed.transport {
                    prop_assert!(quote <= parsed.length);
                }
            }
        }
    }
}

//! Echo requests of this node's own, built by hand so that they work with and without a device.
use gw_filter::header::{ICMP, ICMPV6};
use gw_filter::{Headers, Transport};
use std::net::IpAddr;
use std::sync::mpsc::Sender;
use std::time::Instant;

const ECHO_HEADER: usize = 8;
/// An unanswered request is repeated this often, in milliseconds: the first may be lost on a path that just died.
const REPEAT: u64 = 1_000;

struct Pending {
    source: IpAddr,
    address: IpAddr,
    size: u16,
    /// Identifier and moment of each request.
    sent: Vec<(u16, Instant)>,
    next: u64,
    deadline: u64,
    answer: Sender<Option<f64>>,
}

/// The pings that wait for an answer.
#[derive(Default)]
pub struct Pings {
    pending: Vec<Pending>,
    next_id: u16,
}

fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// An echo request of `size` payload bytes.
fn echo_request(source: IpAddr, destination: IpAddr, id: u16, size: u16) -> Vec<u8> {
    let mut echo = vec![0; ECHO_HEADER + usize::from(size)];
    echo[4..6].copy_from_slice(&id.to_be_bytes());
    echo[7] = 1;
    for (index, byte) in echo[ECHO_HEADER..].iter_mut().enumerate() {
        *byte = u8::try_from(index & 0xff).unwrap_or(0);
    }
    let length = u16::try_from(echo.len()).unwrap_or(u16::MAX);
    let mut packet;
    match (source, destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet = vec![0x60, 0, 0, 0, 0, 0, ICMPV6, 64];
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&destination.octets());
            echo[0] = 128;
            let pseudo = [&packet[8..40], &u32::from(length).to_be_bytes(), &[0, 0, 0, ICMPV6]].concat();
            let sum = checksum(&[&pseudo, &echo]);
            echo[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        _ => {
            packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, ICMP, 0, 0];
            packet[2..4].copy_from_slice(&length.saturating_add(20).to_be_bytes());
            for address in [source, destination] {
                if let IpAddr::V4(address) = address {
                    packet.extend_from_slice(&address.octets());
                }
            }
            let sum = checksum(&[&packet]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            echo[0] = 8;
            let sum = checksum(&[&echo]);
            echo[2..4].copy_from_slice(&sum.to_be_bytes());
        }
    }
    packet.extend_from_slice(&echo);
    packet
}

impl Pings {
    /// Begin to ping; the answer, or `None` at the deadline, goes to `answer`. [`Pings::due`] has the request.
    pub fn begin(&mut self, ends: (IpAddr, IpAddr), size: u16, deadline: u64, answer: Sender<Option<f64>>) {
        let (source, address) = ends;
        self.pending.push(Pending { source, address, size, sent: Vec::new(), next: 0, deadline, answer });
    }

    /// The next request that is to be sent now.
    pub fn due(&mut self, now: u64) -> Option<Vec<u8>> {
        let ping = self.pending.iter_mut().find(|ping| ping.next <= now)?;
        self.next_id = self.next_id.wrapping_add(1);
        ping.next = now.saturating_add(REPEAT);
        ping.sent.push((self.next_id, Instant::now()));
        Some(echo_request(ping.source, ping.address, self.next_id, ping.size))
    }

    /// Whether a packet answers one of these pings, and the round trip in milliseconds.
    pub fn answered(&mut self, headers: &Headers) -> Option<f64> {
        let Transport::Echo { request: false, id } = headers.transport else { return None };
        let (index, sent) = self.pending.iter().enumerate().find_map(|(index, ping)| {
            let (_, sent) = ping.sent.iter().find(|(sent, _)| *sent == id && ping.address == headers.source)?;
            Some((index, *sent))
        })?;
        let ping = self.pending.swap_remove(index);
        let rtt = sent.elapsed().as_secs_f64() * 1_000.0;
        // Whoever asked may have gone.
        let _gone = ping.answer.send(Some(rtt));
        Some(rtt)
    }

    pub fn expire(&mut self, now: u64) {
        self.pending.retain(|ping| {
            let waits = ping.deadline > now;
            if !waits {
                let _gone = ping.answer.send(None);
            }
            waits
        });
    }

    pub fn next_deadline(&self) -> Option<u64> {
        self.pending.iter().map(|ping| ping.deadline.min(ping.next)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_well_formed() {
        for (from, to) in [("100.64.0.1", "100.64.0.2"), ("fd7a::1", "fd7a::2")] {
            let packet = echo_request(from.parse().expect("address"), to.parse().expect("address"), 77, 57);
            let headers = gw_filter::header::parse(&packet).expect("valid");
            assert_eq!(headers.length, packet.len());
            assert_eq!(headers.transport, Transport::Echo { request: true, id: 77 });
        }
    }

    #[test]
    fn checksums_are_the_internet_checksum() {
        // RFC 1071, section 3.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }
}

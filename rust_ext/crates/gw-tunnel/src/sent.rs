//! How far a TCP connection of the userspace stack has come sending.
//!
//! RFC 9293 (3.10.7.4) has a bare acknowledgement carry SND.NXT. smoltcp moves that back when it sends again what was
//! lost, and the other end drops what lies before its window, the acknowledgement in it too. Where both ends have
//! something to send again, neither would hear that it arrived, for ever.
const TCP: u8 = 6;
const IPV6_HEADER: usize = 40;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const SEQUENCE: std::ops::Range<usize> = 4..8;
const CHECKSUM: std::ops::Range<usize> = 16..18;

/// The sequence number after the last one that was ever sent.
#[derive(Default)]
pub struct Sent(Option<u32>);

impl Sent {
    /// Note what a packet of this connection sends. A bare acknowledgement is made to carry the highest number.
    pub fn note(&mut self, packet: &mut [u8]) {
        let Some(segment) = segment(packet) else { return };
        let (flags, sequence) = (segment[13], number(&segment[SEQUENCE]));
        let header = usize::from(segment[12] >> 4) * 4;
        let Some(payload) = segment.len().checked_sub(header) else { return };
        if flags & RST != 0 {
            return;
        }
        // A packet is far shorter than 2^32.
        let taken = payload as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let end = sequence.wrapping_add(taken);
        let highest = self.0.filter(|&highest| is_after(highest, end)).unwrap_or(end);
        self.0 = Some(highest);
        if taken == 0 && highest != sequence {
            carry(segment, sequence, highest);
        }
    }
}

/// Whether one sequence number comes after another, around 2^32 (RFC 9293, 3.4).
fn is_after(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte))
}

/// The TCP segment in a packet that the stack made: without extension headers, never a fragment.
fn segment(packet: &mut [u8]) -> Option<&mut [u8]> {
    let header = match packet.first()? >> 4 {
        4 if packet.get(9) == Some(&TCP) => usize::from(packet[0] & 0x0f) * 4,
        6 if packet.get(6) == Some(&TCP) => IPV6_HEADER,
        _ => return None,
    };
    packet.get_mut(header..).filter(|segment| segment.len() >= 20)
}

/// Exchange the sequence number, and mend the checksum by the difference (RFC 1624).
fn carry(segment: &mut [u8], old: u32, new: u32) {
    let halves = |value: u32| [value >> 16, value & 0xffff];
    let mut sum = !number(&segment[CHECKSUM]) & 0xffff;
    for half in halves(old) {
        sum += !half & 0xffff;
    }
    sum += halves(new).iter().sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    segment[SEQUENCE].copy_from_slice(&new.to_be_bytes());
    segment[CHECKSUM].copy_from_slice(&(!sum as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{
        IpAddress, IpProtocol, IpRepr, Ipv4Address, Ipv6Address, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    };

    const V4: [IpAddress; 2] =
        [IpAddress::Ipv4(Ipv4Address::new(100, 64, 0, 1)), IpAddress::Ipv4(Ipv4Address::new(100, 64, 0, 2))];
    const V6: [IpAddress; 2] = [
        IpAddress::Ipv6(Ipv6Address::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 1)),
        IpAddress::Ipv6(Ipv6Address::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 2)),
    ];

    fn packet([from, to]: [IpAddress; 2], sequence: u32, control: TcpControl, payload: &[u8]) -> Vec<u8> {
        let tcp = TcpRepr {
            src_port: 80,
            dst_port: 40000,
            control,
            seq_number: TcpSeqNumber(sequence.cast_signed()),
            ack_number: Some(TcpSeqNumber(77)),
            window_len: 1000,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        let ip = IpRepr::new(from, to, IpProtocol::Tcp, tcp.buffer_len(), 64);
        let mut bytes = vec![0; ip.buffer_len()];
        let caps = ChecksumCapabilities::default();
        ip.emit(&mut bytes, &caps);
        let mut segment = TcpPacket::new_unchecked(&mut bytes[ip.header_len()..]);
        tcp.emit(&mut segment, &from, &to, &caps);
        bytes
    }

    /// What the connection sends in the place of this packet: its sequence number, with the checksum looked at.
    fn sent(sent: &mut Sent, ends: [IpAddress; 2], sequence: u32, control: TcpControl, payload: &[u8]) -> u32 {
        let mut bytes = packet(ends, sequence, control, payload);
        sent.note(&mut bytes);
        let header = bytes.len() - 20 - payload.len();
        let segment = TcpPacket::new_checked(&bytes[header..]).unwrap();
        assert!(segment.verify_checksum(&ends[0], &ends[1]));
        segment.seq_number().0.cast_unsigned()
    }

    #[test]
    fn bare_acknowledgements_carry_the_highest_number() {
        for ends in [V4, V6] {
            for start in [1000, u32::MAX - 3, u32::MAX / 2 - 1] {
                let mut it = Sent::default();
                let after = |count: u32| start.wrapping_add(count);
                assert_eq!(sent(&mut it, ends, start, TcpControl::None, b""), start);
                assert_eq!(sent(&mut it, ends, start, TcpControl::Psh, b"0123456789"), start);
                assert_eq!(sent(&mut it, ends, after(10), TcpControl::None, b""), after(10));
                // Sending again: data stays where it belongs, what carries none goes to the end.
                assert_eq!(sent(&mut it, ends, start, TcpControl::None, b""), after(10));
                assert_eq!(sent(&mut it, ends, start, TcpControl::Psh, b"0123"), start);
                assert_eq!(sent(&mut it, ends, after(4), TcpControl::None, b""), after(10));
                assert_eq!(sent(&mut it, ends, after(10), TcpControl::Fin, b""), after(10));
                assert_eq!(sent(&mut it, ends, after(10), TcpControl::None, b""), after(11));
                assert_eq!(sent(&mut it, ends, after(3), TcpControl::Rst, b""), after(3));
            }
        }
    }

    #[test]
    fn what_is_no_segment_is_left_alone() {
        let mut it = Sent(Some(5));
        for bytes in [&b""[..], &[0x45], &[0x60; 41], &[0x45; 30], &[0xff; 60]] {
            let mut packet = bytes.to_vec();
            it.note(&mut packet);
            assert_eq!(packet, bytes);
        }
    }
}

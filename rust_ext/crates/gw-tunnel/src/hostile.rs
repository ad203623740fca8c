//! Whatever arrives, the engine goes on: random datagrams at the door, random packets from an authenticated peer.
use crate::engine::Engine;
use crate::router::{CheckedPeers, Router};
use crate::side::Side;
use crate::udp::Udp;
use boringtun::x25519::{PublicKey, StaticSecret};
use gw_filter::{RuleSet, header};
use proptest::prelude::*;

const PEER: &str = "100.64.0.2";

fn engine() -> Engine {
    let udp = Udp::bind(0).expect("a free port");
    let (mut engine, _) = Engine::new(Router::new(StaticSecret::from([7; 32]), udp, 1280), None).expect("an engine");
    let own = vec!["100.64.0.1".parse().expect("address"), "fd7a::1".parse().expect("address")];
    engine.set_addresses(own, 0).expect("addresses");
    let key: String =
        PublicKey::from(&StaticSecret::from([9; 32])).as_bytes().iter().map(|b| format!("{b:02x}")).collect();
    let peers = format!(r#"[{{"id":1,"key":"{key}","allowed_ips":["{PEER}/32","fd7a::2/128"],"class":1}}]"#);
    engine.set_peers(CheckedPeers::parse(peers.as_bytes()).expect("peers"));
    engine.set_rules(RuleSet::parse(br#"[{"classes":[1]}]"#).expect("rules"));
    engine.side.proxies().expect("userspace").expose(80, "127.0.0.1:9").expect("a port");
    engine
}

/// A TCP segment from the peer to an exposed port, as broken as the arguments make it.
fn segment(flags: u8, sequence: u32, acknowledged: u32, window: u16, tail: &[u8], options: usize) -> Vec<u8> {
    let size = u16::try_from(40 + tail.len()).expect("short");
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6, 0, 0, 100, 64, 0, 2, 100, 64, 0, 1];
    packet[2..4].copy_from_slice(&size.to_be_bytes());
    packet.extend_from_slice(&40_000u16.to_be_bytes());
    packet.extend_from_slice(&80u16.to_be_bytes());
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&acknowledged.to_be_bytes());
    let words = u8::try_from(5 + options.min(tail.len() / 4).min(10)).expect("at most fifteen");
    packet.extend_from_slice(&[words << 4, flags]);
    packet.extend_from_slice(&window.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0]);
    packet.extend_from_slice(tail);
    packet
}

fn ingest(engine: &mut Engine, packet: &[u8]) {
    let Engine { router, side, .. } = engine;
    if let Some(headers) = header::parse(packet) {
        side.ingest(router, packet, &headers);
        side.work(router);
    }
}

#[test]
fn a_panic_costs_a_turn_and_not_the_tunnel() {
    let secret = "07".repeat(32);
    let tunnel = crate::Tunnel::open(format!(r#"{{"private_key":"{secret}"}}"#).as_bytes()).expect("a tunnel");
    let panicked = tunnel.remote().call(|_| panic!("a packet that cannot be digested"));
    assert!(panicked.is_err());
    assert_eq!(tunnel.remote().call(|engine| engine.router.counters.panics).expect("it goes on"), 1);
    tunnel.close();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_datagram_is_survived(datagrams in proptest::collection::vec((1u8..6, proptest::collection::vec(any::<u8>(), 0..200)), 1..60)) {
        let mut engine = engine();
        let mut plain = vec![0; 65_600];
        for (kind, mut datagram) in datagrams {
            if datagram.len() >= 4 {
                datagram[..4].copy_from_slice(&[kind, 0, 0, 0]);
                datagram.resize([148, 148, 92, 64, datagram.len(), 32][usize::from(kind)], 0);
            }
            prop_assert!(engine.router.receive(&datagram, "127.0.0.1:9".parse().expect("address"), &mut plain).is_none());
        }
    }

    #[test]
    fn any_segments_of_a_peer_are_survived(segments in proptest::collection::vec(
        (any::<u8>(), any::<u32>(), any::<u32>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..80), 0usize..11, any::<bool>()), 1..60)) {
        let mut engine = engine();
        let mut next = 1u32;
        for (flags, sequence, acknowledged, window, tail, options, near) in segments {
            let sequence = if near { next.wrapping_add(sequence % 3) } else { sequence };
            next = sequence.wrapping_add(1);
            ingest(&mut engine, &segment(flags, sequence, acknowledged, window, &tail, options));
        }
        prop_assert!(matches!(engine.side, Side::Userspace(_)));
    }

    #[test]
    fn any_packets_of_a_peer_are_survived(packets in proptest::collection::vec((any::<bool>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..120)), 1..60)) {
        let mut engine = engine();
        for (v6, protocol, body) in packets {
            let size = u16::try_from(body.len()).expect("short");
            let mut packet = if v6 {
                let mut head = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
                head[4..6].copy_from_slice(&size.to_be_bytes());
                for last in [2, 1] {
                    head.extend_from_slice(&[0xfd, 0x7a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
                }
                head
            } else {
                let mut head = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0, 100, 64, 0, 2, 100, 64, 0, 1];
                head[2..4].copy_from_slice(&(size + 20).to_be_bytes());
                head
            };
            packet.extend_from_slice(&body);
            ingest(&mut engine, &packet);
        }
    }
}

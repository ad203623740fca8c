"""Pages of maps as nodes of the scale set get them."""

import random

from ghostwire.testing.load.topology import Topology
from ghostwire.wire import codec
from ghostwire.wire.messages import MapFull, Parts
from ghostwire.wire.netmap import Peer, encode_part


def page(first: int, count: int) -> bytes:
    """One page of so many peers, the nodes from number `first` on. Their keys are random, and endpoints mostly are."""
    source, topology = random.Random(first), Topology(50_000, 200)
    peers = {1 + n: encode_part(_peer(n, topology, source)) for n in range(first, first + count)}
    return codec.encode(MapFull(page=1, parts=Parts(peers=peers)))


def _peer(number: int, topology: Topology, source: random.Random) -> Peer:
    return Peer(
        id=1 + number,
        name=f"n{number}",
        key=source.randbytes(32),
        ipv4=f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}",
        ipv6=f"fd7a:115c:a1e0::{number:x}",
        class_id=1 + number % 2_500,
        tags=(topology.tag(number),),
        online=number % 7 > 0,
        endpoints=(f"192.0.2.{source.randrange(256)}:{source.randrange(1024, 65536)}",),
    )

"""Maps: whole ones, deltas, and what a delta costs as the network grows while those affected stay the same."""

import base64
from collections import deque

import msgspec
import orjson

from bench.cases import calls_for, timed
from bench.networks import EVERYONE, Network
from bench.pages import page
from ghostwire.coordinator.commands import ResyncNode, SetEndpoints
from ghostwire.model.position import Position
from ghostwire.wire.packed_map import packed

ROUNDS = 9


class Whole:
    """The whole map of a node that sees 1,000 others, encoded page by page."""

    gate_calls = 10
    nodes = 1_000

    def setup(self) -> None:
        self.network = Network(self.nodes, policy=EVERYONE)
        self.node = self.network.coordinator.view.node(1)
        self.mapper = self.network.coordinator._core.mapper

    def time_full(self) -> None:
        deque(self.mapper.full(self.node), maxlen=0)

    def time_digest(self) -> None:
        self.mapper.maps.forget_digests()
        self.mapper.digest(self.node)


class WholeOfTenThousand(Whole):
    """The same with 10,000."""

    gate_calls = 0
    nodes = 10_000


class Delta:
    """A node roams, seen by the nine others of its owner, in a network of 1,000: encoded once, pushed once."""

    gate_calls = 200
    nodes = 1_000
    policy: str | None = None

    def setup(self) -> None:
        self.network = Network(self.nodes, policy=self.policy)
        self.opened = self.network.connect(0)
        self.viewer = self.network.connect(1)
        self.position = self.network.coordinator.view.position()
        self.port = 1024

    def time_roam(self) -> None:
        self.port = 1024 + (self.port + 1) % 60_000
        self.network.ask(
            SetEndpoints, node=self.opened.node, session=self.opened.session, endpoints=(f"192.0.2.1:{self.port}",)
        )

    def time_resume_unchanged(self) -> None:
        self._resume(self.network.coordinator.view.position())

    def _resume(self, held: Position) -> None:
        self.network.ask(ResyncNode, node=self.viewer.node, session=self.viewer.session, resume=held)


class LargeNetwork(Delta):
    """The same in a network of 10,000."""

    gate_calls = 0
    nodes = 10_000


class SeenByTenThousand(LargeNetwork):
    """A node roams, seen by all 10,000: still encoded once."""

    policy = EVERYONE


class Announced(SeenByTenThousand):
    """The same from the change to the end of its window, with replicas told: all that the leader does of its own."""

    def setup(self) -> None:
        super().setup()
        self.feed = self.network.coordinator.feed()

    def time_announce(self) -> None:
        self.time_roam()
        self.feed.take()
        self.network.clock.advance(3.0)
        self.network.coordinator.handle_timeout(self.network.clock())
        self.feed.take()
        self.network.drain()


class Pages:
    """Whole maps of 10,000 peers, whom ten users own, as pages."""

    def setup(self) -> None:
        self.network = Network(10_000, each=1_000, policy=EVERYONE)
        self.mapper = self.network.coordinator._core.mapper
        self.node = self.network.coordinator.view.node(1)
        parts = self.mapper.parts(self.node).peers.values()
        self.peers = [msgspec.msgpack.decode(part) | {"key": base64.b64encode(b"k" * 32).decode()} for part in parts]

    def pages(self) -> int:
        return sum(map(len, self.mapper.full(self.node)))

    def encode(self) -> int:
        return len(orjson.dumps(self.peers))

    def track_megabytes_a_second(self) -> float:
        """MB/s of one thread."""
        return self.pages() / min(timed(self.pages, 5) for _ in range(ROUNDS)) * 1e3

    def track_over_orjson(self) -> float:
        """How many times the bytes a second that orjson makes of the same peers."""
        rounds = [(timed(self.pages, 3), timed(self.encode, 3)) for _ in range(3 * ROUNDS)]
        splice, encode = map(min, zip(*rounds, strict=True))
        return encode / splice


class Packed:
    """A map of a cell of the scale set, for nodes that read packed messages."""

    gate_calls = 20

    def setup(self) -> None:
        self.page = page(5_000, 201)
        self.keys = 32 * 201

    def time_pack(self) -> None:
        packed(self.page)

    def track_saved(self) -> float:
        """What part of the bytes is saved, keys left out on both sides."""
        return 1 - (len(packed(self.page)) - self.keys) / (len(self.page) - self.keys)


class HugeNetwork(Delta):
    """A roaming node seen by nine others, in a network of 50,000."""

    gate_calls = 0
    nodes = 50_000


class Growth:
    """What a delta costs in a network of 50,000 over one of 1,000: those affected are as many, so it stays near 1."""

    def track_delta(self) -> float:
        return _ratio(HugeNetwork, Delta)


def _ratio(large: type[Delta], small: type[Delta]) -> float:
    """In turn, so that a busy moment hits both."""
    operations = []
    for family in (large, small):
        case = family()
        case.setup()
        operations.append((case.time_roam, calls_for(case.time_roam, 0.05)))
    rounds = [[timed(operation, count) for operation, count in operations] for _ in range(ROUNDS)]
    medians = [sorted(times)[ROUNDS // 2] for times in zip(*rounds, strict=True)]
    return medians[0] / medians[1]

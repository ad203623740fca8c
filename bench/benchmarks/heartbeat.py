"""What one heartbeat costs the coordinator: the time noted, the map's digest compared."""

from itertools import islice

from bench.networks import EVERYONE, Network
from ghostwire.coordinator.commands import HeartbeatNode, SetEndpoints
from ghostwire.model.node import NodeMetrics
from ghostwire.wire import codec
from ghostwire.wire.netmap import NetMap


class Heartbeat:
    """A node of a user with ten, in a network of 1,000."""

    gate_calls = 500
    nodes = 1_000
    policy: str | None = None

    def setup(self) -> None:
        self.network = Network(self.nodes, policy=self.policy)
        self.peer = self.network.connect(1)
        self.opened = self.network.connect(0)
        self.map = NetMap()
        for frame in islice(self.opened.frames, 1, None):
            self.map.apply_page(codec.decode_from_server(frame))
        self.metrics = NodeMetrics(load_factor=0.5, uptime_seconds=3600, bytes_in=1 << 30)
        self.port = 1024

    def _beat(self) -> None:
        self.network.ask(
            HeartbeatNode,
            node=self.opened.node,
            session=self.opened.session,
            position=self.network.coordinator.view.position(),
            digest=self.map.digest,
            metrics=self.metrics,
        )

    def time_quiet(self) -> None:
        """Nothing has changed since the last one."""
        self._beat()

    def time_after_a_change(self) -> None:
        """A peer has roamed since: the digest is added up anew. (It differs; the second repair an hour is the last.)"""
        self.port = 1024 + (self.port + 1) % 60_000
        self.network.ask(
            SetEndpoints, node=self.peer.node, session=self.peer.session, endpoints=(f"192.0.2.1:{self.port}",)
        )
        self._beat()


class AmongThousand(Heartbeat):
    """A node that sees all 1,000 others."""

    gate_calls = 100
    policy = EVERYONE

"""Maps: whole ones, deltas, and what a delta costs as the network grows while those affected stay the same."""

from bench.cases import calls_for, timed
from bench.networks import EVERYONE, Network
from ghostwire.coordinator.commands import ResyncNode, SetEndpoints
from ghostwire.model.position import Position

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
        self.mapper.full(self.node)

    def time_digest(self) -> None:
        self.mapper._digests.clear()
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


class Growth:
    """What a delta costs in a network of 10,000 over one of 1,000: those affected are as many, so it stays near 1."""

    def track_delta(self) -> float:
        return _ratio(LargeNetwork, Delta)


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

"""A thousand nodes and one day in virtual time: joins, leaves, roaming, missed heartbeats, a coordinator that dies.

Everything follows from one seed, so any failure replays, and two runs of one seed end in the same bytes.
"""

import hashlib
import heapq
import random
from collections import Counter

import msgspec
import pytest

from ghostwire.coordinator import Settings
from ghostwire.coordinator.commands import DeleteNode, LogoutNode, RenameNode, SetEndpoints, TagNode
from ghostwire.coordinator.effects import Push
from ghostwire.errors import AuthenticationError, NotFoundError
from ghostwire.testing.simnet import SimNet, SimNode
from tests.reference.netmap_check import check_node, reference

DAY = 86_400.0
BEAT = 30.0


class VirtualDay:
    """The script of a day, drawn as it goes from a source of its own."""

    def __init__(self, seed: int, nodes: int, users: int, hours: float = 24.0) -> None:
        self.net = SimNet(Settings(ephemeral_idle_s=1800.0), seed=seed)
        self.net.watch = self._observe
        self.random = random.Random(seed ^ 0xDA7)
        self.end = self.net.clock.mono + hours * 3600.0
        self.queue: list[tuple[float, int, str, str]] = []
        self.order = 0
        self.serial = 0
        self.done: Counter[str] = Counter()
        self.trace = hashlib.blake2b(digest_size=16)
        self.users = [f"user{number}" for number in range(users)]
        self.secrets = {user: self.net.key(user, life_s=2 * DAY) for user in self.users}
        self.secrets["tag:web"] = self.net.key(None, tags=("tag:web",), life_s=2 * DAY)
        self.passing = self.net.key(self.users[0], ephemeral=True, life_s=2 * DAY)
        self.beats: dict[str, int] = {}
        for _ in range(nodes):
            self.plan(self.random.uniform(0, 0.5 * hours * 3600.0), "join")
        for hour in (6, 12.5, 18):
            self.plan(hour / 24 * hours * 3600.0, "restart" if hour != 12.5 else "crash")

    def _observe(self, effect: object) -> None:
        if isinstance(effect, Push):
            self.trace.update(effect.frame)

    def plan(self, delay: float, what: str, name: str = "") -> None:
        self.order += 1
        heapq.heappush(self.queue, (round(self.net.clock.mono + delay, 3), self.order, what, name))

    def run(self) -> None:
        while self.queue and self.queue[0][0] <= self.end:
            at, _, what, name = heapq.heappop(self.queue)
            self.net.run_to(max(at, self.net.clock.mono))
            self.done[what] += 1
            getattr(self, what)(self.net.nodes.get(name))
        self.net.run_to(self.end)

    # What happens.

    def join(self, _: None) -> None:
        self.serial += 1
        kind = self.random.random()
        secret = self.passing if kind < 0.1 else self.secrets[self.random.choice([*self.users, "tag:web"])]
        name = f"n{self.serial}"
        self.net.join(name, secret, hostname=self.random.choice(["laptop", "phone", "srv", "ci"]))
        self._live(self.net.nodes[name])

    def _live(self, node: SimNode) -> None:
        """A session stands: it beats, and at some time something happens to it."""
        self.beats[node.name] = node.session
        self.plan(self.random.uniform(0, BEAT), "beat", node.name)
        self.plan(self.random.uniform(0, 600), "roam", node.name)
        self.plan(self.random.expovariate(1 / 5400), "interrupt", node.name)

    def beat(self, node: SimNode | None) -> None:
        if node is not None and node.connected and self.beats[node.name] == node.session:
            self.net.beat(node)
            self.plan(BEAT, "beat", node.name)

    def roam(self, node: SimNode | None) -> None:
        if node is not None and node.connected:
            port = self.random.randrange(1024, 65536)
            self.net.ask(SetEndpoints, node=node.id, session=node.session, endpoints=(f"198.51.100.7:{port}",))
            self.plan(self.random.expovariate(1 / 14400), "roam", node.name)

    def interrupt(self, node: SimNode | None) -> None:
        """Connections end: most by a network that changes, some by going silent, some because the machine leaves."""
        if node is None or not node.connected:
            return
        kind = self.random.random()
        if kind < 0.4:
            self.net.cut(node)
            self.plan(self.random.uniform(1, 50), "back", node.name)
        elif kind < 0.8:
            self.net.cut(node, intent=kind < 0.6)
            self.plan(self.random.expovariate(1 / 18000), "back", node.name)
        elif kind < 0.92:
            node.deaf = True
            self.beats[node.name] = 0
            self.plan(self.random.uniform(30, 3600), "back", node.name)
        elif kind < 0.94:
            self.net.ask(RenameNode, node=node.id, name=f"box-{node.id}")
            self.plan(self.random.expovariate(1 / 7200), "interrupt", node.name)
        else:
            self._leave(node)

    def _leave(self, node: SimNode) -> None:
        kind = self.random.random()
        if kind < 0.3:
            self.net.ask(TagNode, node=node.id, tags=("tag:web",))
            self.plan(self.random.expovariate(1 / 7200), "interrupt", node.name)
            return
        self.net.ask(DeleteNode if kind < 0.6 else LogoutNode, node=node.id)
        assert not node.connected
        self.plan(self.random.expovariate(1 / 3600), "join")

    def back(self, node: SimNode | None) -> None:
        if node is None or (node.connected and not node.deaf):
            return
        node.deaf = False
        try:
            self.net.connect(node)
        except AuthenticationError:
            node.session = 0
            self.done["gone meanwhile"] += 1
            with pytest.raises(NotFoundError):
                self.net.coordinator.view.node(node.id)
            return
        self._live(node)

    def restart(self, _: None, *, graceful: bool = True) -> None:
        """Everyone comes back within the grace, so nobody is seen to have been away."""
        self.check()
        before = [node for node in self.net.nodes.values() if node.connected and not node.deaf]
        self.net.restart(graceful=graceful, away_s=10.0)
        for node in self.net.nodes.values():
            node.deaf = False
        for node in self.random.sample(before, len(before)):
            self.plan(self.random.uniform(0, 60), "back", node.name)

    def crash(self, _: None) -> None:
        self.restart(None, graceful=False)

    # What holds at the end.

    def check(self) -> None:
        maps = reference(self.net)
        for node in self.net.nodes.values():
            if node.connected and not node.deaf:
                check_node(self.net, maps, node)
        view = self.net.coordinator.view
        nodes = view.nodes()
        assert len({node.ipv4 for node in nodes}) == len({node.ipv6 for node in nodes}) == len(nodes)
        assert len({node.name for node in nodes}) == len({node.slot for node in nodes}) == len(nodes)
        resting = {row.address for row in self.net.store.tables()["resting_addresses"]}
        assert resting.isdisjoint(node.ipv4 for node in nodes)
        assert view.counters.digest_mismatches == 0
        assert self.net.coordinator._core.state.tables == self.net.store.replayed().tables

    def outcome(self) -> str:
        self.trace.update(msgspec.msgpack.encode([len(self.net.store.log), *map(list, sorted(self.done.items()))]))
        for node in self.net.coordinator.view.nodes():
            self.trace.update(msgspec.msgpack.encode(node))
        return self.trace.hexdigest()


@pytest.mark.slow
def test_a_day_of_a_thousand_nodes() -> None:
    day = VirtualDay(seed=20260101, nodes=1000, users=100)
    day.run()
    day.check()
    assert day.done["join"] >= 1000
    assert min(day.done[what] for what in ("beat", "roam", "interrupt", "back", "restart", "crash")) > 0


def test_the_same_seed_has_the_same_outcome() -> None:
    outcomes = []
    for seed in (7, 7, 8):
        day = VirtualDay(seed=seed, nodes=40, users=5, hours=6.0)
        day.run()
        day.check()
        outcomes.append(day.outcome())
    assert outcomes[0] == outcomes[1] != outcomes[2]

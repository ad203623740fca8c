"""Coming back: across cuts, restarts and crashes at any moment, a node ends with its fresh map, however it was told."""

import random

import hypothesis.strategies as st
from hypothesis import given, settings

from ghostwire.coordinator import Settings
from ghostwire.coordinator.commands import ApplyPolicy, CreateApiToken, DeleteNode, RenameNode, SetEndpoints, TagNode
from ghostwire.testing.simnet import SimNet, SimNode
from tests.reference.netmap_check import check_all

POLICY = """{
    "groups": {"group:dev": ["alice@"]},
    "tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"]},
    "acls": [
        {"action": "accept", "src": ["group:dev", "tag:web"], "dst": ["tag:db:5432", "tag:web:80"]},
        {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}
    ]
}"""
OWNERS: tuple[dict[str, object], ...] = ({"user": "alice"}, {"user": "bob"}, {"user": None, "tags": ("tag:web",)})
ACTS = [
    "join",
    "roam",
    "rename",
    "tag",
    "delete",
    "cut",
    "connect",
    "connect_all",
    "flush",
    "crash",
    "stop",
    "fail_over",
]


class Story:
    def __init__(self, seed: int, window: int, coalesce_s: float) -> None:
        self.net = SimNet(Settings(window=window, coalesce_s=coalesce_s), seed=seed)
        self.random = random.Random(seed)
        self.net.ask(ApplyPolicy, text=POLICY, author="test")
        self.count = 0
        for _ in range(4):
            self.join()

    def some(self) -> SimNode:
        return self.random.choice([node for node in self.net.nodes.values() if self._stands(node)] or [self.join()])

    def _stands(self, node: SimNode) -> bool:
        return any(found.node_key == node.key for found in self.net.coordinator.view.nodes())

    def join(self) -> SimNode:
        self.count += 1
        return self.net.join(f"n{self.count}", self.net.key(**self.random.choice(OWNERS)))

    def roam(self) -> None:
        node = self.some()
        if node.connected:
            endpoints = (f"192.0.2.1:{self.random.randrange(1, 5)}",)
            self.net.ask(SetEndpoints, node=node.id, session=node.session, endpoints=endpoints)

    def rename(self) -> None:
        self.count += 1
        self.net.ask(RenameNode, node=self.some().id, name=f"r{self.count}")

    def tag(self) -> None:
        self.net.ask(TagNode, node=self.some().id, tags=(self.random.choice(["tag:web", "tag:db"]),))

    def delete(self) -> None:
        self.net.ask(DeleteNode, node=self.some().id)

    def cut(self) -> None:
        node = self.some()
        if node.connected:
            self.net.cut(node, intent=self.random.random() < 0.5)

    def connect(self) -> None:
        self.net.connect(self.some())

    def connect_all(self) -> None:
        for node in self.net.nodes.values():
            if self._stands(node):
                self.net.connect(node)

    def flush(self) -> None:
        self.net.advance(5.0)

    def crash(self) -> None:
        self.net.restart(graceful=False, away_s=self.random.choice([0.0, 10.0]))

    def fail_over(self) -> None:
        """The coordinator dies; connections do not, and the next one is told of them."""
        live = [(node, node.session) for node in self.net.nodes.values() if node.connected]
        self.crash()
        for node, session in live:
            if self._stands(node):
                self.net.adopt(node, session)

    def stop(self) -> None:
        self.net.restart(away_s=self.random.choice([0.0, 10.0]))


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 2**32),
    st.sampled_from([3, 64]),
    st.sampled_from([0.0, 0.2]),
    st.lists(st.sampled_from(ACTS), max_size=40),
)
def test_whoever_comes_back_ends_with_a_fresh_map(seed: int, window: int, coalesce_s: float, acts: list[str]) -> None:
    story = Story(seed, window, coalesce_s)
    for act in acts:
        getattr(story, act)()
        check_all(story.net)
    story.connect_all()
    story.net.advance(2.0)
    assert not story.net.coordinator.view.pacer.waiting
    check_all(story.net)
    for node in story.net.nodes.values():
        if node.connected:
            story.net.beat(node)
    assert story.net.coordinator.view.counters.digest_mismatches == 0


def test_what_no_map_tells_of_keeps_maps_unchanged_over_a_crash() -> None:
    story = Story(1, window=64, coalesce_s=0.0)
    story.flush()
    for node in story.net.nodes.values():
        node.token = None
    story.connect_all()  # with fresh tokens, each of which is a durable change
    story.net.ask(CreateApiToken, name="ops", scope="read", granted="admin", life_s=3600.0)
    assert story.net.store.mark is not None
    assert story.net.store.mark.seq < story.net.coordinator.view.position().seq
    story.crash()
    for node in story.net.nodes.values():
        node.heard.clear()
    story.connect_all()
    check_all(story.net)
    assert {node.heard[0] for node in story.net.nodes.values()} == {"unchanged"}


def test_a_short_window_over_many_runs_never_calls_a_wrong_map_unchanged() -> None:
    """Runs that end with changes still unflushed, and windows that forget within a run or across several."""
    for seed in range(200):
        story = Story(seed, window=3, coalesce_s=0.2 * (seed % 2))
        for act in random.Random(seed).choices(ACTS, k=20):
            getattr(story, act)()
            check_all(story.net)
        story.connect_all()
        story.net.advance(2.0)
        check_all(story.net)

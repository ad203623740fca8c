"""Replicas under random histories: what they answer is what the coordinator answers, however they came to know it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, multiple, precondition, rule

from ghostwire._native import pulse
from ghostwire.coordinator import Coordinator, Settings
from ghostwire.coordinator.map_pages import full_frames
from ghostwire.coordinator.map_watch import Checked, MapWatch
from ghostwire.coordinator.replica import Batch, Replica, decode_batch, encode_batch, feed
from ghostwire.errors import NotFoundError
from ghostwire.model.node import Node
from ghostwire.server.session.frames import frame
from ghostwire.testing.simnet import SimNet
from ghostwire.wire import codec
from ghostwire.wire.messages import Heartbeat, HeartbeatAck, MapFull
from ghostwire.wire.netmap import NetMap
from tests.property.test_coordinator_maps import POLICIES, TAGS, USERS, Histories, machines

UTC = 1_700_000_000_000_000_000


def carried(batch: Batch) -> Batch:
    return decode_batch(encode_batch(batch))


class Follower:
    """A replica, and what it has not been told yet: a snapshot that is under way, and batches behind it."""

    def __init__(self, snapshot: Iterator[Batch]) -> None:
        self.replica = Replica()
        self.snapshot: Iterator[Batch] | None = snapshot
        self.behind: list[Batch] = []

    @property
    def is_current(self) -> bool:
        return self.snapshot is None and not self.behind

    def step(self) -> None:
        """Take one batch."""
        if self.snapshot is not None:
            batch = next(self.snapshot, None)
            if batch is not None:
                self.replica.apply(carried(batch))
                return
            self.snapshot = None
        if self.behind:
            self.replica.apply(carried(self.behind.pop(0)))


def compare_usual(replica: Replica, node: Node, heard: Heartbeat) -> None:
    """Where a heartbeat is answered at a glance, the general way finds that there is nothing to say."""
    if heard.position is None:
        return
    wrong: list[int] = []
    general, quick = (MapWatch(replica.maps, 2, lambda: wrong.append(node.id)) for _ in range(2))
    usual, message = pulse.Pulse(), codec.encode(heard)
    for _ in range(3):  # the first may keep a digest, the second may find what the first was behind with
        quick.teach(usual)
        found = usual.answer(message, node.id, node.slot, UTC)
        checked = general.check(node.id, node.slot, heard.position, heard.digest, 0.0)
        if found is None:
            assert quick.check(node.id, node.slot, heard.position, heard.digest, 0.0) == checked
        else:
            assert found == frame(codec.encode(HeartbeatAck(utc=UTC)))
            assert (checked, wrong) == (Checked(), [])
        assert general._late == quick._late


class ReplicatedHistories(Histories):
    """One follower hears everything, others begin at any time and may be slow."""

    def __init__(self) -> None:
        super().__init__()
        self.followed: Coordinator | None = None
        self.followers: list[Follower] = []

    @initialize(
        target=machines,
        seed=st.integers(0, 2**32 - 1),
        window=st.sampled_from([4, 64]),
        coalesce_s=st.sampled_from([0.0, 0.2]),
        text=st.sampled_from(POLICIES),
        small=st.sampled_from([0, feed.SMALL]),
    )
    def begin(self, seed: int, window: int, coalesce_s: float, text: str, small: int) -> Any:
        """Begin with some nodes: a history that has to make them first seldom gets far.

        With `small` 0, who saw a change is told by whom they see, as in a network of many scattered nodes.
        """
        self.patch = mock.patch.object(feed, "SMALL", small)
        self.patch.start()
        self.net = SimNet(Settings(window=window, ephemeral_idle_s=300.0, coalesce_s=coalesce_s), seed=seed)
        self.serial = 0
        owners = [{"user": user} for user in USERS] + [{"user": None, "tags": (tag,)} for tag in TAGS]
        self.apply_policy(text)
        return multiple(*(self.join(owner, False, "srv", "", True) for owner in owners * 2))

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.stop()

    @rule()
    def begin_another(self) -> None:
        if self.followed is self.net.coordinator:
            self.tell()
            self.followers.append(Follower(self.feed.snapshot()))

    @precondition(lambda self: self.followers)
    @rule(which=st.integers(0, 5), batches=st.integers(1, 4))
    def follow(self, which: int, batches: int) -> None:
        for _ in range(batches):
            self.followers[which % len(self.followers)].step()

    def tell(self) -> None:
        batch = self.feed.take()
        if batch is not None:
            for follower in self.followers:
                follower.behind.append(batch)

    def every_map_is_fresh(self) -> None:
        """The histories' own tests say so."""

    def the_affected_are_all_whose_map_changed(self) -> None:
        """As above."""

    def state_is_tables_and_log(self) -> None:
        """As above."""

    @invariant()
    def replicas_answer_like_the_coordinator(self) -> None:
        if not hasattr(self, "net"):
            return
        if self.followed is not self.net.coordinator:
            self.followed = self.net.coordinator
            self.feed = self.followed.feed()
            self.followers = [Follower(self.feed.snapshot())]
        self.tell()
        while not self.followers[0].is_current:
            self.followers[0].step()
        for follower in self.followers:
            if follower.is_current:
                self.compare(follower.replica)

    def compare(self, replica: Replica) -> None:
        core = self.net.coordinator._core
        mapper = core.mapper
        present = [node for node in core.state.nodes.values() if not node.expired]
        assert replica.position == mapper.position
        assert sorted(replica.slots()) == sorted(node.slot for node in present)
        for node in present:
            known = replica.by_key(node.node_key)
            assert known is not None
            assert known == (node.id, node.slot, node.user_id or 0, node.key_expiry)
            assert replica.maps.parts(node.slot) == mapper.parts(node)
            assert replica.digest(node.slot) == mapper.digest(node)
            changed = [window.last_change(node.slot) for window in (replica.maps.window, core.window)]
            assert changed[0] == changed[1] or max(changed) < core.window.oldest
            self.compare_questions(replica, node, present)
        for machine in self.net.nodes.values():
            held = machine.netmap
            node = core.state.node_by_key.get(machine.key)
            if node is not None and not node.expired and held.position is not None:
                # Not by `mapper.resume`, which would have the pacer forget what waits for the node.
                due = mapper.maps.resume(node.slot, held.position)
                whole = full_frames(mapper.maps.plan(node.slot), mapper.fragments.arena)
                frames = list(replica.resume(node.slot, held.position))
                if due is not None and frames != [due.frame]:
                    # What was forgotten before the replica began, only the coordinator knows to concern others.
                    assert due.how == "unchanged"
                    assert mapper.maps.window.after(held.position) is None
                    due = None
                assert frames == (list(whole) if due is None else [due.frame])
            if node is not None and not node.expired:
                compare_usual(replica, node, Heartbeat(position=held.position, digest=held.digest))
        if present:
            fresh = NetMap()
            for frame in replica.full(present[0].slot):
                page = codec.decode_from_server(frame)
                assert isinstance(page, MapFull)
                fresh.apply_page(page)
            assert fresh.digest == mapper.digest(present[0])

    def compare_questions(self, replica: Replica, node: Node, present: list[Node]) -> None:
        view = self.net.coordinator.view
        assert replica.peers(node.slot) == view.peers(node.id)
        for other in present[:3]:
            for question in (
                {"node": other.id},
                {"name": f"{other.name}.{view.domain}"},
                {"address": other.ipv4},
                {"address": other.ipv6},
            ):
                try:
                    expected = view.peers(node.id, **question)  # type: ignore[arg-type]
                except NotFoundError:
                    with pytest.raises(NotFoundError, match="there is no such peer"):
                        replica.peers(node.slot, **question)  # type: ignore[arg-type]
                else:
                    assert replica.peers(node.slot, **question) == expected  # type: ignore[arg-type]


ReplicatedHistories.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestReplicatedHistories = ReplicatedHistories.TestCase

"""The link between leader and worker: whatever happens to the stream, each batch arrives once and in order."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.errors import WireError
from ghostwire.server.workers.link import Frames, Greeting, Link

ACTS = st.sampled_from(["say_a", "say_b", "carry_a", "carry_b", "confirm_a", "confirm_b", "cut", "restart_a"])


class Side:
    def __init__(self, own: bytes) -> None:
        self.link = Link(own)
        self.frames = Frames()
        self.wire = b""
        self.heard: list[bytes] = []
        self.greeted = False


class Pair:
    """Two ends and the bytes between them, which arrive in pieces and are lost with the stream."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.a, self.b = Side(self.random.randbytes(16)), Side(self.random.randbytes(16))
        self.said: dict[str, list[bytes]] = {"a": [], "b": []}
        self.count = 0
        self.connect()

    def connect(self) -> None:
        for side in (self.a, self.b):
            side.frames, side.greeted = Frames(), False
            side.wire = side.link.greeting()

    def say(self, side: Side, name: str) -> None:
        self.count += 1
        payload = str(self.count).encode()
        self.said[name].append(payload)
        data = side.link.send(payload)
        if side.greeted:
            side.wire += data

    def carry(self, source: Side, target: Side, limit: int | None = None) -> None:
        size = len(source.wire) if limit is None else self.random.randint(0, limit)
        data, source.wire = source.wire[:size], source.wire[size:]
        for body in target.frames.feed(data):
            if target.greeted:
                payload = target.link.take(body)
                if payload is not None:
                    target.heard.append(payload)
            else:
                known, again = target.link.greeted(msgspec.msgpack.decode(body, type=Greeting))
                target.greeted = True
                target.wire += b"".join(again)
                if not known:
                    target.heard.clear()
                    self.said["a" if target is self.a else "b"].clear()

    def act(self, name: str) -> None:
        kind, _, which = name.partition("_")
        side, other = (self.a, self.b) if which == "a" else (self.b, self.a)
        if kind == "say":
            self.say(side, which)
        elif kind == "carry":
            self.carry(side, other, 40)
        elif kind == "confirm":
            if side.greeted:
                side.wire += side.link.confirm()
        elif kind == "cut":
            self.connect()
        else:
            self.a = Side(self.random.randbytes(16))
            self.said["a"].clear()
            self.connect()

    def settle(self) -> None:
        for _ in range(8):
            self.carry(self.a, self.b)
            self.carry(self.b, self.a)
            for side in (self.a, self.b):
                if side.greeted:
                    side.wire += side.link.confirm()


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32), st.lists(ACTS, max_size=80))
def test_each_batch_arrives_once_and_in_order(seed: int, acts: list[str]) -> None:
    pair = Pair(seed)
    for act in acts:
        pair.act(act)
    pair.settle()
    assert pair.b.heard == pair.said["a"]
    assert pair.a.heard == pair.said["b"]
    assert (pair.a.link.lag, pair.b.link.lag, pair.a.link.kept_bytes, pair.b.link.kept_bytes) == (0, 0, 0, 0)


def test_a_gap_is_noticed() -> None:
    one, two = Link(b"1"), Link(b"2")
    first, second = one.send(b"x"), one.send(b"y")
    assert two.take(first[4:]) == b"x"
    assert two.take(first[4:]) is None
    two.take(second[4:])
    one.send(b"lost")
    with pytest.raises(WireError, match="batch 4 came after batch 2"):
        two.take(one.send(b"z")[4:])


def test_what_was_never_sent_cannot_be_confirmed() -> None:
    one = Link(b"1")
    with pytest.raises(WireError, match="never sent"):
        one.take((0).to_bytes(8, "big") + (5).to_bytes(8, "big"))
    with pytest.raises(WireError, match="cut short"):
        one.take(b"abc")


def test_a_frame_without_end_is_refused() -> None:
    with pytest.raises(WireError, match="at most 100"):
        Frames(100).feed((101).to_bytes(4, "big"))


@given(st.lists(st.binary(max_size=300), max_size=8), st.randoms(use_true_random=False))
def test_frames_are_the_same_in_whatever_pieces_they_come(bodies: list[bytes], draw: random.Random) -> None:
    wire = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    frames, found, at = Frames(), [], 0
    while at < len(wire):
        past = at + draw.choice((1, 3, 50, 1000))
        found += frames.feed(wire[at:past])
        at = past
    assert found == bodies

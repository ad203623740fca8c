"""Coordinators over networks of any size, made from tables at once, with a store that says yes to everything."""

import random
from collections.abc import Callable
from time import perf_counter
from typing import Any

from ghostwire.coordinator import Coordinator, Settings, Snapshot
from ghostwire.coordinator.commands import Answer, Command, Committed, OpenSession, SlotRested
from ghostwire.coordinator.effects import BuildPolicy, Persist, Refuse, Reply, RestSlot
from ghostwire.coordinator.policy_building import build_policy
from ghostwire.model.node import Node
from ghostwire.model.policy import PolicyVersion
from ghostwire.model.user import User
from ghostwire.testing.clock import ManualClock

EVERYONE = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
"""Everyone sees everyone: the widest map that there is."""


def address(number: int) -> str:
    """A node's address by its number, in 100.64.0.0/10, which has room for four million."""
    return f"100.{65 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class Driven:
    """A coordinator over these tables, whose effects are carried out at once. The store says yes to everything.

    `turns` collects how long it was busy with each thing that was handed to it, in seconds; policies are built between
    them, as on another thread.
    """

    def __init__(self, tables: dict[str, tuple[Any, ...]], draw: random.Random) -> None:
        self.random = draw
        self.clock = ManualClock()
        self.turns: list[float] = []
        snapshot = Snapshot(log_id=bytes(16), seq=1, boot=bytes(16), mac_key=bytes(32), tables=tables)
        self.coordinator = Coordinator(Settings(), snapshot, self.random.randbytes, self.clock())
        self._op = 0
        self._seq = 1

    def ask(self, make: type[Command], **fields: Any) -> Any:
        """Give a command, carry out what comes of it, and return what it is answered."""
        self._op += 1
        self._hand_in(make(op=self._op, actor="bench", **fields))
        return self.drain()

    def drain(self) -> Any:
        answer: Any = None
        while (effect := self.coordinator.poll_effect()) is not None:
            if isinstance(effect, Persist):
                self._seq += 1
                self._hand_in(Committed(persist=effect.persist, seq=self._seq, ts=0))
            elif isinstance(effect, RestSlot):
                self._hand_in(SlotRested(slot=effect.slot))
            elif isinstance(effect, BuildPolicy):
                self._hand_in(build_policy(effect))
            elif isinstance(effect, Reply):
                answer = effect.value
            elif isinstance(effect, Refuse):
                raise effect.error
        return answer

    def wait(self, seconds: float) -> None:
        """Let time pass; what is due is done at its end."""
        self.clock.advance(seconds)
        self.coordinator.handle_timeout(self.clock())
        self.drain()

    def _hand_in(self, command: Command | Answer) -> None:
        start = perf_counter()
        self.coordinator.handle(command, self.clock())
        self.turns.append(perf_counter() - start)


class Network(Driven):
    """`nodes` nodes of users with `each` of them, or each with its `tag`; without a policy each user sees their own."""

    def __init__(
        self, nodes: int, each: int = 10, policy: str | None = None, tag: Callable[[int], str] | None = None
    ) -> None:
        draw = random.Random(nodes)
        self.keys = [draw.randbytes(31) + b"\x01" for _ in range(nodes)]
        users = () if tag else tuple(User(id=1 + n, name=f"user{n}") for n in range(max(nodes // each, 1)))
        tables: dict[str, tuple[Any, ...]] = {
            "users": users,
            "nodes": tuple(
                self._node(number, tags=(tag(number),)) if tag else self._node(number, user_id=1 + number // each)
                for number in range(nodes)
            ),
        }
        if policy is not None:
            tables["policies"] = (PolicyVersion(number=1, text=policy, author="bench", at=1),)
        super().__init__(tables, draw)

    def _node(self, number: int, **owner: Any) -> Node:
        return Node(
            id=1 + number,
            slot=number,
            name=f"node-{number}",
            node_key=self.keys[number],
            machine_key=self.keys[number],
            ipv4=address(number),
            ipv6=f"fd7a:115c:a1e0:1::{1 + number >> 16:x}:{1 + number & 0xFFFF:x}",
            **owner,
        )

    def connect(self, number: int) -> Any:
        """Open the session of a node by its number."""
        return self.ask(OpenSession, node_key=self.keys[number])

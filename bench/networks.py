"""Coordinators over networks of any size, made from tables at once, with a store that says yes to everything."""

import random
from collections.abc import Callable
from typing import Any

from ghostwire.coordinator import Coordinator, Settings, Snapshot
from ghostwire.coordinator.commands import Command, Committed, OpenSession, SlotRested
from ghostwire.coordinator.effects import Persist, Refuse, Reply, RestSlot
from ghostwire.model.node import Node
from ghostwire.model.policy import PolicyVersion
from ghostwire.model.user import User
from ghostwire.testing.clock import ManualClock

EVERYONE = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
"""Everyone sees everyone: the widest map that there is."""


def address(number: int) -> str:
    """A node's address by its number, in 100.64.0.0/10, which has room for four million."""
    return f"100.{65 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class Network:
    """`nodes` nodes of users with `each` of them, or each with its `tag`; without a policy each user sees their own."""

    def __init__(
        self, nodes: int, each: int = 10, policy: str | None = None, tag: Callable[[int], str] | None = None
    ) -> None:
        self.random = random.Random(nodes)
        self.clock = ManualClock()
        self.keys = [self.random.randbytes(31) + b"\x01" for _ in range(nodes)]
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
        snapshot = Snapshot(log_id=bytes(16), seq=1, boot=bytes(16), mac_key=bytes(32), tables=tables)
        self.coordinator = Coordinator(Settings(), snapshot, self.random.randbytes, self.clock())
        self._op = 0
        self._seq = 1

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

    def ask(self, make: type[Command], **fields: Any) -> Any:
        """Give a command, carry out what comes of it, and return what it is answered."""
        self._op += 1
        self.coordinator.handle(make(op=self._op, actor="bench", **fields), self.clock())
        return self.drain()

    def drain(self) -> Any:
        answer: Any = None
        while (effect := self.coordinator.poll_effect()) is not None:
            if isinstance(effect, Persist):
                self._seq += 1
                self.coordinator.handle(Committed(persist=effect.persist, seq=self._seq, ts=0), self.clock())
            elif isinstance(effect, RestSlot):
                self.coordinator.handle(SlotRested(slot=effect.slot), self.clock())
            elif isinstance(effect, Reply):
                answer = effect.value
            elif isinstance(effect, Refuse):
                raise effect.error
        return answer

    def connect(self, number: int) -> Any:
        """Open the session of a node by its number."""
        return self.ask(OpenSession, node_key=self.keys[number])

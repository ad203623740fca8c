"""How long the event loop is held when a policy comes into force: 5,000 nodes under 10,000 rules, 500 connected.

*rule*: one rule gets another port. *group*: there is one more group and a rule of it, so all is compiled anew, and few
maps change. *reversed*: the rules stand the other way round, and so do those in nearly every filter.
"""

from __future__ import annotations

import random
from time import perf_counter
from typing import Any

from bench import policies
from bench.networks import Driven
from ghostwire.coordinator.commands import ApplyPolicy, OpenSession
from ghostwire.model.node import Node
from ghostwire.model.policy import PolicyVersion
from ghostwire.model.user import User
from ghostwire.policy import NodeFacts

NODES, RULES, CONNECTED = 5_000, 10_000, 500


def _key(slot: int) -> bytes:
    return slot.to_bytes(31, "big") + b"\x01"


def _node(known: NodeFacts) -> Node:
    key, (ipv4, ipv6) = _key(known.id), known.addresses
    owner: dict[str, Any] = {"user_id": known.user, "tags": known.tags}
    name = f"node-{known.id}"
    return Node(id=1 + known.id, slot=known.id, name=name, node_key=key, machine_key=key, ipv4=ipv4, ipv6=ipv6, **owner)


def _edited(kind: str, document: dict[str, Any]) -> dict[str, Any]:
    rules, groups = list(document["acls"]), dict(document["groups"])
    if kind == "rule":
        place = next(place for place, rule in enumerate(rules) if all("@" in name for name in rule["src"]))
        rules[place] = rules[place] | {"dst": [f"{name.rpartition(':')[0]}:1234" for name in rules[place]["dst"]]}
    elif kind == "group":
        groups["group:new"] = groups["group:g0"][:2]
        rules.append({"action": "accept", "src": ["group:new"], "dst": ["group:new:1234"]})
    else:
        rules.reverse()
    return document | {"acls": rules, "groups": groups}


class Apply:
    """The longest time that the loop is held, in milliseconds, and how much of the whole that is."""

    params = ("rule", "group", "reversed")
    timeout = 300

    def setup(self, kind: str) -> None:
        network = policies.identity(RULES, NODES)
        tables = {
            "users": tuple(User(id=user.id, name=user.name, email=user.email) for user in network.users),
            "nodes": tuple(map(_node, network.nodes)),
            "policies": (PolicyVersion(number=1, text=network.text, author="bench", at=1),),
        }
        self.text = policies.Network(_edited(kind, network.document or {}), [], []).text
        self.driven = Driven(tables, random.Random(NODES))
        for slot in range(CONNECTED):
            self.driven.ask(OpenSession, node_key=_key(slot))
        for _ in range(2):
            self.driven.wait(5.0)

    def track_longest_ms(self, kind: str) -> float:
        return self._apply()[0] * 1e3

    def track_share(self, kind: str) -> float:
        longest, whole = self._apply()
        return longest / whole

    def _apply(self) -> tuple[float, float]:
        self.driven.turns.clear()
        start = perf_counter()
        self.driven.ask(ApplyPolicy, text=self.text, author="bench")
        return max(self.driven.turns), perf_counter() - start

    track_longest_ms.unit = "ms"  # type: ignore[attr-defined]

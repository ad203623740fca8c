"""Plain counters of what the coordinator does, and the hook through which a layer above may watch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from ghostwire.model.node import Node


class Observer(Protocol):
    """Someone who wants to know as it happens. Methods must be quick and raise nothing."""

    def netmap_built(self, peers: int, pages: int) -> None:
        """A whole map was built."""

    def delta_encoded(self, viewers: int, size: int) -> None:
        """A delta was encoded once, for so many viewers, in so many bytes."""

    def presence(self, node: Node, state: Literal["online", "grace", "offline"]) -> None:
        """Peers are shown a node as there or away now; in `grace` they see no change yet."""


class Unobserved:
    """The observer that nobody is."""

    def netmap_built(self, peers: int, pages: int) -> None:
        """Take no notice."""

    def delta_encoded(self, viewers: int, size: int) -> None:
        """Take no notice."""

    def presence(self, node: Node, state: Literal["online", "grace", "offline"]) -> None:
        """Take no notice."""


@dataclass(slots=True)
class Counters:
    """Counts since the start. Those by result are keyed by a short word."""

    registrations: int = 0
    registrations_refused: int = 0
    heartbeats: dict[str, int] = field(default_factory=lambda: {"ok": 0, "stale": 0, "mismatch": 0, "missed": 0})
    session_checks: dict[str, int] = field(default_factory=lambda: {"ok": 0, "minted": 0, "refused": 0})
    maps: dict[str, int] = field(default_factory=lambda: {"unchanged": 0, "delta": 0, "full": 0})
    digest_mismatches: int = 0
    persists: int = 0
    conflicts: int = 0
    failures: int = 0
    observer: Observer = field(default_factory=Unobserved)

"""How many connections may stand, in all and before anyone knows whose they are."""

from __future__ import annotations

from collections import Counter

from ghostwire.server.options import Limits


class Admission:
    """Counts connections. One that is admitted is `known` once and `gone` once.

    An HTTP connection is known when its first request is complete, a node's when its session stands.
    """

    __slots__ = ("_by_address", "_limits", "open", "refused", "unknown")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()
        self.open = 0
        self.unknown = 0
        self.refused = 0

    def admit(self, address: str, *, shared: bool = False) -> bool:
        """Whether one more connection from there may stand; if so it counts as unknown.

        `shared` addresses (trusted proxies) stand for many clients: only the bounds on all of them hold.
        """
        if (
            self.open >= self._limits.connections
            or self.unknown >= self._limits.handshakes
            or (not shared and self._by_address.get(address, 0) >= self._limits.handshakes_per_address)
        ):
            self.refused += 1
            return False
        self.open += 1
        self.unknown += 1
        self._by_address[address] += 1
        return True

    def known(self, address: str) -> None:
        """It is known now who or what this connection is for."""
        self.unknown -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def gone(self) -> None:
        """A connection has ended."""
        self.open -= 1

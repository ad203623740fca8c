"""How many connections may stand: in all, before anyone knows whose they are, and for HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ghostwire.server.listen.failures import Failures
from ghostwire.server.listen.source import source_of
from ghostwire.server.options import Limits

SPARE_FILES: Final = 256
"""Descriptors that connections leave to the store, the doors, and those who are turned away."""


def within(limits: Limits, files: int, workers: int = 0) -> Limits:
    """The bounds of a process that may have so many descriptors, as each of its kind.

    An HTTP connection takes two of a worker's, and one of the process that has the store: there all `workers` together
    leave half to the store. Nodes have as many places as HTTP at least, however few there are.
    """
    http = min(limits.http_connections, max(1, files // (2 * max(2, workers))))
    room = max(files // 2, files - SPARE_FILES - http)
    return replace(limits, connections=min(limits.connections, room), http_connections=http)


class Admission:
    """Counts connections. One that is admitted is `known` once and `gone` once.

    An HTTP connection is known when its first request is complete, a node's when its session stands. HTTP, which a
    stranger may keep open, has places of its own: it leaves nodes theirs.
    """

    __slots__ = ("_by_address", "_failures", "_http_by_address", "_limits", "http", "open", "refused", "unknown")

    def __init__(self, limits: Limits, mono: Callable[[], float]) -> None:
        self._limits = limits
        self._failures = Failures(limits.failures_per_s, limits.failures_burst, mono)
        self._by_address = _Sources()
        self._http_by_address = _Sources()
        self.open = 0
        self.unknown = 0
        self.http = 0
        self.refused = 0

    def admit(self, address: str, *, shared: bool = False) -> bool:
        """Whether one more connection from there may stand; if so it counts as unknown.

        `shared` addresses (trusted proxies) stand for many clients: only the bounds on all of them hold.
        """
        if (
            self.open >= self._limits.connections
            or self.unknown >= self._limits.handshakes
            or (not shared and self._by_address.count(address) >= self._limits.handshakes_per_address)
        ):
            self.refused += 1
            return False
        self.open += 1
        self.unknown += 1
        self._by_address.add(address)
        return True

    def bars(self, address: str) -> bool:
        """Whether connections from there are turned away, since too many of them failed; if so this one is."""
        barred = self._failures.too_many(address)
        self.refused += barred
        return barred

    def failed(self, address: str) -> None:
        """A connection from there was no good: what it sent was no request, no message, or no proof."""
        self._failures.count(address)

    def known(self, address: str) -> None:
        """It is known now who or what this connection is for."""
        self.unknown -= 1
        self._by_address.remove(address)

    def admit_http(self, address: str, *, shared: bool = False) -> bool:
        """Whether one that is admitted may stay for HTTP; if so it ends by `gone_http`. `shared` as in `admit`."""
        bounds = self._limits
        if self.http >= bounds.http_connections or (
            not shared and self._http_by_address.count(address) >= bounds.http_connections_per_address
        ):
            self.refused += 1
            return False
        self.http += 1
        self._http_by_address.add(address)
        return True

    def gone_http(self, address: str) -> None:
        """An HTTP connection has ended."""
        self.http -= 1
        self._http_by_address.remove(address)
        self.gone()

    def gone(self) -> None:
        """A connection has ended."""
        self.open -= 1


class _Sources:
    """How many connections there are from where."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[str | bytes] = Counter()

    def count(self, address: str) -> int:
        return self._counts.get(source_of(address), 0)

    def add(self, address: str) -> None:
        self._counts[source_of(address)] += 1

    def remove(self, address: str) -> None:
        source = source_of(address)
        self._counts[source] -= 1
        if not self._counts[source]:
            del self._counts[source]

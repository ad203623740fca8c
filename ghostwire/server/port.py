"""The public port as one process serves it: TLS, bounds, the router, node sessions, and HTTP handed on."""

from __future__ import annotations

import asyncio
import operator
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Final

import msgspec

from ghostwire.server.clock import Clock
from ghostwire.server.identity import Naming, open_gate
from ghostwire.server.listen import public, tls
from ghostwire.server.listen.acceptor import Accepted, Acceptor
from ghostwire.server.listen.admission import Admission, within
from ghostwire.server.listen.hosts import Doors
from ghostwire.server.listen.router import MakeHttp, Router, Routes
from ghostwire.server.listen.turnaway import Turnaway
from ghostwire.server.observer import Observer
from ghostwire.server.options import Limits, ServeOptions
from ghostwire.server.session.coordination import Coordination
from ghostwire.server.session.shell import SessionShell

MOST_SESSIONS: Final = 19_000
"""Of one process: on many systems it may have 20,000 descriptors."""


class PortCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one process has counted at its port, and what stands or waits there now.

    `maps` and `digest_mismatches` are of a worker's own replica.
    """

    sessions: int = 0
    connections: int = 0
    opened: int = 0
    queries: int = 0
    resyncs: int = 0
    refused: dict[str, int] = {}
    postponed: int = 0
    opened_per_s: float = 0.0
    connections_refused: int = 0
    sent: int = 0
    skipped: int = 0
    handshakes: int = 0
    waiting: int = 0
    fanout: int = 0
    maps: dict[str, int] = {}
    digest_mismatches: int = 0

    @classmethod
    def total(cls, counts: Iterable[PortCounts]) -> PortCounts:
        """All of them together."""
        return reduce(operator.add, counts, cls())

    def __add__(self, other: PortCounts) -> PortCounts:
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__struct_fields__
            if name not in ("refused", "maps")
        }
        refused, maps = Counter(self.refused) + Counter(other.refused), Counter(self.maps) + Counter(other.maps)
        return PortCounts(**sums, refused=dict(refused), maps=dict(maps))


@dataclass(frozen=True, slots=True)
class World:
    """What a process is told of the world, and tells it: the clock, random bytes, who hears of events."""

    clock: Clock
    entropy: Callable[[int], bytes]
    observer: Observer


class PublicPort:
    """One process's share of the public port. `http` makes the protocol of a connection that opens no session."""

    def __init__(
        self,
        options: ServeOptions,
        naming: Naming,
        identity: tls.Identity | None,
        coordination: Coordination,
        http: MakeHttp,
        world: World,
    ) -> None:
        limits = options.limits
        self._limits, self._world = limits, world
        self._context = identity.context if identity is not None else None
        self._coordination = coordination
        gate = open_gate(options, naming, identity, world.entropy)
        self.sessions = SessionShell(coordination, gate, world.entropy, limits, world.observer)
        self.admission = Admission(self._within_files(limits, options.workers), lambda: world.clock().mono)
        self.doors = Doors(naming.answers_to(), options.trusted_proxies)
        self._routes = Routes(limits, self.admission, self.doors, http, self.sessions.connect)
        self._acceptors: list[Acceptor] = []
        self._turnaway = Turnaway(self._context is not None, asyncio.get_running_loop())
        self.admits = True
        """Whether connections are taken; while not, those that come are turned away."""

    def _within_files(self, limits: Limits, workers: int) -> Limits:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        bounds = limits if files == resource.RLIM_INFINITY else within(limits, files, workers)
        if bounds != limits:
            few = {"connections": bounds.connections, "http_connections": bounds.http_connections}
            self._world.observer.event("warning", "listen.few_files", files=files, **few)
        return bounds

    def listen(self, listening: socket.socket) -> None:
        """Take connections on this socket too, which is the port's from now on."""
        acceptor = Acceptor(listening, self._make, self._world.observer, self._context, self._limits.head_s)
        self._acceptors.append(acceptor)

    async def close(self) -> None:
        """Take no more connections; those that stand go on."""
        acceptors, self._acceptors = self._acceptors, []
        for acceptor in acceptors:
            await acceptor.close()

    def counts(self) -> PortCounts:
        """What is counted here, now."""
        counters, turnstile, fanout = self.sessions.counters, self.sessions.turnstile, self._coordination.fanout
        return PortCounts(
            sessions=len(fanout),
            connections=self.admission.open,
            opened=counters.opened,
            queries=counters.queries,
            resyncs=counters.resyncs,
            refused=dict(counters.refused),
            postponed=turnstile.refused,
            opened_per_s=turnstile.per_s,
            connections_refused=self.admission.refused,
            sent=fanout.sent,
            skipped=fanout.skipped,
            handshakes=self.admission.unknown,
            waiting=turnstile.waiting,
            fanout=fanout.depth,
        )

    def _make(self, connection: socket.socket) -> Accepted | None:
        address = public.peer_address(connection)
        shared = self.doors.trusts(address)
        if not shared and self.admission.bars(address):
            self._turnaway.dismiss(connection)
            return None
        full = len(self._coordination.fanout) >= MOST_SESSIONS
        if full or not self.admits or not self.admission.admit(address, shared=shared):
            return self._turnaway.meet(connection)
        secure, loop = self._context is not None, asyncio.get_running_loop()
        return Router(self._routes, address, secure, loop, self._world.clock().utc)

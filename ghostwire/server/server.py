"""A whole server: store, coordinator, driver and listeners, started in that order and stopped in the other."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from ghostwire.coordinator import Coordinator
from ghostwire.errors import DatabaseError, GhostwireError, PermissionDeniedError
from ghostwire.model.credential import ApiToken
from ghostwire.server.clock import Clock, system_clock
from ghostwire.server.driver import Driver
from ghostwire.server.fanout import Fanout
from ghostwire.server.heads import Heads
from ghostwire.server.identity import Naming, tls_identity
from ghostwire.server.listen import admin, local, public, tls
from ghostwire.server.listen.acceptor import Acceptor
from ghostwire.server.listen.hosts import Doors
from ghostwire.server.listen.http import HttpConnection, HttpShell
from ghostwire.server.listen.router import Met
from ghostwire.server.metrics import Exposition, Timings
from ghostwire.server.observer import Observer, Silent
from ghostwire.server.options import ServeOptions
from ghostwire.server.port import PortCounts, PublicPort, World
from ghostwire.server.recovery import Recovery
from ghostwire.server.rest.access import CONNECTED, GRANT
from ghostwire.server.rest.application import application
from ghostwire.server.rest.desk import Desk
from ghostwire.server.rest.front import Front
from ghostwire.server.session.coordination import InProcess
from ghostwire.server.standbys import Standbys
from ghostwire.server.status import Reporter
from ghostwire.server.store.store import ServerStore
from ghostwire.server.store.watching import StoreWatch
from ghostwire.server.witness import Witness
from ghostwire.server.workers import relay
from ghostwire.server.workers.stations import Stations, kill_process

RENEWAL_CHECK_S: Final = 6 * 3600.0
DRAIN_S: Final = 3.0
"""How long running requests may take when the server stops."""
BYE_S: Final = 1.0
"""How long nodes may take to close after they were told that the server stops."""
COME_BACK_S: Final = 1.0
"""When nodes are asked to try again after a stop."""


class Server:
    """One server on the running event loop: `async with Server(options) as server`.

    `clock`, `entropy` and `vfs` (below what must last) are what the machine gives unless a test says otherwise.
    `listening` are the sockets of its public port; it binds one itself unless it is handed some. Handed an empty
    sequence it has none: workers do, and connect to it.
    `has_heir` says, when it is stopped, that another server takes its place: workers keep their sessions.
    `failed` is done with the error when the store can promise nothing any more: whoever runs the server must end it.
    """

    def __init__(
        self,
        options: ServeOptions,
        observer: Observer | None = None,
        *,
        clock: Clock = system_clock,
        entropy: Callable[[int], bytes] = os.urandom,
        vfs: str | None = None,
        listening: Sequence[socket.socket] | None = None,
    ) -> None:
        self.options = options
        self.listening = list(listening or ())
        self._binds, self._leads = listening is None, listening is not None and not listening
        self.observer: Observer = observer if observer is not None else Silent()
        self.naming = Naming.of(options)
        self._clock, self._entropy, self._vfs = clock, entropy, vfs
        self._world = World(clock, entropy, self.observer)
        self.has_heir = False
        self.public: PublicPort | None = None
        self._acceptors: list[Acceptor] = []
        self._renewal: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the store, load it, then listen. Raises `GhostwireError` with nothing left open.

        `ConflictError`: another server has this directory.
        """
        loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[DatabaseError] = loop.create_future()
        started = self._clock()
        self.timings = Timings()
        watch = StoreWatch(self.observer, self.timings)
        self.store = await ServerStore.open(self.options, self._store_failed, self._vfs, watch)
        try:
            store = self.store
            for flushed in (store.volatile, store.metrics, store.flows, store.archiving):
                flushed.failed = self._flush_failed
            snapshot = await self.store.load(self._entropy)
            coordinator = Coordinator(
                self.naming.reserving(self.options.settings), snapshot, self._entropy, self._clock()
            )
            self._witness = Witness(self.observer, self.timings, self._clock)
            coordinator.view.counters.observer = self._witness
            self._fanout = Fanout(loop)
            self.stations = Stations(self._world, kill_process) if self._leads else None
            outlet = self._fanout if self.stations is None else self.stations
            self.driver = Driver(coordinator, self.store, outlet, self._clock, self._witness)
        except BaseException:
            await self.store.close()
            raise
        self.standbys = Standbys(self.store.durable, self.options.replication, self.observer)
        try:
            if self._binds:
                self.listening.append(public.bind(self.naming.listen))
                self.naming = self.naming.at(public.bound(self.listening[0], self.naming.listen))
            await self.standbys.start()
            self._listen((started.mono, started.utc))
        except BaseException:
            await self._close_doors()
            for listening in self.listening:
                listening.close()
            await self.standbys.stop()
            await self.driver.stop()
            await self.store.close()
            raise
        self.reporter.ready = True
        self._watch_fence()
        await self._heads.start()
        self.observer.event("info", "server.started", listen=str(self.naming.listen), url=self.reporter.url.url)

    async def stop(self, reason: str = "the coordinator stops", retry_after: float = COME_BACK_S) -> None:
        """Say bye to nodes, finish what runs, write what is left, free the store."""
        self.reporter.ready = False
        if self._renewal is not None:
            self._renewal.cancel()
        await self._close_doors()
        if self.public is not None:
            self.public.sessions.say_bye(reason, retry_after)
        await self._http.drain(DRAIN_S)
        if self.public is not None:
            await self.public.sessions.drain(BYE_S)
        if self.stations is not None:
            await self.stations.stop(wait=not self.has_heir)
        await self.standbys.stop()
        await self.driver.stop()
        await self._heads.stop()
        await self.store.close()
        (self.options.data / admin.NAME).unlink(missing_ok=True)
        self.observer.event("info", "server.stopped", reason=reason)

    async def _close_doors(self) -> None:
        """Take no more connections."""
        for acceptor in self._acceptors:
            await acceptor.close()
        self._acceptors.clear()
        if self.public is not None:
            await self.public.close()

    @property
    def url(self) -> str:
        """The URL that new machines dial."""
        return self.reporter.url.url

    @property
    def pin(self) -> str | None:
        """The pin of the server's key, where machines need one."""
        return self.reporter.pin

    @property
    def port(self) -> int:
        """The public port."""
        return self.naming.listen.port

    def _listen(self, started: tuple[float, int]) -> None:
        options, limits = self.options, self.options.limits
        self.tls = tls_identity(options, self.naming, started[1])
        self._heads = Heads(self.store.durable, options.data, self.driver.outlet, self.observer)
        pin = self.tls.pin if self.tls is not None and self.tls.self_signed else None
        self.reporter = Reporter(
            options.settings.network_id, str(self.naming.listen), pin, self.naming.advertised, started
        )
        self.reporter.recovery = self._recovery()
        desk = Desk(self.driver, self.reporter, Exposition(self, self.timings).text, self.store)
        self.application = application(desk, self.observer, limits.body_bytes)
        doors = Doors(self.naming.answers_to(), options.trusted_proxies)
        self._http = HttpShell(
            Front(self.application, doors, self._check_token, self._clock, self._witness.answered, limits.body_bytes),
            limits,
        )
        coordination = InProcess(self.driver, self._fanout, self._heads, self.reporter.recovery)
        if not self._leads:
            self.public = PublicPort(options, self.naming, self.tls, coordination, self._http_connection, self._world)
            for listening in self.listening:
                self.public.listen(listening)
        control = local.bind(options.data, admin.NAME)
        self._admitted = admin.Admitted(options.admin_uids)
        self._acceptors = [Acceptor(control, self._admin, self.observer)]
        if self.stations is not None:
            relayed = local.bind(options.data, relay.SOCKET)
            self._acceptors.append(Acceptor(relayed, self._relayed, self.observer))
            self.stations.open(options.data, self.driver, coordination)
        self._schedule_renewal()

    def port_counts(self) -> PortCounts:
        """What is counted at the public port."""
        if self.public is not None:
            return self.public.counts()
        return self.stations.counts() if self.stations is not None else PortCounts()

    def _recovery(self) -> Recovery:
        view = self.driver.coordinator.view
        there = (node.id for node in view.nodes() if view.health(node.id).is_online)
        return Recovery(there, self._clock().mono)

    def _http_connection(self, met: Met, gone: Callable[[], None]) -> HttpConnection:
        return HttpConnection(self._http, {CONNECTED: met.since}, gone)

    def _admin(self, connection: socket.socket) -> HttpConnection | None:
        caller = self._admitted.caller(connection)
        if caller is None:
            self.observer.event("warning", "admin.refused")
            return None
        return HttpConnection(self._http, {GRANT: caller, CONNECTED: self._clock().utc}, _nothing)

    def _relayed(self, connection: socket.socket) -> relay.Preface | None:
        try:
            local.require_own(connection)
        except PermissionDeniedError as error:
            self.observer.event("warning", "relay.refused", error=error.message)
            return None
        return relay.Preface(self._http)

    def _check_token(self, secret: str) -> ApiToken:
        token: ApiToken = self.driver.coordinator.view.check_api_token(secret, self._clock())
        return token

    def _store_failed(self, error: DatabaseError) -> None:
        """Nobody knows what is on the disk now: nothing more may be promised in this process."""
        self.observer.event("critical", "store.failed", error=error.message)
        if hasattr(self, "reporter"):
            self.reporter.ready = False
        if not self.failed.done():
            self.failed.set_result(error)

    def _watch_fence(self) -> None:
        durable = self.store.durable
        durable.on_fence = self._store_fenced
        if durable.fenced is not None:
            self._store_fenced(durable.fenced)

    def _store_fenced(self, error: DatabaseError) -> None:
        """Another copy of the store is ahead: what stands goes on, nothing new is promised."""
        self.observer.event("critical", "store.fenced", error=error.message)
        if self.stations is not None:
            self.stations.drop_head()
        self.reporter.ready = False

    def _flush_failed(self, error: BaseException) -> None:
        self.observer.event("error", "history.flush_failed", error=str(error))

    def _schedule_renewal(self) -> None:
        self.reporter.certificate_until = tls.valid_until(self.tls) if self.tls is not None else None
        if self.tls is not None and self.tls.self_signed:
            self._renewal = asyncio.get_running_loop().call_later(RENEWAL_CHECK_S, self._renew)

    def _renew(self) -> None:
        assert self.tls is not None  # noqa: S101 - only scheduled with one
        try:
            now = datetime.fromtimestamp(self._clock().utc / 1e9, UTC)
            if tls.renew(self.tls, self.naming.certificate_names(), now):
                self.observer.event("info", "tls.renewed")
        except (OSError, GhostwireError) as error:
            self.observer.event("error", "tls.renewal_failed", error=str(error))
        self._schedule_renewal()


def _nothing(*_: Any) -> None:
    return

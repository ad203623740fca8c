"""One worker on the running event loop: its share of the public port, its sessions, and the link to the leader."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ghostwire.server.identity import Naming, tls_identity
from ghostwire.server.listen.router import Met
from ghostwire.server.options import ServeOptions
from ghostwire.server.port import PortCounts, PublicPort, World
from ghostwire.server.workers.relay import Outward
from ghostwire.server.workers.remote import Remote

RELOAD_S: Final = 3600.0
"""How often the server's own certificate is read again: the leader may have renewed it, from the same key."""
ALONE_S: Final = 60.0
"""How long connections are accepted without a leader."""
LOOK_S: Final = 0.5
SENT_OVER: Final = 10
"""Nodes that are sent to another process at a time, every `SENT_OVER_S`."""
SENT_OVER_S: Final = 0.02
BYE_S: Final = 1.0
"""How long nodes may take to close after they were told that the server stops."""


class Worker:
    """One worker. `listening` are the sockets that it accepts on, from the time that there is a leader.

    `on_listen` is called then. With `has_heir`, other workers accept on the same sockets when it is stopped, and its
    nodes are sent there a few at a time.
    """

    def __init__(self, options: ServeOptions, listening: Sequence[socket.socket], world: World) -> None:
        self.options, self._listening, self._world = options, listening, world
        self.on_listen: Callable[[], None] | None = None
        self.has_heir = False
        self.naming = Naming.of(options)
        self.tls = tls_identity(options, self.naming, world.clock().utc)

    async def start(self) -> None:
        """Look for the leader, and listen as soon as there is one."""
        self.remote = Remote(self.options.data, self._world, self._counts)
        self.public = PublicPort(self.options, self.naming, self.tls, self.remote, self._relay, self._world)
        self._tasks = [asyncio.create_task(self._watch())]
        if self.tls is not None and self.tls.self_signed:
            self._tasks.append(asyncio.create_task(self._reload()))

    async def stop(self, reason: str = "the coordinator stops", retry_after: float = 1.0) -> None:
        """Say bye to nodes, and go."""
        for task in self._tasks:
            task.cancel()
        await self.public.close()
        if self.has_heir:
            await self._send_over()
        else:
            self.public.sessions.say_bye(reason, retry_after)
        await self.public.sessions.drain(BYE_S)
        await self.remote.stop()

    async def _send_over(self) -> None:
        """Have the nodes open their sessions anew, with a new worker, as fast as that one can take them."""
        sessions = list(self.public.sessions.standing)
        for at in range(0, len(sessions), SENT_OVER):
            for session in sessions[at : at + SENT_OVER]:
                session.bye("another process goes on from here", 0.0)
            await asyncio.sleep(SENT_OVER_S)

    def _counts(self) -> PortCounts:
        replication = self.remote.replication
        return msgspec.structs.replace(
            self.public.counts(), maps=dict(replication.sent), digest_mismatches=replication.mismatches
        )

    def _relay(self, met: Met, gone: Callable[[], None]) -> Outward:
        return Outward(self.options.data, self.options.limits.body_s, met, gone)

    async def _watch(self) -> None:
        """Without a leader for long, take no connections until there is one again."""
        await self.remote.replication.stands.wait()
        for listening in self._listening:
            self.public.listen(listening)
        if self.on_listen is not None:
            self.on_listen()
        while True:
            await asyncio.sleep(LOOK_S)
            self.public.admits = self.remote.away_s <= ALONE_S

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_S)
            assert self.tls is not None  # noqa: S101 - only then
            try:
                self.tls.context.load_cert_chain(self.tls.certificate, self.tls.key)
            except (OSError, ValueError) as error:
                self._world.observer.event("error", "tls.reload_failed", error=str(error))

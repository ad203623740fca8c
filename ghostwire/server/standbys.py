"""Standbys of this server's store: who follows it, and who took over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ghostwire.server.listen.endpoint import parse_listen
from ghostwire.zqlite import Link, replica

if TYPE_CHECKING:
    from ghostwire import zqlite
    from ghostwire.errors import GhostwireError
    from ghostwire.server.observer import Observer
    from ghostwire.server.options import Replication


GOODBYE_S: Final = 1.0
"""How long a standby may take to confirm what it was sent before a stop."""


class Standbys:
    """The feed of one server's durable store; without options it does nothing."""

    def __init__(self, store: zqlite.Store, options: Replication | None, observer: Observer) -> None:
        self._store, self._options, self._observer = store, options, observer
        self._feed: replica.Feed | None = None

    @property
    def port(self) -> int:
        """The port on which standbys follow, 0 where none may."""
        return self._feed.port if self._feed is not None else 0

    @property
    def behind(self) -> list[int]:
        """For each standby that is connected, how many rows it has yet to confirm."""
        if self._feed is None:
            return []
        newest = self._store.head.seq
        return [max(0, newest - seq) for seq in self._feed.confirmed]

    async def start(self) -> None:
        """Let them follow. Raises what `zqlite.replica.serve` raises."""
        options = self._options
        if options is None:
            return
        where = parse_listen(options.listen)
        link = Link(options.key_file, options.standbys)
        # A change that is on this disk alone is neither made nor refused: its answer waits, however long that takes.
        self._feed = await replica.serve(
            self._store, link, where.host, where.port, semi_sync=options.confirmed, patience=None
        )
        self._feed.failed = self._failed
        self._observer.event("info", "replication.started", listen=options.listen, confirmed=options.confirmed)

    async def stop(self) -> None:
        """Let them go, once they have confirmed what they were just sent."""
        if self._feed is not None:
            await self._feed.close(GOODBYE_S)

    def _failed(self, error: GhostwireError) -> None:
        self._observer.event("warning", "replication.refused", error=error.message)

"""The two databases of a coordinator: what must last, and what may be lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from ghostwire import zqlite
from ghostwire._native import token
from ghostwire.coordinator.effects import Flush, Persist
from ghostwire.coordinator.snapshot import Snapshot
from ghostwire.errors import DatabaseError, PermissionDeniedError
from ghostwire.model.change import ChangeRecord, Put
from ghostwire.model.credential import Setting
from ghostwire.server.options import ServeOptions
from ghostwire.server.store.archiving import Archiving
from ghostwire.server.store.flows import FlowsStore
from ghostwire.server.store.metrics import MetricsStore
from ghostwire.server.store.passphrase import read as read_passphrase
from ghostwire.server.store.tables import TABLES, statement
from ghostwire.server.store.volatile import VolatileStore
from ghostwire.zqlite import keyring, rekey
from ghostwire.zqlite.operation import Operation

MAC_KEY: Final = "mac_key"
"""The setting that holds the key under which secrets are kept as MACs."""
_SINCE: Final = "SELECT DISTINCT kind FROM change WHERE seq > ?"
VERIFIED: Final = 1000
"""Rows at the end of the change log whose chain is checked at each start."""


class ServerStore:
    """`ghostwire.db` (class D: an answer means fsynced) and `history.db` (class L: on disk within seconds)."""

    def __init__(
        self, durable: zqlite.Store, volatile: VolatileStore, metrics: MetricsStore, flows: FlowsStore
    ) -> None:
        self.durable = durable
        self.volatile = volatile
        self.metrics = metrics
        self.flows = flows
        self.archiving = Archiving(durable)

    @classmethod
    async def open(
        cls,
        options: ServeOptions,
        on_fatal: Callable[[DatabaseError], None],
        vfs: str | None = None,
        watch: Callable[[zqlite.Seen], None] | None = None,
    ) -> ServerStore:
        """Open both, made and migrated as needed. `vfs` names a registered VFS below what must last.

        `watch` hears of all that both do.

        Raises what `zqlite.open` raises: `ConflictError` where another server has them.
        """
        directory = options.data
        prepare_directory(directory)
        if options.passphrase_file is not None:
            rekey.settle(files(options), options.passphrase_file)
        key, passphrase = _root_key(options), read_passphrase(options.passphrase_file)
        durable_file, history_file = files(options)
        durable = await zqlite.open(
            durable_file,
            key=key,
            passphrase=passphrase,
            on_fatal=on_fatal,
            vfs=vfs,
            cache_bytes=options.cache_bytes,
            watch=watch,
        )
        try:
            await zqlite.migrate.apply(durable, migrations("durable"))
            history = await zqlite.open(
                history_file,
                key=key,
                passphrase=passphrase,
                durability="lazy",
                on_fatal=on_fatal,
                watch=watch,
            )
        except BaseException:
            await durable.close()
            raise
        try:
            await zqlite.migrate.apply(history, migrations("history"))
            metrics, flows = await MetricsStore.open(history), await FlowsStore.open(history)
        except BaseException:
            await history.close()
            await durable.close()
            raise
        return cls(durable, VolatileStore(history), metrics, flows)

    async def load(self, entropy: Callable[[int], bytes]) -> Snapshot:
        """Everything that a coordinator starts from. Raises `DatabaseError` where the log's end does not hold."""
        await self._verify()
        tables, seq = await self.durable.run(_load)
        mac_key = next((setting.value for setting in tables["settings"] if setting.name == MAC_KEY), None)
        if mac_key is None:
            mac_key = entropy(32)
            made = Setting(name=MAC_KEY, value=mac_key)
            insert = statement(Put("settings", made))
            seq = (await self.durable.submit(Operation("initialise", "server", (insert,)))).seq
            tables["settings"] = (*tables["settings"], made)
        kept = await self.volatile.load()
        since = () if kept.mark is None else await self.durable.query(_SINCE, (kept.mark.seq,))
        return Snapshot(
            log_id=log_id(self.durable.identity, self.durable.epoch),
            seq=seq,
            boot=entropy(16),
            mac_key=mac_key,
            tables=tables,
            volatile=kept.seen,
            changes=kept.changes,
            hits=kept.hits,
            mark=kept.mark,
            since=frozenset(kind for (kind,) in since),
        )

    def submit(self, persist: Persist) -> asyncio.Future[ChangeRecord]:
        """Commit a decision: all of its writes and one row of the change log, or nothing."""
        statements = tuple(statement(write) for write in persist.writes)
        return self.durable.submit(Operation(persist.kind, persist.actor, statements))

    def flush(self, effect: Flush) -> None:
        """Write volatile facts; nobody waits for it."""
        self.volatile.flush(effect)
        self.metrics.record(effect.facts)
        self.flows.record(effect.flows, effect.utc)
        self.archiving.flushed()

    async def close(self) -> None:
        """Finish what is queued and free both files."""
        await self.archiving.close()
        await self.metrics.close()
        await self.flows.close()
        await self.volatile.close()
        await self.durable.close()

    async def _verify(self) -> None:
        rows = await self.durable.query(
            "SELECT seq, epoch, ts, actor, kind, body, prev, hash FROM change ORDER BY seq DESC LIMIT ?", (VERIFIED,)
        )
        records = [ChangeRecord(*row) for row in reversed(rows)]
        if records:
            first = records[0]
            prev = None if first.seq == 1 else first.prev
            for _ in zqlite.changelog.verify(records, prev, first.seq - 1):
                pass


def _root_key(options: ServeOptions) -> bytes | None:
    if options.passphrase_file is not None:
        return None
    if options.store_credential is not None and options.store_key is None:
        return keyring.from_credential(options.store_credential)
    key_file = options.store_key or options.data / "store.key"
    rekey.settle(files(options), key_file)
    return keyring.load(key_file) if options.store_key is not None else keyring.load_or_create(key_file)


def files(options: ServeOptions) -> tuple[Path, Path]:
    """The files of the two databases: what must last, and what may be lost."""
    return options.database or options.data / "ghostwire.db", options.data / "history.db"


def migrations(schema: Literal["durable", "history"]) -> list[zqlite.Migration]:
    """The steps of one database, in order: files `NNNN_name.sql` beside this one."""
    steps = []
    for file in sorted((Path(__file__).parent / schema).glob("*.sql")):
        number, _, name = file.stem.partition("_")
        steps.append(zqlite.Migration(int(number), name, file.read_text(encoding="utf-8")))
    return steps


def prepare_directory(directory: Path) -> None:
    """Make the server's directory, for its owner only. Raises `PermissionDeniedError` where it cannot be used."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_uid == os.geteuid():
            directory.chmod(0o700)
    except OSError as error:
        raise PermissionDeniedError(
            f"cannot use {directory} ({error.strerror}): name another with --data, or let uid {os.geteuid()} write it"
        ) from error


def log_id(identity: bytes, epoch: int) -> bytes:
    """What names a change log in positions: another one after each restore."""
    return token.blake3(identity + epoch.to_bytes(8, "big"))[:16]


def _load(reader: Any) -> tuple[dict[str, tuple[Any, ...]], int]:
    tables = {name: tuple(map(table.record, reader.stream(table.select))) for name, table in TABLES.items()}
    (seq,) = reader.query("SELECT coalesce(max(seq), 0) FROM change")[0]
    return tables, seq

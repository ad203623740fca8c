"""A store in memory with the promises that a coordinator builds on: guards on versions, unique values, a log."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ghostwire.coordinator.commands import Committed, Failed
from ghostwire.coordinator.effects import Flush, Persist
from ghostwire.coordinator.snapshot import FlushMark, MapChange, NodeSeen, RuleHits, Snapshot
from ghostwire.coordinator.state import TABLES, State
from ghostwire.errors import ConflictError
from ghostwire.model.change import Put, Write
from ghostwire.model.flow import Flow

UNIQUE: Final = {
    "users": ("name",),
    "nodes": ("node_key", "name", "ipv4", "ipv6", "slot"),
    "preauth_keys": ("mac",),
    "api_tokens": ("mac",),
    "session_tokens": ("mac",),
}


class LogRow(NamedTuple):
    """One committed change."""

    seq: int
    ts: int
    actor: str
    kind: str
    writes: tuple[Write, ...]


class MemoryStore:
    """Tables, their log, and the flushed facts. Records are immutable, so holding them is holding their images."""

    def __init__(self, log_id: bytes = bytes(16), mac_key: bytes = bytes(range(32))) -> None:
        self.log_id = log_id
        self.mac_key = mac_key
        self.log: list[LogRow] = []
        self.seen: dict[int, NodeSeen] = {}
        self.changes: dict[int, MapChange] = {}
        self.hits: dict[int, RuleHits] = {}
        self.flows: dict[tuple[int, int], Flow] = {}
        self.mark: FlushMark | None = None
        self._tables: dict[str, dict[Any, Any]] = {name: {} for name in TABLES}
        self._unique: dict[tuple[str, str], dict[Any, Any]] = {
            (table, column): {} for table, columns in UNIQUE.items() for column in columns
        }

    def commit(self, persist: Persist, ts: int) -> Committed | Failed:
        """Apply all the writes and log them, or none of them."""
        undo: list[tuple[str, Any, Any]] = []
        try:
            for write in persist.writes:
                undo.append(self._write(write))
        except ConflictError as error:
            for table, key, old in reversed(undo):
                self._set(table, key, old)
            return Failed(persist=persist.persist, conflict=True, error=error)
        seq = len(self.log) + 1
        self.log.append(LogRow(seq, ts, persist.actor, persist.kind, persist.writes))
        return Committed(persist=persist.persist, seq=seq, ts=ts)

    def flush(self, flush: Flush) -> None:
        """Keep volatile facts."""
        for fact in flush.facts:
            if isinstance(fact, NodeSeen):
                self.seen[fact.node_id] = fact
            elif isinstance(fact, MapChange):
                self.changes[fact.number] = fact
            elif isinstance(fact, RuleHits):
                self.hits[fact.rule] = fact
            elif isinstance(fact, FlushMark):
                if self.mark is None or self.mark.oldest != fact.oldest:
                    self.changes = {n: change for n, change in self.changes.items() if n >= fact.oldest}
                self.mark = fact

        for told in flush.flows:
            for peer, flow in told.flows.items():
                self.flows[told.node_id, peer] = self.flows.get((told.node_id, peer), Flow()).plus(flow)

    def tables(self) -> dict[str, tuple[Any, ...]]:
        """Every record."""
        return {name: tuple(rows.values()) for name, rows in self._tables.items()}

    def snapshot(self, boot: bytes) -> Snapshot:
        """What a coordinator starts from."""
        return Snapshot(
            log_id=self.log_id,
            seq=len(self.log),
            boot=boot,
            mac_key=self.mac_key,
            tables=self.tables(),
            volatile=tuple(self.seen.values()),
            changes=tuple(self.changes[number] for number in sorted(self.changes)),
            hits=tuple(self.hits.values()),
            mark=self.mark,
            since=frozenset() if self.mark is None else frozenset(row.kind for row in self.log[self.mark.seq :]),
        )

    def replayed(self) -> State:
        """The state that folding the whole log gives."""
        state = State()
        for row in self.log:
            state.apply_writes(row.writes, row.seq)
        return state

    def _write(self, write: Write) -> tuple[str, Any, Any]:
        if isinstance(write, Put):
            key, record = TABLES[write.table].key(write.record), write.record
        else:
            key, record = write.key, None
        old = self._tables[write.table].get(key)
        if (0 if old is None else old.version) != write.expect:
            raise ConflictError(f"{write.table} {key!r} has moved on")
        for column in UNIQUE.get(write.table, ()) if record is not None else ():
            holder = self._unique[write.table, column].get(getattr(record, column), key)
            if holder != key:
                raise ConflictError(f"{write.table}.{column} is taken")
        self._set(write.table, key, record)
        return write.table, key, old

    def _set(self, table: str, key: Any, record: Any) -> None:
        rows = self._tables[table]
        old = rows.get(key)
        for column in UNIQUE.get(table, ()):
            index = self._unique[table, column]
            if old is not None and index.get(getattr(old, column)) == key:
                del index[getattr(old, column)]
            if record is not None:
                index[getattr(record, column)] = key
        if record is None:
            rows.pop(key, None)
        else:
            rows[key] = record

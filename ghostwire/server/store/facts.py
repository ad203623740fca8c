"""Volatile facts as rows: the newest of each kind and key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from ghostwire.coordinator.snapshot import FlushMark, MapChange, NodeSeen, RuleHits
from ghostwire.errors import DatabaseError, InternalError
from ghostwire.zqlite.operation import Statement

SELECT: Final = "SELECT kind, body FROM fact ORDER BY kind, key"
_PUT: Final = "INSERT INTO fact (kind, key, body) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body"
_FORGET: Final = "DELETE FROM fact WHERE kind = 'map_change' AND key < ?"
_KINDS: Final[dict[str, type[msgspec.Struct]]] = {
    "node_seen": NodeSeen,
    "map_change": MapChange,
    "rule_hits": RuleHits,
    "flush_mark": FlushMark,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


class Facts(NamedTuple):
    """What was flushed before the start."""

    seen: tuple[NodeSeen, ...]
    changes: tuple[MapChange, ...]
    hits: tuple[RuleHits, ...]
    mark: FlushMark | None


def statements(facts: Iterable[msgspec.Struct]) -> Iterator[Statement]:
    """The statements that keep these facts. A flush mark also forgets the map changes that are no longer wanted."""
    for fact in facts:
        name = _NAMES.get(type(fact))
        if name is None:
            raise InternalError(f"a {type(fact).__name__} is no volatile fact")
        yield Statement(_PUT, (name, _key(fact), msgspec.msgpack.encode(fact)))
        if isinstance(fact, FlushMark):
            yield Statement(_FORGET, (fact.oldest,))


def read(rows: Iterable[Any]) -> Facts:
    """The facts of rows that `SELECT` read. Raises `DatabaseError` for those of another release."""
    found: dict[str, list[Any]] = {name: [] for name in _KINDS}
    for name, body in rows:
        try:
            found[name].append(msgspec.msgpack.decode(body, type=_KINDS[name]))
        except (KeyError, msgspec.MsgspecError) as error:
            raise DatabaseError(
                "history.db was written by another release: move it away; only what may be lost is in it"
            ) from error
    marks = found["flush_mark"]
    return Facts(
        tuple(found["node_seen"]),
        tuple(found["map_change"]),
        tuple(found["rule_hits"]),
        marks[0] if marks else None,
    )


def _key(fact: msgspec.Struct) -> int:
    if isinstance(fact, NodeSeen):
        return fact.node_id
    if isinstance(fact, RuleHits):
        return fact.rule
    return fact.number if isinstance(fact, MapChange) else 0

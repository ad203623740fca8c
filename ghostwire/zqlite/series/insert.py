"""INSERT into a series by SQL: the trigger of its view, and the function that this calls for each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw

from ghostwire.zqlite.layout import quote

if TYPE_CHECKING:
    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.series.schema import Schema
    from ghostwire.zqlite.series.shelf import Shelf
    from ghostwire.zqlite.series.tail import Tail


def trigger_name(schema: Schema) -> str:
    """What the trigger of a series' view is called."""
    return f"{schema.name}_insert"


def trigger(schema: Schema) -> str:
    """The statement that makes the trigger of a series' view."""
    names = (schema.key, "at", *(column.name for column in schema.columns))
    values = ", ".join(f"NEW.{quote(name)}" for name in names)
    return (
        f"CREATE TRIGGER {quote(trigger_name(schema))} INSTEAD OF INSERT ON {quote(schema.name)} "
        f"BEGIN SELECT zq_sample('{schema.name}', {values}); END"
    )


def register(applier: Applier, shelf: Shelf) -> None:
    """Give the connection that writes `zq_sample(series, key, at, value...)`."""
    inserted = _Inserted(applier, shelf)
    applier.witnesses.append(inserted)
    applier.connection.create_scalar_function("zq_sample", inserted.add, flags=apsw.SQLITE_INNOCUOUS)


class _Inserted:
    """The samples of the open transaction that came by SQL."""

    def __init__(self, applier: Applier, shelf: Shelf) -> None:
        self._applier = applier
        self._shelf = shelf
        self._touched: dict[Tail, set[int]] = {}

    def add(self, *values: Any) -> None:
        from ghostwire.zqlite.series import tail as tails  # with numpy, which a store without series does not carry

        name, *sample = values
        known = self._shelf.find(self._applier.connection, name)
        rows = known.schema.samples([sample])
        tail = tails.of(self._shelf, known)
        key: int = rows[0][0]
        self._touched.setdefault(tail, set()).add(key)
        tail.changing((key,))
        with self._applier.within():
            tail.put(self._applier, rows)
            tail.seal(self._applier, (key,))

    def committed(self) -> None:
        touched, self._touched = self._touched, {}
        for tail in touched:
            tail.told()

    def rolled_back(self) -> None:
        for tail, keys in self._touched.items():
            tail.recount(keys)
            self._shelf.cache.forget_owner(tail.known.owner)  # numbers of blocks that were taken back are given again
        if not self._applier.connection.in_transaction:
            self.committed()

"""What the writer has for sealed columns: keys and their uses, dictionaries, and tables made of several objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from ghostwire.errors import ValidationError
from ghostwire.zqlite import columns, dictionaries, sealed_upsert, sealed_view
from ghostwire.zqlite.sealing import tables

if TYPE_CHECKING:
    import apsw

    from ghostwire.zqlite.columns import SealedTable
    from ghostwire.zqlite.sealing import Ring
    from ghostwire.zqlite.sql import Part

_NOTHING: Final = "SELECT 1 WHERE 0"
_UNSEALED: Final = (
    "SELECT listed.name, columns.name FROM sqlite_schema AS listed JOIN pragma_table_xinfo(listed.name) AS columns "
    "WHERE listed.type = 'table' AND (columns.type LIKE '%ENCRYPTED%' OR columns.type LIKE '%COMPRESSED%')"
)


class Own(Protocol):
    """Runs one of the store's own statements."""

    def __call__(self, text: str, params: tuple[Any, ...] = ()) -> Any:
        """Its cursor."""


class Sealer:
    """For the writer's thread alone, but for `wanting`."""

    def __init__(self, ring: Ring, connection: apsw.Connection) -> None:
        self.ring = ring
        self.codec = ring.register_writer(connection)
        self._connection = connection

    @property
    def wanting(self) -> bool:
        """Whether a key is due to be changed, or a dictionary to be trained. Any thread may ask."""
        return self.ring.ledger.worn or bool(self.codec.due)

    @property
    def damaged(self) -> int:
        """How many values re-encryption had to leave as they are."""
        return self.ring.damaged

    def reserve(self, own: Own) -> None:
        """Before an operation ends: let the file know how often keys may have been used."""
        if self.ring.ledger.short:
            for name, count in self.ring.ledger.due():
                own("INSERT OR REPLACE INTO main.zq_meta VALUES (?, ?)", (name, count))

    def rolled_back(self) -> None:
        """What the transaction has written is gone."""
        self.ring.ledger.rolled_back()

    def definition(self, part: Part, own: Own) -> str:
        """What to run for a statement that defines something: a table with sealed columns is several objects."""
        if part.sealed is not None:
            return self._create(part.sealed, own)
        name = sealed_view.target(part.text)
        table = self._find(name) if name is not None else None
        if table is None:
            return part.text
        if part.drops:
            own("DELETE FROM main.zq_sealed WHERE id = ?", (table.id,))
            for column in table.sealed:
                own("DELETE FROM main.zq_dictionary WHERE column_id = ?", (column.id,))
            return sealed_view.drop(table)
        text, now = sealed_view.alter(table, part.text)
        own("UPDATE main.zq_sealed SET layout = ? WHERE id = ?", (columns.encode_table(now), table.id))
        return text

    def bases(self) -> frozenset[str]:
        """The tables that hold sealed rows, in small letters."""
        return frozenset(table.base.lower() for table in tables(self._connection))

    def refuse_plain(self) -> None:
        """After a definition: raises ValidationError where SQLite took ENCRYPTED or COMPRESSED for a type's name."""
        for table, column in self._connection.execute(_UNSEALED):
            raise ValidationError(
                f"{table}.{column} would hold plain values: a table gets sealed columns by CREATE TABLE name(...), and "
                "one that has some gets more by ALTER TABLE name ADD COLUMN"
            )

    def upsert(self, text: str) -> tuple[str, ...]:
        """What to run for an INSERT ... ON CONFLICT that SQLite refuses since its table is a view; nothing for others.

        Raises ValidationError for what such a table cannot do.
        """
        upsert = sealed_upsert.read(text)
        table = None if upsert is None else self._find(upsert.table)
        return () if upsert is None or table is None else sealed_upsert.statements(upsert, table)

    def _create(self, plan: columns.Plan, own: Own) -> str:
        there = self._connection.table_exists
        if plan.unless and (there("main", plan.table.name) or there("main", plan.table.base)):
            return _NOTHING
        table = plan.fresh()
        own(columns.TABLE)
        own(dictionaries.TABLE)
        own("INSERT INTO main.zq_sealed VALUES (?, ?)", (table.id, columns.encode_table(table)))
        return sealed_view.make(plan, table)

    def _find(self, name: str) -> SealedTable | None:
        return next((table for table in tables(self._connection) if table.name.lower() == name.lower()), None)

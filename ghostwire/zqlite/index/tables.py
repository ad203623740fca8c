"""Table-valued functions over an index: FROM name(argument, ...), in the form that SQLite's planner joins by."""

# The methods have the names that SQLite gives them.
# ruff: noqa: N802

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class RowsTable:
    """A virtual table, by its visible and hidden columns and what gives its rows for values of the latter.

    `estimate` tells the planner how many there are; with `ordered`, they come in the order of the first column. It is
    its own module: SQLite makes none by CREATE.
    """

    def __init__(
        self,
        columns: str,
        arguments: tuple[str, ...],
        answer: Callable[..., Iterable[tuple[Any, ...]]],
        estimate: int,
        *,
        ordered: bool = False,
    ) -> None:
        self._columns = columns
        self._arguments = arguments
        self._answer = answer
        self._estimate = estimate
        self._ordered = ordered
        self._visible = columns.count(",") + 1

    def register(self, connection: apsw.Connection, name: str) -> None:
        """Make the table known."""
        module: Any = self  # apsw calls what there is; its protocol asks for more
        connection.create_module(
            name, module, use_bestindex_object=True, eponymous=True, eponymous_only=True, read_only=True
        )

    def Connect(self, connection: apsw.Connection, *_names: str) -> tuple[str, RowsTable]:
        """The declaration."""
        connection.vtab_config(apsw.SQLITE_VTAB_DIRECTONLY)
        hidden = ", ".join(f"{name} HIDDEN" for name in self._arguments)
        return f"CREATE TABLE x({self._columns}, {hidden})", self

    def BestIndexObject(self, plan: apsw.IndexInfo) -> bool:
        """Possible once every argument has a value."""
        wanted = {self._visible + at: at + 1 for at in range(len(self._arguments))}
        for at in range(plan.nConstraint):
            place = wanted.get(plan.get_aConstraint_iColumn(at))
            if (
                place
                and plan.get_aConstraint_usable(at)
                and plan.get_aConstraint_op(at) == apsw.SQLITE_INDEX_CONSTRAINT_EQ
            ):
                plan.set_aConstraintUsage_argvIndex(at, place)
                plan.set_aConstraintUsage_omit(at, True)
                del wanted[plan.get_aConstraint_iColumn(at)]
        plan.estimatedRows = self._estimate
        plan.estimatedCost = float(self._estimate)
        by_first = plan.nOrderBy == 1 and plan.get_aOrderBy_iColumn(0) == 0 and not plan.get_aOrderBy_desc(0)
        plan.orderByConsumed = self._ordered and by_first
        return not wanted

    def Open(self) -> _Cursor:
        """A reading of the table."""
        return _Cursor(self._answer)

    def Disconnect(self) -> None:
        """Nothing is held."""

    Destroy = Disconnect


class _Cursor:
    def __init__(self, answer: Callable[..., Iterable[tuple[Any, ...]]]) -> None:
        self._answer = answer
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._now: tuple[Any, ...] | None = None
        self._arguments: tuple[Any, ...] = ()

    def Filter(self, _number: int, _text: str | None, arguments: tuple[Any, ...]) -> None:
        self._arguments = arguments
        self._rows = iter(self._answer(*arguments))
        self._now = next(self._rows, None)

    def Eof(self) -> bool:
        return self._now is None

    def Rowid(self) -> int:
        return self.Column(0)  # type: ignore[no-any-return]

    def Column(self, number: int) -> Any:
        assert self._now is not None  # noqa: S101 (SQLite asks for no column behind the end)
        if number < 0:
            return self._now[0]
        return self._now[number] if number < len(self._now) else self._arguments[number - len(self._now)]

    def Next(self) -> None:
        self._now = next(self._rows, None)

    def Close(self) -> None:
        self._rows = iter(())

"""Applies one operation at a time on the writer's connection: its statements, its row images, its row in the log."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import apsw

from ghostwire.errors import ConflictError, GhostwireError, PermissionDeniedError, ValidationError
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import changelog, columns, engine, faults, sealed_upsert, spatial, sql
from ghostwire.zqlite.capture import Capture
from ghostwire.zqlite.changelog import Head
from ghostwire.zqlite.detached import Detached, Log
from ghostwire.zqlite.guard import Guard
from ghostwire.zqlite.operation import Operation, Patch, Result, Script
from ghostwire.zqlite.rows import Row, fetch
from ghostwire.zqlite.schema import Known, SchemaTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ghostwire.zqlite.layout import Catalogue
    from ghostwire.zqlite.operation import Params
    from ghostwire.zqlite.sealer import Sealer
    from ghostwire.zqlite.signing import Signer

_OWN: Final = apsw.SQLITE_PREPARE_PERSISTENT
"""Marks the store's own statements: the statement cache keeps them apart from a caller's of the same text."""

_APPEND: Final = "INSERT INTO main.change VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a store stands when it is opened: its tables, its newest row of the log, its epoch."""

    catalogue: Catalogue
    head: Head
    epoch: int


class Witness(Protocol):
    """Keeps something beside the tables, and hears on the writer's thread what has become of them."""

    def committed(self) -> None:
        """What was written is on the disk; nobody has been told yet."""

    def rolled_back(self) -> None:
        """Something of what was written since the last commit is gone."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the applier stood, to return to when what came after is rolled back."""

    known: Known
    sealed: frozenset[str]
    head: Head


class Applier:
    """The state that the writer thread works with. Nothing here is safe for a second thread."""

    def __init__(
        self,
        connection: apsw.Connection,
        start: Start,
        signer: Signer,
        sealer: Sealer,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.connection = connection
        self.epoch = start.epoch
        self.head = start.head
        self.signer = signer
        self.sealer = sealer
        self.witnesses: list[Witness] = []
        self._clock = clock
        self._signed = start.head.seq
        self._capture = Capture(connection)
        self._schema = SchemaTracker(connection, start.catalogue, self._capture)
        self._guard = Guard(connection)
        self._cursor = connection.cursor()
        self._guard.sealed = sealer.bases()
        self._detached: Detached | None = None
        self._start = self.mark()
        self._wrote = False

    @property
    def catalogue(self) -> Catalogue:
        """The tables that the log knows, and what they were."""
        return self._schema.known.catalogue

    @property
    def wrote(self) -> bool:
        """Whether the open operation has run anything that may write."""
        return self._wrote

    def mark(self) -> Mark:
        """Where the applier stands."""
        return Mark(self._schema.known, self._guard.sealed, self.head)

    def restore(self, mark: Mark) -> None:
        """Return to `mark`, after what came later was rolled back."""
        self.head = mark.head
        if mark.known is not self._schema.known:
            self._attach()
            self._schema.restore(mark.known)
        self._guard.sealed = mark.sealed
        self.sealer.rolled_back()
        for witness in self.witnesses:
            witness.rolled_back()

    def adopt(self, head: Head, catalogue: Catalogue) -> None:
        """Go on behind rows that a primary sent: they are in the log and the tables already."""
        self.head = head
        self._signed = head.seq
        self._attach()
        self._schema.adopt(catalogue)
        self._guard.sealed = self.sealer.bases()

    def own(self, text: str, params: tuple[Any, ...] = ()) -> apsw.Cursor:
        """Run one of the store's own statements."""
        guard = self._guard
        guard.trusting = True
        try:
            return self._cursor.execute(text, params, prepare_flags=_OWN)
        finally:
            guard.trusting = False

    def own_many(self, text: str, many: Sequence[tuple[Any, ...]]) -> None:
        """Run one of the store's own statements once for each of `many` parameters."""
        guard = self._guard
        guard.trusting = True
        try:
            self._cursor.executemany(text, many, prepare_flags=_OWN)
        finally:
            guard.trusting = False

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        """For a function that a statement has called: within, `own` runs statements of its own."""
        outer, self._cursor = self._cursor, self.connection.cursor()
        try:
            yield
        finally:
            self._cursor = outer

    def together(self, operations: Sequence[Operation], within: float) -> list[tuple[ChangeRecord, int]]:
        """Apply what can be without the interpreter, from the first on: rows in the log, and nanoseconds taken.

        It goes on for `within` seconds and begins the transaction where none is open. The operation that comes next is
        for `submit`. Raises what SQLite fails with where that has cost the whole transaction.
        """
        if self._detached is None:
            return []
        times = [self._clock() for _ in operations]
        log = Log(self.epoch, self._schema.known.catalogue.since, self.head)
        self._capture.pause()
        try:
            done = self._detached.apply(operations, times, log, within)
        finally:
            self._capture.resume()
        if done:
            newest = done[-1][0]
            self.head = Head(newest.seq, newest.ts, newest.hash)
        return done

    def submit(self, operation: Operation) -> ChangeRecord:
        """Apply an operation; its row in the log. Raises what refused it, with nothing of it left."""
        self.begin()
        at = 0
        try:
            execute, changes = self._cursor.execute, self.connection.changes
            for statement in operation.statements:
                part = sql.only(statement.sql)
                if part.defines:
                    self._define(part, statement.params)
                elif part.upserts:
                    self._upsert(part, statement.params)
                else:
                    execute(statement.sql, statement.params).fetchall()
                if statement.rows is not None and changes() != statement.rows:
                    raise ConflictError(
                        f"statement {at} changed {changes()} rows, not {statement.rows}: what was read has moved on"
                    )
                at += 1
            record = self.finish(operation.kind, operation.actor)
        except Exception as error:
            self.undo()
            refused = self.explain(error)
            if isinstance(refused, ConflictError):
                refused.statement = at
            raise refused from error
        if self._detached is None:
            self._detached = Detached(self.connection, self._guard, self._schema.known.found)
        self._detached.learn(operation)
        return record

    def close(self) -> None:
        """Close the connection, which moves the log into the file."""
        self._attach()
        engine.close(self.connection)

    def _attach(self) -> None:
        """Do everything the usual way, until operations have been learnt anew: the schema is another one."""
        if self._detached is not None:
            self._detached.close()
            self._detached = None

    def script(self, script: Script) -> Result:
        """Apply SQL text; its rows. Text that only reads leaves no row in the log."""
        self.begin()
        try:
            found = self.run(script)
            if self._wrote:
                found.seq = self.finish(script.kind or self.label(), script.actor).seq
            else:
                self.own("RELEASE op")
            return found
        except Exception as error:
            self.undo()
            raise self.explain(error) from error

    @contextlib.contextmanager
    def alone(self, kind: str = "") -> Iterator[None]:
        """A transaction of the store's own: one operation, with a row in the log labelled `kind` if it `run`s anything.

        It is committed at the end, or taken back where something is raised.
        """
        mark = self.mark()
        try:
            self.own("BEGIN IMMEDIATE")
            self.begin()
            yield
            if self._wrote:
                self.finish(kind, "")
            else:
                self.own("RELEASE op")
            self.commit()
        except BaseException:
            if self.connection.in_transaction:
                self.own("ROLLBACK")
            self.restore(mark)
            raise

    @contextlib.contextmanager
    def unlogged(self) -> Iterator[None]:
        """A transaction on the store's own tables, which leaves no row in the log: committed at the end, or nothing."""
        self.own("BEGIN IMMEDIATE")
        try:
            yield
            self.own("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.own("ROLLBACK")
            raise

    def begin(self) -> None:
        """Open an operation."""
        self.own("SAVEPOINT op")
        self._capture.begin()
        self._start = self.mark()
        self._wrote = False

    def run(self, script: Script | Patch) -> Result:
        """Run SQL text, or write into a BLOB, within the open operation."""
        if isinstance(script, Patch):
            return self._patch(script)
        if script.hold is None:
            return self._text(script)
        script.hold.begin(self.connection)
        try:
            return self._text(script)
        finally:
            script.hold.end(self.connection)

    def _patch(self, patch: Patch) -> Result:
        table = self._schema.known.found.tables.get(patch.table)
        sealed = patch.table.lower() in self._guard.sealed
        if table is None or table[1].key is not None or table[1].computes or sealed:
            raise ValidationError(f"{patch.table} is no table whose BLOBs can be written in place")
        self._capture.settle()
        with self.connection.blob_open("main", patch.table, patch.column, patch.rowid, True) as blob:
            blob.seek(patch.offset)
            blob.write(patch.data)
        self._wrote = True
        names = [column.name for column in table[1].stored]
        at = (names.index(patch.column), patch.offset, patch.data)
        self._capture.entries.append((table[1].id, changelog.PATCH, patch.rowid, at))
        return Result((), 1)

    def _text(self, script: Script) -> Result:
        if script.own:
            self._wrote = True
            return self._own_script(script)
        pieces = sql.parts(script.sql)
        if not pieces:
            raise ValidationError("there is no statement in this text")
        if script.many is not None:
            return self._many(pieces, script.many)
        if len(pieces) > 1 and script.params and not hasattr(script.params, "keys"):
            raise ValidationError("several statements at once take named parameters only")
        total = 0
        rows: list[Row] = []
        for piece in pieces:
            rows, changed = self._statement(piece, script.params)
            total += changed
        return Result(rows, total, self.connection.last_insert_rowid())

    def attempt(self, script: Script | Patch) -> Result:
        """Run one line within the open operation; if it fails, what came before it stands."""
        self._capture.settle()  # what came before must not be among what a failure takes back
        self.own("SAVEPOINT line")
        mark, captured, wrote = self.mark(), self._capture.hold(), self._wrote
        try:
            found = self.run(script)
            self.own("RELEASE line")
        except Exception as error:
            if self.connection.in_transaction:
                self.own("ROLLBACK TO line")
                self.own("RELEASE line")
            del self._capture.entries[captured:]
            self.restore(mark)
            self._wrote = wrote
            raise self.explain(error) from error
        return found

    def finish(self, kind: str, actor: str) -> ChangeRecord:
        """Close the operation with its row in the log."""
        record = self.close_rows(kind, actor)
        self.own("RELEASE op")
        return record

    def close_rows(self, kind: str, actor: str) -> ChangeRecord:
        """Append the operation's row images to the log. The operation stays open, for its events."""
        if self._capture.buffers:
            self.own("SAVEPOINT flush")
            self.own("RELEASE flush")
        self._capture.settle()
        self.sealer.reserve(self.own)
        self.check_references()
        body = changelog.row_body(self._schema.known.catalogue.since, self._capture.entries)
        record = self.append(kind, actor, body)
        if self._schema.known.changed:
            for row in self._schema.define(record.seq):
                self.own("INSERT INTO main.zq_layout VALUES (?, ?, ?)", row)
        return record

    def check_references(self) -> None:
        """A deferred reference must hold when its operation ends, or it would fail every operation of the commit."""
        if self.connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
            raise ConflictError("FOREIGN KEY constraint failed: a deferred reference has no row")

    def append(self, kind: str, actor: str, body: bytes) -> ChangeRecord:
        """Append a row to the log."""
        head, epoch = self.head, self.epoch
        seq = head.seq + 1
        ts = max(self._clock(), head.ts + 1)
        digest = changelog.digest(seq, epoch, ts, actor, kind, body, head.hash)
        self.own(_APPEND, (seq, epoch, ts, actor, kind, body, head.hash, digest))
        self.head = Head(seq, ts, digest)
        return ChangeRecord(seq, epoch, ts, actor, kind, body, head.hash, digest)

    def commit(self) -> None:
        """End the transaction, its newest row of the log signed."""
        head = self.head
        if head.seq > self._signed:
            signature = self.signer.sign(self.epoch, head.seq, head.hash)
            if self._detached is None or not self._detached.sign(head.seq, signature):
                self.own("INSERT INTO main.zq_group VALUES (?, ?)", (head.seq, signature))
        self.own("COMMIT")
        self._signed = head.seq
        for witness in self.witnesses:
            witness.committed()

    def undo(self) -> None:
        """Take the open operation back. SQLite may have taken back the whole transaction already."""
        if self.connection.in_transaction:
            self.own("ROLLBACK TO op")
            self.own("RELEASE op")
        self.restore(self._start)

    def label(self) -> str:
        """The kind of an operation whose caller named none."""
        return "ddl" if any(entry[0] == changelog.SCHEMA for entry in self._capture.entries) else "rows"

    def explain(self, error: Exception) -> GhostwireError:
        """The caller's error."""
        if isinstance(error, apsw.AuthError) and self._guard.denial:
            return PermissionDeniedError(f"a statement may not {self._guard.denial}")
        return faults.of_statement(error)

    def _own_script(self, script: Script) -> Result:
        """One statement of the store's own, whose rows enter the log like any other."""
        part = sql.only(script.sql)
        self._guard.trusting = True
        try:
            rows, changed = self._statement(part, script.params)
        finally:
            self._guard.trusting = False
        return Result(rows, changed)

    def _statement(self, part: sql.Part, params: Params) -> tuple[list[Row], int]:
        """Run one statement: its rows, and how many it changed."""
        if part.defines:
            self._define(part, params)
            return [], 0
        rows = self._upsert(part, params) if part.upserts else fetch(self._cursor.execute(part.text, params))
        if part.reads:
            return rows, 0
        self._wrote = True
        return rows, self.connection.changes()

    def _upsert(self, part: sql.Part, params: Params) -> list[Row]:
        try:
            return fetch(self._cursor.execute(part.text, params))
        except apsw.SQLError as error:
            pieces = self.sealer.upsert(part.text) if sealed_upsert.REFUSAL in str(error) else ()
            if not pieces:
                raise
        for text in pieces:
            self._cursor.execute(text, params).fetchall()
        return []

    def _define(self, part: sql.Part, params: Params) -> None:
        """Run a statement that changes the schema, and enter what it did."""
        self._wrote = True
        self._attach()
        self._capture.settle()
        text = spatial.drop(self.connection, part.text) if part.drops else None
        text = text or self.sealer.definition(part, self.own)
        self._guard.reshaping = text != part.text
        try:
            self._cursor.execute(text, params).fetchall()
        finally:
            self._guard.reshaping = False
        self._guard.trusting = True
        try:
            if columns.mentions(part.text):
                self.sealer.refuse_plain()
            self._capture.entries += self._schema.observe()
            self._guard.sealed = self.sealer.bases()
        finally:
            self._guard.trusting = False

    def _many(self, pieces: tuple[sql.Part, ...], many: Any) -> Result:
        if len(pieces) != 1 or pieces[0].defines or pieces[0].reads:
            raise ValidationError("executemany takes one INSERT, UPDATE or DELETE")
        self._wrote = True
        before = self.connection.total_changes()
        if pieces[0].upserts:
            for params in many:
                self._upsert(pieces[0], params)
        else:
            self._cursor.executemany(pieces[0].text, many).fetchall()
        return Result((), self.connection.total_changes() - before, self.connection.last_insert_rowid())

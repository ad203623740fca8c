"""SQLite's failures as Ghostwire's: one table, so that every layer of the store says the same about the same fault."""

from __future__ import annotations

import apsw

from ghostwire.errors import (
    ConflictError,
    DatabaseError,
    GhostwireError,
    InternalError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
    ValidationError,
)

_TAKEN = frozenset(
    {
        apsw.SQLITE_CONSTRAINT_UNIQUE,
        apsw.SQLITE_CONSTRAINT_PRIMARYKEY,
        apsw.SQLITE_CONSTRAINT_ROWID,
        apsw.SQLITE_CONSTRAINT_FOREIGNKEY,
    }
)

_FATAL = (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.ProtocolError)

_FULL = "the disk is full: free space, then try again; nothing of this write was kept and reads go on"


def is_fatal(error: BaseException) -> bool:
    """Whether after this failure nobody can know what is on the disk, so that the store must stop writing."""
    return isinstance(error, _FATAL)


def translate(error: Exception) -> GhostwireError:
    """The error that a caller gets for `error`; one that is Ghostwire's own already is returned as it is."""
    if isinstance(error, GhostwireError):
        return error
    text = str(error)
    if isinstance(error, apsw.ConstraintError):
        if getattr(error, "extendedresult", 0) in _TAKEN:
            return ConflictError(text)
        return ValidationError(text)
    for kinds, build in _TABLE:
        if isinstance(error, kinds):
            return build(text)
    return InternalError(f"unexpected {type(error).__name__} in the store: {text}")


def of_statement(error: Exception) -> GhostwireError:
    """The same where nothing but a caller's statement was run: a key that is missing is a parameter without a value."""
    if isinstance(error, KeyError):
        return ValidationError(f"no value was given for the parameter {error}")
    return translate(error)


def _database(text: str) -> GhostwireError:
    return DatabaseError(f"the store failed: {text}")


_TABLE = (
    (
        (
            apsw.SQLError,
            apsw.BindingsError,
            apsw.MismatchError,
            apsw.RangeError,
            apsw.TooBigError,
            TypeError,
            ValueError,
            OverflowError,
        ),
        ValidationError,
    ),
    ((apsw.CursorClosedError,), lambda _: UnavailableError("this read is over: read within its `with`")),
    ((apsw.FullError,), lambda _: ResourceExhaustedError(_FULL)),
    ((apsw.AuthError,), lambda text: PermissionDeniedError(f"the store does not let statements do this: {text}")),
    ((apsw.InterruptError,), lambda _: UnavailableError("the statement was interrupted at its deadline")),
    ((apsw.BusyError, apsw.LockedError), lambda text: UnavailableError(f"the store is busy: {text}", retry_after=0.1)),
    ((apsw.ReadOnlyError,), lambda text: DatabaseError(f"the store cannot be written: {text}")),
    (
        (apsw.CorruptError, apsw.NotADBError),
        lambda text: DatabaseError(f"the store's file is damaged ({text}): check the disk, and restore a backup"),
    ),
    ((apsw.CantOpenError,), lambda text: DatabaseError(f"the store cannot open its files: {text}")),
    ((apsw.NoMemError, MemoryError), lambda text: ResourceExhaustedError(f"out of memory: {text}")),
    ((apsw.Error,), _database),
)

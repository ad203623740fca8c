"""The error tree: one class a family, one stable code a class. It imports nothing and maps nothing.

Every message says what was wrong and what to do; none carries a secret.
"""

from __future__ import annotations

from typing import ClassVar


class GhostwireError(Exception):
    """The root. `code` is stable for scripts and the wire; `retryable`: the same call may succeed later.

    `retry_after` (seconds) is set where the refusing side knows when to come back.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class ValidationError(GhostwireError):
    """The input is wrong and stays wrong."""

    code = "validation"


class AuthenticationError(GhostwireError):
    """Who asks is not known, or did not prove it."""

    code = "authentication"


class PermissionDeniedError(GhostwireError):
    """Who asks is known, and may not."""

    code = "permission"


class NotFoundError(GhostwireError):
    """There is no such thing, or the asker may not know that there is."""

    code = "not_found"


class ConflictError(GhostwireError):
    """The request contradicts what is: a name taken, a version moved, a key owned by another.

    `statement` is the position of the statement that refused, where a batch of them was asked for.
    """

    code = "conflict"
    statement: int | None = None


class ResourceExhaustedError(GhostwireError):
    """Something bounded is used up: an address pool, a quota, a key's uses, a disk."""

    code = "resource_exhausted"
    retryable = True


class DatabaseError(GhostwireError):
    """The store could not do what it was asked."""

    code = "database"


class WireError(GhostwireError):
    """Bytes from the other side are not what the protocol says."""

    code = "wire"


class UnavailableError(GhostwireError):
    """The other side cannot be reached, or is stopping."""

    code = "unavailable"
    retryable = True


class InternalError(GhostwireError):
    """A fault of Ghostwire's own."""

    code = "internal"

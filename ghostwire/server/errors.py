"""How each error of the tree looks from outside: one table, one row a class, for every front end."""

from __future__ import annotations

from typing import Final, NamedTuple

from ghostwire import errors
from ghostwire.errors import GhostwireError


class Status(NamedTuple):
    """The HTTP status, the WebSocket close code (RFC 6455 section 7.4) and the gRPC status of one class."""

    http: int
    ws: int
    grpc: int


STATUS: Final[dict[type[GhostwireError], Status]] = {
    errors.ValidationError: Status(400, 4400, 3),
    errors.AuthenticationError: Status(401, 4401, 16),
    errors.PermissionDeniedError: Status(403, 4403, 7),
    errors.NotFoundError: Status(404, 4404, 5),
    errors.ConflictError: Status(409, 4409, 6),
    errors.ResourceExhaustedError: Status(429, 4429, 8),
    errors.DatabaseError: Status(503, 1011, 14),
    errors.WireError: Status(400, 1002, 3),
    errors.UnavailableError: Status(503, 1013, 14),
    errors.InternalError: Status(500, 1011, 13),
    GhostwireError: Status(500, 1011, 13),
}

CODES: Final[dict[int, str]] = {status.http: kind.code for kind, status in reversed(STATUS.items())} | {
    405: errors.ValidationError.code,
    408: errors.UnavailableError.code,
    413: errors.ResourceExhaustedError.code,
    415: errors.ValidationError.code,
    426: errors.WireError.code,
    431: errors.ResourceExhaustedError.code,
    503: errors.UnavailableError.code,
}
"""The stable code by HTTP status, for refusals that no error of the tree stands behind."""


def status_of(error: GhostwireError) -> Status:
    """The row of the error's class; a class without a row of its own is seen as its nearest ancestor with one."""
    for ancestor in type(error).__mro__:
        if ancestor in STATUS:
            return STATUS[ancestor]
    return STATUS[GhostwireError]


def status_of_code(code: str) -> Status:
    """The row of the class with this stable code; that of an internal error for a code that is not in the tree."""
    for kind, status in STATUS.items():
        if kind.code == code:
            return status
    return STATUS[errors.InternalError]

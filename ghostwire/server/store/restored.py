"""What must not come back with a restored store: credentials of an earlier time, and keys refused since."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from ghostwire import zqlite
from ghostwire.errors import ValidationError
from ghostwire.model.credential import RefusedKey
from ghostwire.zqlite.operation import Operation, Statement

KIND = "restore.void"
OUTCOME = "the store was restored"
_DENY = (
    "UPDATE access_requests SET state = 'denied', decided_at = ?, decided_by = ?, outcome = ?, version = version + 1 "
    "WHERE state = 'pending'"
)
_END = (
    "UPDATE access_requests SET state = 'revoked', ends_at = ?, outcome = ?, version = version + 1 "
    "WHERE state = 'approved'"
)
_REVOKE = (
    "UPDATE {} SET revoked = 1, version = version + 1 WHERE NOT revoked",
    ("preauth_keys", "api_tokens"),
)


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A refused node key as the list of refusals spells it: hexadecimal digits, why, and when (UTC nanoseconds)."""

    node_key: str
    reason: str
    at: int


async def void(db: zqlite.Store, refused: Iterable[RefusedKey], actor: str) -> None:
    """In one change: drop every session token, revoke every pre-auth key and API token, and refuse `refused` as well.

    Requests for access, and access that was granted on request, end, too. A node whose key is refused goes as if it
    had been deleted.
    """
    if await db.query_one("SELECT 1 FROM sqlite_schema WHERE name = 'session_tokens'") is None:
        raise ValidationError("this backup is not of a coordinator's store: it has no session tokens to void")
    text, tables = _REVOKE
    statements = [Statement("DELETE FROM session_tokens"), *(Statement(text.format(table)) for table in tables)]
    if await db.query_one("SELECT 1 FROM sqlite_schema WHERE name = 'access_requests'") is not None:
        now = time.time_ns()
        statements.append(Statement(_DENY, (now, actor, OUTCOME)))
        statements.append(Statement(_END, (now, OUTCOME)))
    for key in refused:
        statements.append(
            Statement(
                "INSERT INTO refused_keys(node_key, reason, at, version) VALUES (?, ?, ?, 1) ON CONFLICT DO NOTHING",
                (key.node_key, key.reason, key.at or time.time_ns()),
            )
        )
        statements.append(Statement("DELETE FROM nodes WHERE node_key = ?", (key.node_key,)))
    await db.submit(Operation(KIND, actor, tuple(statements)))


async def refusals(db: zqlite.Store) -> bytes:
    """The list of refused node keys, as JSON: a later restore takes it."""
    rows = await db.query("SELECT node_key, reason, at FROM refused_keys ORDER BY at, node_key")
    return msgspec.json.encode([Refusal(key.hex(), reason, at) for key, reason, at in rows])


def read_refusals(data: bytes) -> list[RefusedKey]:
    """The reverse of `refusals`. Raises ValidationError for what is no such list."""
    try:
        listed = msgspec.json.decode(data, type=list[Refusal])
        keys = [RefusedKey(node_key=bytes.fromhex(each.node_key), reason=each.reason, at=each.at) for each in listed]
    except (msgspec.DecodeError, ValueError) as error:
        raise ValidationError(
            f"this is no list of refused keys ({error}): `ghostwire db refusals` makes one"
        ) from error
    if any(len(key.node_key) != 32 for key in keys):
        raise ValidationError("the list of refused keys holds one that has not 32 bytes: it is damaged")
    return keys

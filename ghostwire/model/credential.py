"""Credentials as they are kept: never the secret, only its keyed BLAKE3 MAC."""

from __future__ import annotations

from typing import Literal

import msgspec

Scope = Literal["read", "write", "admin"]


class PreauthKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that lets machines register. `uses_left` is None for a reusable one; times are UTC nanoseconds.

    `ended_at` is when it was revoked or used up, 0 before that and where it is not known.
    """

    id: int
    mac: bytes
    user_id: int | None = None
    tags: tuple[str, ...] = ()
    uses_left: int | None = 1
    ephemeral: bool = False
    created_at: int = 0
    created_by: str = ""
    expires_at: int = 0
    revoked: bool = False
    ended_at: int = 0
    version: int = 1


class SessionToken(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A node's session token: one live per node, sliding."""

    node_id: int
    mac: bytes
    expires_at: int
    version: int = 1


class ApiToken(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's token for the REST interface. Who uses it acts as the user `user_id`, where it has one.

    `ended_at` is when it was revoked, 0 before that and where it is not known.
    """

    id: int
    mac: bytes
    name: str
    scope: Scope
    created_at: int
    created_by: str
    expires_at: int
    revoked: bool = False
    user_id: int | None = None
    ended_at: int = 0
    version: int = 1


class RefusedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A node key that is refused for ever: its node was deleted, or it was rotated away."""

    node_key: bytes
    reason: str
    at: int
    version: int = 1


class RestingAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A released address that may not be given again before `until` (UTC nanoseconds)."""

    address: str
    until: int
    version: int = 1


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A durable value of the coordinator's own: counters, the highest time seen, the key of MACs (so none is shown)."""

    name: str
    value: bytes
    version: int = 1

    def __repr__(self) -> str:
        return f"<Setting {self.name}>"

"""Users: who owns nodes."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["owner", "admin", "member"]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user. `id` is stable and never given again; `name` is the login name; times are UTC nanoseconds.

    `version` counts the row's changes: a decision that read it names it, and the writer compares.
    """

    id: int
    name: str
    display_name: str = ""
    email: str = ""
    role: Role = "member"
    created_at: int = 0
    version: int = 1


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """An identity at a provider. (issuer, subject) is the identity; an e-mail never is."""

    issuer: str
    subject: str
    user_id: int
    version: int = 1

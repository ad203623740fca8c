"""Policies as they are kept: every version that was ever in force, and the one that waits for its confirmation."""

from __future__ import annotations

from typing import Literal

import msgspec

Origin = Literal["apply", "rollback", "revert"]
"""How a version came: someone applied a text, someone went back, or nobody confirmed in time."""


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One policy text. The newest number is in force; an empty text is the default policy.

    `restores` is the number of the version whose text this one brings back, 0 for the default policy, None for a text
    of its own. `forced` are the objections that its author overrode.
    """

    number: int
    text: str
    author: str
    at: int
    note: str = ""
    origin: Origin = "apply"
    restores: int | None = None
    forced: tuple[str, ...] = ()
    version: int = 1


class Connection(msgspec.Struct, frozen=True):
    """A TCP connection that someone uses right now: from address `source` to `port` of address `target`."""

    source: str
    target: str
    port: int


class PolicyTrial(msgspec.Struct, frozen=True, kw_only=True):
    """The version `number` waits: unless confirmed before `deadline` (UTC nanoseconds), `restores` comes back.

    `bindings` is what the names of `restores` meant then, as the setting of the coordinator keeps it: coming back by
    itself gives no name to another user.
    """

    number: int
    restores: int
    deadline: int
    author: str
    bindings: bytes
    version: int = 1

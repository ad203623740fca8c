"""Users and nodes as plain mappings, in the shape of the replay contract's `input`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ghostwire._native import policy as native
from ghostwire.policy.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ghostwire.policy.language import Policy


class Directory(msgspec.Struct, frozen=True):
    """Who and what a policy is applied to, as the compiled engine reads it."""

    text: str


def directory(
    users: Sequence[Mapping[str, Any]],
    nodes: Mapping[str, Mapping[str, Any]],
    tailnet: Mapping[str, Any] | None = None,
) -> Directory:
    """Take users (a list) and nodes (by name; a node's `user` is the user's name, its `id` below 2^22)."""
    return Directory(msgspec.json.encode({"users": users, "nodes": nodes, "tailnet": tailnet}).decode())


def compile(policy: Policy, directory: Directory, at: int = 0) -> Engine:
    """Compile a policy over a directory as of a time (UTC nanoseconds).

    ValidationError says what in the directory cannot be read.
    """
    return Engine(native.Engine.over_json(policy.core, directory.text, at))

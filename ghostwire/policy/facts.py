"""What a policy is applied to: users, nodes, and the changes that happen to them."""

from __future__ import annotations

import msgspec


class UserFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One user. `id` is stable for ever; `role` is `owner`, `admin` or `member`."""

    id: int
    name: str
    email: str = ""
    role: str = "member"


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One node. `id` is its slot, below 2^22. A node has an owner (`user`, a stable user id) or tags, never both.

    `addresses` are its own, `routes` the approved prefixes it serves. What follows is reported by the node itself.
    """

    id: int
    user: int | None = None
    tags: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    os: str = ""
    version: str = ""
    country: str = ""
    region: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What might happen: a node comes or becomes something else (`node`), or the node `leave` goes."""

    node: NodeFacts | None = None
    leave: int | None = None

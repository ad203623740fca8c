"""What a policy is applied to: users, nodes, and the changes that happen to them."""

from __future__ import annotations

import msgspec


class UserFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One user. `id` is stable for ever; `role` is `owner`, `admin`, `member` or another role of the language."""

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


class RuleMatch(msgspec.Struct, frozen=True):
    """One rule in an explanation: where it stands, and which parts of the connection it matches.

    `section` is `acls` or `grants`, `index` the rule's position in it from 0; `line` and `column` count from 1.
    """

    section: str
    index: int
    line: int
    column: int
    source: bool
    target: bool
    ports: bool


class Explanation(msgspec.Struct, frozen=True):
    """Why a connection is allowed or denied: every rule that allows it, or the one that comes nearest, if any."""

    allowed: bool
    rules: tuple[RuleMatch, ...]


class Remark(msgspec.Struct, frozen=True):
    """What is legal in a policy and probably not meant.

    `kind` is `broad`, `duplicate`, `shadowed`, `idle` (no node matches now), `reported` (rests on what nodes say of
    themselves) or `unused`. Line and column count from 1; 0 is the policy as a whole.
    """

    kind: str
    message: str
    line: int
    column: int


UserRow = tuple[int, str, str, str]
NodeRow = tuple[int, int | None, list[str], list[str], list[str], list[tuple[str, str]]]


def user_row(user: UserFacts) -> UserRow:
    """A user as the compiled engine takes it."""
    return user.id, user.name, user.email, user.role


def node_row(node: NodeFacts) -> NodeRow:
    """A node as the compiled engine takes it."""
    reported = ("os", node.os), ("version", node.version), ("country", node.country), ("region", node.region)
    facts = [fact for fact in reported if fact[1]]
    return node.id, node.user, list(node.tags), list(node.addresses), list(node.routes), facts

"""What a policy is applied to: users, nodes, and the changes that happen to them."""

from __future__ import annotations

import msgspec

from ghostwire.model.filter import FilterRule


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


class AccessGrant(msgspec.Struct, frozen=True, kw_only=True):
    """Access that was asked for and approved: the policy allows it beside its own rules until a UTC nanosecond.

    It is for all devices of `user`, or for the one node `source` alone. `destinations` are node ids, tags (`tag:web`)
    or prefixes; `ip` says ports as in a grant (`tcp:22`, `443`, `*`).
    """

    id: int
    user: int
    source: int | None = None
    destinations: tuple[int | str, ...]
    ip: tuple[str, ...]
    until: int


class RequestRule(msgspec.Struct, frozen=True):
    """The rule of `requests` that covers a request: its name, ids of the users who may approve it, longest time."""

    name: str
    approvers: tuple[int, ...]
    longest_s: int


class WrittenRule(msgspec.Struct, frozen=True):
    """A rule and where it stands: section and place in it from 0, line and column from 1.

    `id` names it by what it says: the same in every text that has the rule, and for rules that say the same.
    """

    section: str
    index: int
    line: int
    column: int
    id: int


class Limit(msgspec.Struct, frozen=True):
    """A window that an answer rests on: the rule's own (`of` is empty), or a membership in the group `of`.

    `expires` and `turns` (when it next opens or closes) are UTC nanoseconds, 0 for never.
    """

    of: str
    schedule: str
    expires: int
    open: bool
    turns: int


class RuleMatch(msgspec.Struct, frozen=True):
    """One rule in an explanation: where it stands, and which parts of the connection it matches.

    `section` is `acls`, `grants`, one of these or `deny` under `ghostwire.`, or `access` for what was approved on
    request (its `index` is the request's number, line and column are 0). `index` is the rule's position in its section
    from 0; `line` and `column` count from 1. `open` says whether the rule's own window is; `limits` are all windows
    that it rests on. Of `conditions` (postures too) one must hold; `reported` are the facts in them that the source
    reports of itself.
    """

    section: str
    index: int
    line: int
    column: int
    source: bool
    target: bool
    ports: bool
    open: bool = True
    limits: tuple[Limit, ...] = ()
    conditions: tuple[tuple[str, bool], ...] = ()
    reported: tuple[str, ...] = ()

    @property
    def denies(self) -> bool:
        """Whether the rule refuses what it matches."""
        return self.section == "ghostwire.deny"


class SightEnds(msgspec.Struct, frozen=True):
    """When a node loses sight of others by itself: by class, and by node where another time holds than of its class.

    UTC nanoseconds; 0 in `nodes` stands for never. Whoever is in neither is seen until something changes.
    """

    classes: dict[int, int]
    nodes: dict[int, int]

    def of(self, class_id: int, node_id: int) -> int:
        """When the node loses sight of one that it sees, 0 for never."""
        return self.nodes.get(node_id, self.classes.get(class_id, 0))


class Explanation(msgspec.Struct, frozen=True):
    """Why a connection is allowed or denied.

    Every rule that allows it; for a denial the `deny` rules and then what these overrule, or else the one rule that
    comes nearest, if any.
    """

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
AccessRow = tuple[int, int, int | None, list[int], list[str], list[str], int]
LimitRow = tuple[str, str, int, bool, int]
RuleRow = tuple[tuple[str, int, int, int, bool, bool, bool], bool, list[LimitRow], list[tuple[str, bool]], list[str]]
FilterRow = tuple[list[int], bool, list[str], list[str], list[tuple[int, int]], list[int], bool, int, int]
NodeRow = tuple[int, int | None, list[str], list[str], list[str], list[tuple[str, str]]]


def user_row(user: UserFacts) -> UserRow:
    """A user as the compiled engine takes it."""
    return user.id, user.name, user.email, user.role


def node_row(node: NodeFacts) -> NodeRow:
    """A node as the compiled engine takes it."""
    reported = ("os", node.os), ("version", node.version), ("country", node.country), ("region", node.region)
    facts = [fact for fact in reported if fact[1]]
    return node.id, node.user, list(node.tags), list(node.addresses), list(node.routes), facts


def access_row(grant: AccessGrant) -> AccessRow:
    """Approved access as the compiled engine takes it."""
    nodes = [name for name in grant.destinations if isinstance(name, int)]
    names = [name for name in grant.destinations if isinstance(name, str)]
    return grant.id, grant.user, grant.source, nodes, names, list(grant.ip), grant.until


def filter_rule(row: FilterRow, classes: tuple[int, ...], prefixes: tuple[str, ...]) -> FilterRule:
    """A filter's rule as the compiled engine gives it, with these sources."""
    _, same_owner, _, destinations, ports, protocols, deny, until, rule = row
    return FilterRule(
        classes=classes,
        same_owner=same_owner,
        prefixes=prefixes,
        destinations=tuple(destinations),
        ports=tuple(ports),
        protocols=tuple(protocols),
        deny=deny,
        until=until,
        rule=rule,
    )

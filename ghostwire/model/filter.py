"""What a node lets in, and until when it sees whom: named by class, so that a join rewrites neither."""

from __future__ import annotations

import msgspec


class FilterRule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One rule. A packet matches when its source, destination, protocol and destination port all match.

    The source matches when the sending peer's class is in `classes`, or `same_owner` holds and peer and self have the
    same owner (0 owns nothing), or the source address lies in one of `prefixes`.
    `destinations` are prefixes; empty means the node's own addresses. `ports` are inclusive ranges of destination
    ports and only bind protocols that have ports; empty means every port. `protocols` are IP protocol numbers; empty
    means every protocol. A `deny` rule that matches refuses at once, whatever accepts stand beside it; with no match
    at all the packet is refused. `until` is the UTC nanosecond at which the rule ends by itself, 0 for never.
    `rule` names the rule of the policy that it comes from, for counting what it does; 0 for none.
    """

    classes: tuple[int, ...] = ()
    same_owner: bool = False
    prefixes: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    ports: tuple[tuple[int, int], ...] = ()
    protocols: tuple[int, ...] = ()
    deny: bool = False
    until: int = 0
    rule: int = 0


class SightEnd(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Until when (UTC nanoseconds) a node is shown peers of `classes`, and these `nodes`, by id.

    What is said of a node counts, and not what is said of its class; `until` 0 is for good. Who is in no such entry is
    shown as long as the map does.
    """

    classes: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()
    until: int = 0

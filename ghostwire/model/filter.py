"""The native packet filter: what may come in to a node, named by class so that a join rewrites no filter."""

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

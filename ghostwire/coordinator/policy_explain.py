"""Why one node may reach another or not: who they are, which rule says so, and what is missing where none does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any, Final, NamedTuple

import msgspec

from ghostwire.coordinator.census import served_routes
from ghostwire.coordinator.policy_ports import NAMES, Access, Point, admits, differing, points_of
from ghostwire.coordinator.policy_text import Excerpts, document, groups_at_times, groups_of, rule_of
from ghostwire.model.filter import FilterRule
from ghostwire.model.node import Node
from ghostwire.model.policy import PolicyVersion
from ghostwire.model.time import SECOND
from ghostwire.model.user import User
from ghostwire.policy import Engine, Explanation, Limit, RuleMatch

_TCP: Final = 6


class End(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a connection: what the policy knows it by.

    `at_times` are groups that its user is in for a time only. `reported` is what the node says of itself, and could say
    otherwise. `routes` are networks that it serves.
    """

    node: int
    name: str
    addresses: tuple[str, ...]
    user: str | None
    role: str | None
    tags: tuple[str, ...]
    groups: tuple[str, ...]
    at_times: tuple[str, ...]
    routes: tuple[str, ...]
    reported: dict[str, str]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A window that a rule rests on: its own, or a membership in the group `of`.

    It ends for good when it `expires`, and opens or closes next when it `turns`; None for never.
    """

    of: str
    schedule: str
    expires: datetime | None
    open: bool
    turns: datetime | None


class RuleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A rule: where it stands, its line, and what of the connection it does not match (nothing where it allows it).

    A rule that `denies` refuses what it matches. Section `access` is access on request, its index the request's number.
    Of `conditions`, with whether each holds, one must; `reported` are facts in them that the source says of itself.
    """

    section: str
    index: int
    line: int
    column: int
    text: str
    denies: bool
    postures: tuple[str, ...]
    windows: tuple[Window, ...]
    conditions: dict[str, bool]
    reported: tuple[str, ...]
    missing: tuple[str, ...]


class Direction(msgspec.Struct, frozen=True, kw_only=True):
    """One direction. `rules` are all that allow it, or else the nearest one; `access` everything that is allowed."""

    source: str
    target: str
    protocol: str
    port: int | None
    allowed: bool
    rules: tuple[RuleAnswer, ...]
    access: Access


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends and both directions, under version `policy` (0: the default policy), at the time `at`.

    Where an address was asked about that no node has, it is `address`, in the network `via` that `target` serves.
    """

    policy: int
    at: datetime
    source: End
    target: End
    address: str | None
    via: str | None
    there: Direction
    back: Direction


class Behind(NamedTuple):
    """An address that no node has, and the network that it lies in."""

    address: str
    route: str


class Explainer:
    """Answers about the policy in force, as `engine` has it; `at` is the time that this is about."""

    def __init__(
        self, engine: Engine, version: PolicyVersion, users: Mapping[int, User], domain: str, at: datetime
    ) -> None:
        self._engine = engine
        self._at = at
        self._text = version.text
        self._excerpts = Excerpts(version.text)
        self._number = version.number
        self._sections = document(version.text) if version.text else {}
        self._users = users
        self._domain = domain

    def answer(self, source: Node, target: Node, protocol: int = _TCP, port: int | None = None) -> Answer:
        """Explain both directions; without a port, the first one that is allowed."""
        return Answer(
            policy=self._number,
            at=self._at,
            source=self._end(source),
            target=self._end(target),
            address=None,
            via=None,
            there=self._direction(source, target, protocol, port),
            back=self._direction(target, source, protocol, port),
        )

    def answer_behind(self, source: Node, router: Node, place: Behind, protocol: int, port: int | None) -> Answer:
        """The same for an address in a network that a node serves."""
        own = source.ipv6 if ":" in place.address else source.ipv4
        rules = self._engine.native_filter(router.slot)
        points = points_of(rules)
        there, back = (source.name, place.address), (place.address, source.name)
        directions = []
        for left, right, names in ((own, place.address, there), (place.address, own, back)):
            open_at = [self._engine.decide_address(left, right, point.protocol, point.port) for point in points]
            asked = _asked(points, open_at, protocol) if port is None else port
            found = self._engine.explain_address(left, right, protocol, asked)
            directions.append(self._told(names, found, points, open_at, (protocol, port, asked)))
        return Answer(
            policy=self._number,
            at=self._at,
            source=self._end(source),
            target=self._end(router),
            address=place.address,
            via=place.route,
            there=directions[0],
            back=directions[1],
        )

    def _end(self, node: Node) -> End:
        user = None if node.user_id is None else self._users.get(node.user_id)
        names = () if user is None else tuple(filter(None, (user.name, f"{user.name}@", user.email)))
        reported = {"os": node.os, "version": node.agent_version, "country": node.country, "region": node.region}
        return End(
            node=node.id,
            name=f"{node.name}.{self._domain}" if self._domain else node.name,
            addresses=(node.ipv4, node.ipv6),
            user=None if user is None else user.name,
            role=None if user is None else user.role,
            tags=node.tags,
            groups=groups_of(self._sections, names),
            at_times=groups_at_times(self._sections, names),
            routes=served_routes(node),
            reported={name: value for name, value in reported.items() if value},
        )

    def _direction(self, source: Node, target: Node, protocol: int, port: int | None) -> Direction:
        rules = self._engine.native_filter(target.slot)
        points = points_of(rules)
        class_id = self._engine.class_of(source.slot)
        open_at = [_is_open(rules, source, target, class_id, point) for point in points]
        asked = _asked(points, open_at, protocol) if port is None else port
        found = self._engine.explain(source.slot, target.slot, protocol, asked)
        return self._told((source.name, target.name), found, points, open_at, (protocol, port, asked))

    def _told(
        self,
        names: tuple[str, str],
        found: Explanation,
        points: Sequence[Point],
        open_at: Sequence[bool],
        question: tuple[int, int | None, int],
    ) -> Direction:
        """One direction; the question is a protocol, the port that was asked about, and the one that is explained."""
        protocol, port, explained = question
        return Direction(
            source=names[0],
            target=names[1],
            protocol=NAMES.get(protocol, str(protocol)),
            port=port if port is not None else (explained or None),
            allowed=found.allowed,
            rules=tuple(self._rule(rule, found.allowed, names, protocol, port) for rule in found.rules),
            access=differing(points, [False] * len(points), open_at),
        )

    def _rule(
        self, match: RuleMatch, allowed: bool, names: tuple[str, str], protocol: int, port: int | None
    ) -> RuleAnswer:
        on_request = match.section == "access"
        written = {} if on_request else rule_of(self._sections, match.section, match.index)
        return RuleAnswer(
            section=match.section,
            index=match.index,
            line=match.line if self._text else 0,
            column=match.column if self._text else 0,
            text=f"access request {match.index}" if on_request else self._excerpts.at(match.line, match.column),
            denies=match.denies,
            postures=_texts(written.get("srcposture")),
            windows=tuple(map(_window, match.limits)),
            conditions=dict(match.conditions),
            reported=match.reported,
            missing=() if allowed or match.denies else tuple(_missing(match, written, names, protocol, port)),
        )


def _asked(points: Sequence[Point], open_at: Sequence[bool], protocol: int) -> int:
    """The port to explain where none was asked about: the first that is allowed, 0 for none."""
    allowed = (
        point.port for point, is_open in zip(points, open_at, strict=True) if is_open and point.protocol == protocol
    )
    return next(allowed, 0)


def _missing(
    match: RuleMatch, rule: Mapping[str, Any], names: tuple[str, str], protocol: int, port: int | None
) -> Iterable[str]:
    """What would have to be otherwise for the rule to allow it."""
    what = NAMES.get(protocol, str(protocol)) + ("" if port is None else f" {port}")
    sources, targets = _texts(rule.get("src") or rule.get("users")), _texts(rule.get("dst") or rule.get("ports"))
    if not match.source:
        postures = tuple(name for name, _ in match.conditions)
        also = f" that meets one of {', '.join(postures)}" if postures else ""
        yield f"{names[0]} is none of its sources ({', '.join(sources)}){also}"
    if not match.target:
        yield f"{names[1]} is none of its destinations ({', '.join(targets)})"
    if not match.ports:
        given = _texts(rule.get("ip")) or targets
        proto = rule.get("proto")
        within = f"{proto} to {', '.join(given)}" if proto else ", ".join(given)
        yield f"{what} is not among its ports ({within})"
    for limit in match.limits:
        if not limit.open:
            yield f"{f'the membership in {limit.of}' if limit.of else 'the rule'} does not hold now ({_until(limit)})"
    if match.source and match.target and match.ports and match.open:
        yield "a denial overrules it"


def _until(limit: Limit) -> str:
    """What a window that is closed waits for."""
    said = [f"schedule {limit.schedule!r}"] if limit.schedule else []
    if limit.turns:
        said.append(f"opens {_spelled(limit.turns)}")
    elif limit.expires:
        said.append(f"expired {_spelled(limit.expires)}")
    return ", ".join(said)


def _window(limit: Limit) -> Window:
    return Window(
        of=limit.of,
        schedule=limit.schedule,
        expires=_when(limit.expires),
        open=limit.open,
        turns=_when(limit.turns),
    )


def _spelled(utc: int) -> str:
    return f"{_when(utc):%Y-%m-%dT%H:%M:%SZ}"


def _when(utc: int) -> datetime | None:
    return datetime.fromtimestamp(utc // SECOND, UTC) if utc else None


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(str(part) for part in value)
    return () if value is None else (str(value),)


def _is_open(rules: Iterable[FilterRule], source: Node, target: Node, class_id: int, point: Point) -> bool:
    """Whether a filter lets the source in there: some rule accepts it and none denies it."""
    fitting = [rule.deny for rule in rules if _fits(rule, source, target, class_id, point)]
    return bool(fitting) and not any(fitting)


def _fits(rule: FilterRule, source: Node, target: Node, class_id: int, point: Point) -> bool:
    """Whether a rule of the target's filter is about the source and that place."""
    same_owner = rule.same_owner and source.user_id is not None and source.user_id == target.user_id
    if not (class_id in rule.classes or same_owner or _lies_in((source.ipv4, source.ipv6), rule.prefixes)):
        return False
    if rule.destinations and not _lies_in((target.ipv4, target.ipv6), rule.destinations):
        return False
    return admits(rule, point)


def _lies_in(addresses: Sequence[str], prefixes: Iterable[str]) -> bool:
    parsed = [ip_address(address) for address in addresses]
    networks = [ip_network(prefix, strict=False) for prefix in prefixes]
    return any(address in network for address in parsed for network in networks)

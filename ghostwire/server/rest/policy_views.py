"""What the policy's routes take and show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from ghostwire.coordinator.policy_diff import PolicyDiff
from ghostwire.coordinator.policy_edges import EdgeGroup, Pairs
from ghostwire.coordinator.policy_text import Excerpts
from ghostwire.coordinator.policy_versions import LONGEST_WAIT_S
from ghostwire.coordinator.rule_hits import NO_RULE, RuleCount
from ghostwire.coordinator.views import policy_of
from ghostwire.model.policy import Connection, Origin, PolicyTrial, PolicyVersion
from ghostwire.policy import Remark
from ghostwire.server.rest.views import View, moment

Number = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all that puts another policy in force takes.

    `force` overrides failing tests, a cut of the caller's own connection, a wait for what only takes away.
    `connections` are the caller's own (over SSH, say) besides the one that carries this request.
    """

    note: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    force: bool = False
    connections: Annotated[tuple[Connection, ...], msgspec.Meta(max_length=16)] = ()


class PolicyText(Change, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy as HuJSON. A text with neither `acls` nor `grants` allows everything, and needs `allow_all`.

    Unless confirmed within `confirm_within_s` seconds the version before comes back. `replace` ends another's wait.
    """

    text: str
    allow_all: bool = False
    confirm_within_s: Annotated[float, msgspec.Meta(ge=1, le=LONGEST_WAIT_S)] | None = None
    replace: bool = False


class Confirmation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The version to keep; without a number, the one that waits."""

    number: Number | None = None


class Rollback(Change, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The version to bring back: 0 for the default policy; without a number, the one before."""

    number: Number | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text, or a version; neither is the version in force."""

    text: str | None = None
    number: Number | None = None


class Comparison(Candidate, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is compared: it is held against version `against`, or the one in force."""

    against: Number | None = None


class ReplayCase(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded case: a policy and a network (`input`, as `ghostwire policy replay` reads it). The rest is ignored."""

    test_id: str
    input: dict[str, Any]


class ReplayCases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Recorded cases to answer."""

    cases: list[ReplayCase]


class VersionView(View, frozen=True, kw_only=True):
    """A version without its text. `restores`: whose text it brought back; `forced`: what its author overrode."""

    number: int
    author: str
    at: datetime | None
    note: str
    origin: Origin
    restores: int | None
    forced: tuple[str, ...]
    in_force: bool
    waits_until: datetime | None


class VersionList(View, frozen=True, kw_only=True):
    """Every version that was ever in force, newest first."""

    versions: list[VersionView]


class PolicyView(VersionView, frozen=True, kw_only=True):
    """A version. `number` 0 is the default: each user's own devices see each other, nothing else; it has no text."""

    text: str | None


class PolicyCheck(View, frozen=True, kw_only=True):
    """The text is a policy. `allows_everything`: it names no rules at all, which in this language allows everything."""

    valid: bool
    allows_everything: bool
    warnings: tuple[str, ...]


class PolicyRemarks(View, frozen=True, kw_only=True):
    """What is legal in a policy and probably not meant, in order of place."""

    remarks: tuple[Remark, ...]


class Replayed(View, frozen=True, kw_only=True):
    """The answer to each case, in order: whether its policy is accepted, and what each node would be sent."""

    results: list[dict[str, Any]]


class HitsView(View, frozen=True, kw_only=True):
    """How often something was let in or refused, when that was last told, and how many nodes ever told."""

    hits: int
    last: datetime | None
    nodes: int

    @classmethod
    def of(cls, count: RuleCount) -> HitsView:
        """The view of a count."""
        return cls(hits=count.hits, last=moment(count.last), nodes=count.nodes)


class RuleHitsView(HitsView, frozen=True, kw_only=True):
    """What a rule did. `index` is its place in its section, from 0, `text` the rule as it is written, on one line.

    Counted are flows that it let in, and attempts that it refused, by the nodes that were to be reached.
    """

    section: str
    index: int
    line: int
    column: int
    text: str


class PolicyHits(View, frozen=True, kw_only=True):
    """What each rule of a version did, in the order of the text; `refused` is what no rule accepted.

    A rule keeps its count as long as it says the same, also across versions.
    """

    number: int
    rules: list[RuleHitsView]
    refused: HitsView


class PolicyTest(View, frozen=True, kw_only=True):
    """Whether a policy's own tests hold for the users and nodes there are; else the first that does not."""

    passed: bool
    failure: str | None


class EdgesView(View, frozen=True, kw_only=True):
    """From each of these nodes to each of those, itself left out: `count` edges.

    `pairs`: all of them, or only where both have the same owner or other owners. `route` is the network behind the
    targets that is meant instead of the targets themselves.
    """

    sources: list[str]
    targets: list[str]
    access: tuple[str, ...]
    pairs: Pairs
    route: str | None
    count: int

    @classmethod
    def of(cls, edges: EdgeGroup, names: Mapping[int, str]) -> EdgesView:
        """The view of a group of edges between nodes with these names."""
        return cls(
            sources=[names[slot] for slot in edges.sources],
            targets=[names[slot] for slot in edges.targets],
            access=edges.access,
            pairs=edges.pairs,
            route=edges.route or None,
            count=edges.count,
        )


class DiffView(View, frozen=True, kw_only=True):
    """What one policy allows and another does not, and every node on either end."""

    gained: list[EdgesView]
    lost: list[EdgesView]
    gained_edges: int
    lost_edges: int
    touched: list[str]

    @classmethod
    def of(cls, diff: PolicyDiff, names: Mapping[int, str]) -> DiffView:
        """The view of a difference between nodes with these names."""
        return cls(
            gained=[EdgesView.of(edges, names) for edges in diff.gained],
            lost=[EdgesView.of(edges, names) for edges in diff.lost],
            gained_edges=sum(edges.count for edges in diff.gained),
            lost_edges=sum(edges.count for edges in diff.lost),
            touched=[names[slot] for slot in diff.touched],
        )


def version_view(record: PolicyVersion, head: PolicyVersion | None, trial: PolicyTrial | None) -> VersionView:
    """The view of a version, without its text."""
    waits = trial is not None and trial.number == record.number
    return VersionView(
        number=record.number,
        author=record.author,
        at=moment(record.at),
        note=record.note,
        origin=record.origin,
        restores=record.restores,
        forced=record.forced,
        in_force=record.number == (0 if head is None else head.number),
        waits_until=moment(trial.deadline) if trial is not None and waits else None,
    )


def policy_view(record: PolicyVersion, head: PolicyVersion | None, trial: PolicyTrial | None) -> PolicyView:
    """The view of a version."""
    return PolicyView(**msgspec.structs.asdict(version_view(record, head, trial)), text=record.text or None)


def hits_view(number: int, text: str, counts: Mapping[int, RuleCount]) -> PolicyHits:
    """The view of a version with this text; an empty one is the default policy, whose rule is not counted by."""
    excerpts, nothing = Excerpts(text), RuleCount()
    rules = sorted(policy_of(text).rules(), key=lambda rule: (rule.line, rule.column)) if text else []
    found = [
        RuleHitsView(
            section=rule.section,
            index=rule.index,
            line=rule.line,
            column=rule.column,
            text=excerpts.at(rule.line, rule.column),
            **msgspec.structs.asdict(HitsView.of(counts.get(rule.id, nothing))),
        )
        for rule in rules
    ]
    return PolicyHits(number=number, rules=found, refused=HitsView.of(counts.get(NO_RULE, nothing)))

"""The access policy over REST: in force, tried, put in force for a while or for good, and every version there was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Controller, Request, get, post, put
from litestar.params import JSONBody, Parameter, QueryParameter

from ghostwire.coordinator.census import Census
from ghostwire.coordinator.commands import ApplyPolicy, ConfirmPolicy, RollbackPolicy
from ghostwire.coordinator.policy_diff import Meaning, compare
from ghostwire.coordinator.policy_explain import Answer
from ghostwire.coordinator.view import Question
from ghostwire.coordinator.views import policy_of
from ghostwire.errors import ResourceExhaustedError, ValidationError
from ghostwire.model.policy import Connection, PolicyVersion
from ghostwire.model.time import SECOND
from ghostwire.policy import Policy
from ghostwire.policy import replay as replaying
from ghostwire.server.rest.access import FromCaller, connected_at
from ghostwire.server.rest.desk import AtDesk, Desk
from ghostwire.server.rest.policy_views import (
    Candidate,
    Change,
    Comparison,
    Confirmation,
    DiffView,
    PolicyCheck,
    PolicyHits,
    PolicyRemarks,
    PolicyTest,
    PolicyText,
    PolicyView,
    ReplayCase,
    ReplayCases,
    Replayed,
    Rollback,
    VersionList,
    hits_view,
    policy_view,
    version_view,
)

POLICY_BYTES: Final = 64 * 1024 * 1024
"""The longest policy text: 100,000 rules are about 10 MB. Other bodies are bounded far below."""
Number = Annotated[int, Parameter(ge=0, le=2**53 - 1, description="A version's number; 0 is the default policy.")]
End = Annotated[str, QueryParameter(min_length=1, max_length=256, description="A node's name or id, or an address.")]
Port = Annotated[int | None, QueryParameter(ge=0, le=65535, description="Without one, the first that is allowed.")]
Protocol = Annotated[Literal["tcp", "udp", "icmp", "sctp"], QueryParameter(description="Its protocol.")]
At = Annotated[datetime | None, QueryParameter(description="Another time, with its zone (UTC without one).")]
PROTOCOLS: Final[dict[str, int]] = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
LATEST_S: Final = 7_258_118_400
"""The year 2200: nanoseconds of later ones may not fit."""
AnyRequest = Request[Any, Any, Any]


class PolicyRoutes(Controller):
    """Who may reach whom."""

    path = "/policy"
    tags = ["policy"]  # noqa: RUF012 - the framework's own way to say it

    @get("/", opt={"scope": "read"}, summary="The policy in force")
    async def show(self, desk: AtDesk) -> PolicyView:
        """The policy in force."""
        return shown(desk, desk.view.policy() or desk.view.policy_version(0))

    @put("/", opt={"scope": "admin"}, request_max_body_size=2 * POLICY_BYTES, summary="Put a policy in force")
    async def apply(
        self, desk: AtDesk, caller: FromCaller, request: AnyRequest, data: JSONBody[PolicyText]
    ) -> PolicyView:
        """Check a text and put it in force; answered once it is durable."""
        bounded(data.text)
        applied = await desk.ask(
            lambda op: ApplyPolicy(
                op=op,
                actor=caller.actor,
                text=data.text,
                author=caller.actor,
                note=data.note,
                allow_all=data.allow_all,
                confirm_within_s=data.confirm_within_s,
                replace=data.replace,
                force=data.force,
                connections=connections(request, data),
            )
        )
        return shown(desk, applied)

    @post("/confirm", opt={"scope": "admin"}, status_code=200, summary="Keep the policy that waits")
    async def confirm(
        self, desk: AtDesk, caller: FromCaller, request: AnyRequest, data: JSONBody[Confirmation]
    ) -> PolicyView:
        """Keep the version that waits, on a connection made after it came into force."""
        since = connected_at(request)
        kept = await desk.ask(
            lambda op: ConfirmPolicy(op=op, actor=caller.actor, number=data.number, connected_at=since)
        )
        return shown(desk, kept)

    @post("/rollback", opt={"scope": "admin"}, status_code=200, summary="Bring an earlier policy back")
    async def rollback(
        self, desk: AtDesk, caller: FromCaller, request: AnyRequest, data: JSONBody[Rollback]
    ) -> PolicyView:
        """Bring an earlier version back, as a new one; it ends the wait of one that waits."""
        applied = await desk.ask(
            lambda op: RollbackPolicy(
                op=op,
                actor=caller.actor,
                number=data.number,
                note=data.note,
                force=data.force,
                connections=connections(request, data),
            )
        )
        return shown(desk, applied)

    @post(
        "/check",
        opt={"scope": "read"},
        status_code=200,
        request_max_body_size=2 * POLICY_BYTES,
        summary="Try a policy",
    )
    async def check(self, desk: AtDesk, data: JSONBody[PolicyText]) -> PolicyCheck:
        """Read a text as `put` would, and change nothing."""
        bounded(data.text)
        policy = await desk.aside(Policy.parse, data.text)
        return PolicyCheck(valid=True, allows_everything=policy.allows_everything, warnings=())

    @post(
        "/test",
        opt={"scope": "read"},
        status_code=200,
        request_max_body_size=2 * POLICY_BYTES,
        summary="Run a policy's own tests",
    )
    async def test(self, desk: AtDesk, data: JSONBody[Candidate]) -> PolicyTest:
        """Run the `tests` and `sshTests` of a text or a version over the users and nodes there are."""
        text = text_of(desk, data)
        return await desk.aside(_tested, text, desk.view.policy_census(), bindings_of(desk, data))

    @post(
        "/diff",
        opt={"scope": "read"},
        status_code=200,
        request_max_body_size=2 * POLICY_BYTES,
        summary="Compare policies",
    )
    async def diff(self, desk: AtDesk, data: JSONBody[Comparison]) -> DiffView:
        """Every edge that a text or a version would give and take, for the nodes there are."""
        against = Candidate(number=data.against)
        return await differing(desk, against, data)

    @post(
        "/lint",
        opt={"scope": "read"},
        status_code=200,
        request_max_body_size=2 * POLICY_BYTES,
        summary="Remarks on a policy",
    )
    async def lint(self, desk: AtDesk, data: JSONBody[Candidate]) -> PolicyRemarks:
        """What is legal in a text or a version and probably not meant."""
        text = text_of(desk, data)
        return await desk.aside(_remarks, text, desk.view.policy_census(), bindings_of(desk, data))

    @post(
        "/replay",
        opt={"scope": "read"},
        status_code=200,
        request_max_body_size=2 * POLICY_BYTES,
        summary="Answer recorded cases",
    )
    async def replay(self, desk: AtDesk, data: JSONBody[ReplayCases]) -> Replayed:
        """What each node would be sent under the policy of each case; nothing of this network is looked at."""
        return await desk.aside(_replayed, data.cases)

    @get("/explain", opt={"scope": "read"}, summary="Why one node may reach another")
    async def explain(
        self, desk: AtDesk, source: End, target: End, port: Port = None, protocol: Protocol = "tcp", at: At = None
    ) -> Answer:
        """Both directions between two nodes, or a node and an address behind another, under the policy in force.

        With a time, as its windows stand then, for the users and nodes there are now.
        """
        left, inside = desk.place(source)
        if inside is not None:
            raise ValidationError("the source is a node: its name, id or address")
        right, behind = desk.place(target)
        question = Question(left, right, PROTOCOLS[protocol], port, behind)
        if at is None:
            return desk.view.explain_policy(question)
        utc = utc_of(at)
        head = desk.view.policy() or desk.view.policy_version(0)
        census, bindings = desk.view.policy_census(utc), desk.view.policy_bindings()
        engine = await desk.aside(lambda: census.directory().build(policy_of(head.text), bindings))
        return desk.view.explain_policy(question, (engine, utc))

    @get("/versions", opt={"scope": "read"}, summary="Every version of the policy")
    async def versions(self, desk: AtDesk) -> VersionList:
        """Every version that was ever in force, newest first, without texts."""
        head, trial = desk.view.policy(), desk.view.policy_trial()
        found = [version_view(record, head, trial) for record in reversed(desk.view.policy_versions())]
        return VersionList(versions=found)

    @get("/versions/{number:int}", opt={"scope": "read"}, summary="One version of the policy")
    async def version(self, desk: AtDesk, number: Number) -> PolicyView:
        """A version with its text."""
        return shown(desk, desk.view.policy_version(number))

    @get("/versions/{number:int}/hits", opt={"scope": "read"}, summary="What the rules of a version did")
    async def hits(self, desk: AtDesk, number: Number) -> PolicyHits:
        """How often each rule of a version let something in or refused it, as nodes report every minute."""
        return await desk.aside(hits_view, number, desk.view.policy_version(number).text, desk.view.rule_counts())

    @get("/versions/{number:int}/diff", opt={"scope": "read"}, summary="What a version of the policy changed")
    async def version_diff(self, desk: AtDesk, number: Number) -> DiffView:
        """What a version gave and took compared with the one before it, for the nodes there are now."""
        if number == 0:
            raise ValidationError("version 0 is the default policy: there was none before it")
        return await differing(desk, Candidate(number=number - 1), Candidate(number=number))


def utc_of(at: datetime) -> int:
    """A time in UTC nanoseconds. Raises `ValidationError` for one that schedules do not reach."""
    seconds = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    if not 0 < seconds < LATEST_S:
        raise ValidationError("a time is between 1970 and 2200")
    return round(seconds) * SECOND


def shown(desk: Desk, record: PolicyVersion) -> PolicyView:
    """A version as it stands now."""
    return policy_view(record, desk.view.policy(), desk.view.policy_trial())


def connections(request: AnyRequest, data: Change) -> tuple[Connection, ...]:
    """The connections that the caller uses: the one of this request, and those that the caller names."""
    client, server = request.scope.get("client"), request.scope.get("server")
    if not client or not server or not server[1]:
        return data.connections
    own = Connection(_plain(client[0]), _plain(server[0]), server[1])
    return (own, *data.connections)


def _plain(address: str) -> str:
    """An address without the signs of IPv4 in IPv6 and of a link."""
    return address.removeprefix("::ffff:").partition("%")[0]


def text_of(desk: Desk, data: Candidate) -> str:
    """The text that is meant; empty for the default policy. Raises `NotFoundError`, `ValidationError`."""
    if data.text is None:
        head = desk.view.policy()
        number = (0 if head is None else head.number) if data.number is None else data.number
        return desk.view.policy_version(number).text
    if data.number is not None:
        raise ValidationError("give a text or the number of a version, not both")
    bounded(data.text)
    # An empty text is no policy, and the parser says so; what is kept as empty is the default policy.
    return data.text or " "


def bindings_of(desk: Desk, data: Candidate) -> dict[str, int]:
    """Whom names mean: in the policy in force those whom they meant when it was applied, else who is called so now."""
    head = desk.view.policy()
    is_head = data.text is None and data.number in (None, 0 if head is None else head.number)
    return desk.view.policy_bindings() if is_head else {}


async def differing(desk: Desk, before: Candidate, after: Candidate) -> DiffView:
    """What the second gives and takes compared with the first."""
    sides = tuple((text_of(desk, side), bindings_of(desk, side)) for side in (before, after))
    names = {node.slot: node.name for node in desk.view.nodes()}
    return await desk.aside(_differing, sides, desk.view.policy_census(), names)


def _differing(sides: tuple[tuple[str, dict[str, int]], ...], census: Census, names: dict[int, str]) -> DiffView:
    directory = census.directory()
    before, after = (Meaning(text, directory.build(policy_of(text), bindings)) for text, bindings in sides)
    return DiffView.of(compare(before, after, directory), names)


def _tested(text: str, census: Census, bindings: dict[str, int]) -> PolicyTest:
    """Run a policy's own tests."""
    engine = census.directory().build(policy_of(text), bindings)
    try:
        engine.check()
    except ValidationError as error:
        return PolicyTest(passed=False, failure=error.message)
    return PolicyTest(passed=True, failure=None)


def _remarks(text: str, census: Census, bindings: dict[str, int]) -> PolicyRemarks:
    return PolicyRemarks(remarks=census.directory().build(policy_of(text), bindings).lint())


def _replayed(cases: list[ReplayCase]) -> Replayed:
    lines = (msgspec.json.encode(case).decode() for case in cases)
    return Replayed(results=[msgspec.json.decode(answer) for answer in replaying.run(lines)])


def bounded(text: str) -> None:
    """Raise `ResourceExhaustedError` for a text that is too long. JSON's escapes may double it on the way."""
    if len(text) > POLICY_BYTES:
        raise ResourceExhaustedError(f"a policy of more than {POLICY_BYTES} characters")

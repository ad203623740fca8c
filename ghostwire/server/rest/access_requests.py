"""Access on request over REST: ask for it, decide it, end it, see what was asked."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Controller, get, post
from litestar.params import JSONBody, Parameter, QueryParameter

from ghostwire.coordinator.commands import ApproveAccess, DenyAccess, RequestAccess, RevokeAccess
from ghostwire.errors import NotFoundError, PermissionDeniedError, ValidationError
from ghostwire.model.access import AccessRequest, AccessState
from ghostwire.server.rest.access import Caller, FromCaller
from ghostwire.server.rest.desk import AtDesk, Desk
from ghostwire.server.rest.views import View, moment

Id = Annotated[int, Parameter(ge=1, le=2**53 - 1, description="An access request's id.")]
OfState = Annotated[AccessState | None, QueryParameter(name="state", description="Only those in this state.")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
Words = Annotated[str, msgspec.Meta(max_length=1024)]
LONGEST_S = 10 * 365 * 86_400


class NewAccessRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Access to ask for: to the node `target`, at `ip` (as in a grant), for `duration_s` seconds.

    `source` is the one node of the requester that it is for; without one, for all of them. `user` is whom the caller
    acts as.
    """

    target: Name
    ip: Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=64)], ...], msgspec.Meta(max_length=16)]
    duration_s: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_S)] = 3600
    source: Name | None = None
    reason: Words = ""
    user: Name | None = None


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The word that a request is approved: exactly the one with this `digest`. `user` is whom the caller acts as."""

    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    user: Name | None = None


class Ending(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a request is denied, or access revoked. `user` is whom the caller acts as."""

    reason: Words = ""
    user: Name | None = None


class AccessView(View, frozen=True, kw_only=True):
    """An access request. Users and nodes that are gone are `#ID`; without a source it is for all the user's nodes.

    `approvers` are those who may approve it while it waits.
    """

    id: int
    user: str
    source: str | None
    target: str
    ip: tuple[str, ...]
    duration_s: int
    reason: str
    rule: str
    digest: str
    state: AccessState
    approvers: tuple[str, ...]
    created_at: datetime | None
    lapses_at: datetime | None
    asked_by: str
    decided_at: datetime | None
    decided_by: str
    approver: str | None
    ends_at: datetime | None
    outcome: str


class AccessList(View, frozen=True, kw_only=True):
    """Access requests, newest first."""

    requests: list[AccessView]


class AccessRequests(Controller):
    """Access that ends by itself."""

    path = "/access"
    tags = ["access"]  # noqa: RUF012 - the framework's own way to say it

    @get("/", opt={"scope": "read"}, summary="List access requests")
    async def list(self, desk: AtDesk, wanted: OfState = None) -> AccessList:
        """Every request, newest first."""
        found = desk.view.access_requests()
        return AccessList(
            requests=[shown(desk, request) for request in found if wanted in (None, request.state_at(desk.utc))]
        )

    @get("/{request_id:int}", opt={"scope": "read"}, summary="Look at an access request")
    async def show(self, desk: AtDesk, request_id: Id) -> AccessView:
        """One request."""
        return shown(desk, desk.view.access_request(request_id))

    @post("/", opt={"scope": "write"}, summary="Ask for access")
    async def ask(self, desk: AtDesk, caller: FromCaller, data: JSONBody[NewAccessRequest]) -> AccessView:
        """Ask for access that a rule of the policy lets one ask for. It lapses unless approved within an hour."""
        target = desk.node(data.target)
        source = None if data.source is None else desk.node(data.source).id
        user = acting(desk, caller, data.user)
        made = await desk.ask(
            lambda op: RequestAccess(
                op=op,
                actor=caller.actor,
                user=user,
                source=source,
                target=target.id,
                ports=data.ip,
                duration_s=data.duration_s,
                reason=data.reason,
            )
        )
        return shown(desk, made)

    @post("/{request_id:int}/approve", opt={"scope": "write"}, status_code=200, summary="Approve an access request")
    async def approve(self, desk: AtDesk, caller: FromCaller, request_id: Id, data: JSONBody[Approval]) -> AccessView:
        """Open what was asked for, at once and for as long as asked."""
        found = desk.view.access_request(request_id)
        user, digest = acting(desk, caller, data.user), bytes.fromhex(data.digest)
        made = await desk.ask(
            lambda op: ApproveAccess(
                op=op, actor=caller.actor, request=found.id, user=user, digest=digest, holder=caller.user
            )
        )
        return shown(desk, made)

    @post("/{request_id:int}/deny", opt={"scope": "write"}, status_code=200, summary="Deny an access request")
    async def deny(self, desk: AtDesk, caller: FromCaller, request_id: Id, data: JSONBody[Ending]) -> AccessView:
        """Refuse a request for good."""
        found = desk.view.access_request(request_id)
        user = acting(desk, caller, data.user)
        made = await desk.ask(
            lambda op: DenyAccess(op=op, actor=caller.actor, request=found.id, user=user, reason=data.reason)
        )
        return shown(desk, made)

    @post("/{request_id:int}/revoke", opt={"scope": "write"}, status_code=200, summary="Revoke access")
    async def revoke(self, desk: AtDesk, caller: FromCaller, request_id: Id, data: JSONBody[Ending]) -> AccessView:
        """End access before its time."""
        found = desk.view.access_request(request_id)
        user = acting(desk, caller, data.user)
        made = await desk.ask(
            lambda op: RevokeAccess(op=op, actor=caller.actor, request=found.id, user=user, reason=data.reason)
        )
        return shown(desk, made)


def acting(desk: Desk, caller: Caller, named: str | None) -> int:
    """The user whom the caller acts as: the one named, else that of the token, else the network's owner.

    Only administrators act as the owner or as another. Raises `PermissionDeniedError`, `ValidationError`.
    """
    if named is None and caller.user is not None:
        return caller.user
    if named is None:
        if not caller.may("admin"):
            raise PermissionDeniedError("this token belongs to no user: make one with `ghostwire token create --user`")
        owners = [user.id for user in desk.view.users() if user.role == "owner"]
        if len(owners) != 1:
            raise ValidationError(
                f"{len(owners) or 'no'} users have the role owner: name whom you act as with --as USER"
            )
        return owners[0]
    found = desk.user(named)
    if found.id != caller.user:
        caller.need("admin", "acting as another user")
        if caller.user is not None and desk.view.user(caller.user).role not in ("owner", "admin"):
            raise PermissionDeniedError("only an owner or an administrator acts as another user")
    return found.id


def shown(desk: Desk, request: AccessRequest) -> AccessView:
    """A request as it stands now."""
    state = request.state_at(desk.utc)
    approvers = desk.view.access_approvers(request) if state == "pending" else ()
    return AccessView(
        id=request.id,
        user=_user(desk, request.user_id),
        source=None if request.source is None else _node(desk, request.source),
        target=_node(desk, request.target),
        ip=request.ports,
        duration_s=request.duration_s,
        reason=request.reason,
        rule=request.rule,
        digest=request.digest.hex(),
        state=state,
        approvers=tuple(sorted(_user(desk, user) for user in approvers)),
        created_at=moment(request.created_at),
        lapses_at=moment(request.lapses_at),
        asked_by=request.asked_by,
        decided_at=moment(request.decided_at),
        decided_by=request.decided_by,
        approver=None if request.approver is None else _user(desk, request.approver),
        ends_at=moment(request.ends_at),
        outcome=request.outcome,
    )


def _user(desk: Desk, user: int) -> str:
    try:
        return desk.view.user(user).name
    except NotFoundError:
        return f"#{user}"


def _node(desk: Desk, node: int) -> str:
    try:
        return desk.view.node(node).name
    except NotFoundError:
        return f"#{node}"

"""Whether access that was approved still stands: its people, its nodes and its rule are all still there."""

from __future__ import annotations

from collections.abc import Iterator

from ghostwire.coordinator.state import State
from ghostwire.model.access import AccessRequest
from ghostwire.policy import AccessGrant, Engine


def approved(state: State, utc: int) -> Iterator[AccessRequest]:
    """Access that was approved and has not come to its end."""
    for request in state.approved.values():
        if request.state_at(utc) == "approved":
            yield request


def why_fallen(request: AccessRequest, state: State, engine: Engine) -> str:
    """Why access no longer stands although its time has not come; empty while it stands."""
    if request.user_id not in state.users:
        return "its requester is gone"
    if request.approver not in state.users:
        return "its approver is gone"
    target = state.nodes.get(request.target)
    if target is None or target.expired:
        return "its target is gone"
    if request.source is not None:
        source = state.nodes.get(request.source)
        if source is None or source.expired or source.user_id != request.user_id:
            return "its source is gone"
    rule = engine.request(request.user_id, target.slot, request.ports)
    if rule is None or rule.name != request.rule:
        return "its rule is gone"
    if request.approver not in rule.approvers:
        return "its approver may no longer approve it"
    if request.duration_s > rule.longest_s:
        return "its rule no longer allows it for so long"
    return ""


def grants(state: State, engine: Engine, utc: int) -> list[AccessGrant]:
    """What the policy is to allow beside its rules at this time: all access that stands."""
    found = []
    for request in approved(state, utc):
        if not why_fallen(request, state, engine):
            source = None if request.source is None else state.nodes[request.source].slot
            target = state.nodes[request.target].slot
            found.append(
                AccessGrant(
                    id=request.id,
                    user=request.user_id,
                    source=source,
                    destinations=(target,),
                    ip=request.ports,
                    until=request.ends_at,
                )
            )
    return found

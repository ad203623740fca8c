"""What a committed change sets in motion: the tables have moved already, maps, sessions and deadlines follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from pyroaring import BitMap

from ghostwire.coordinator.agenda import Due
from ghostwire.coordinator.core import Core
from ghostwire.coordinator.effects import RestSlot
from ghostwire.coordinator.registration import EXPIRED
from ghostwire.coordinator.views import POLICY_TIME
from ghostwire.model.access import AccessRequest
from ghostwire.model.credential import RestingAddress, SessionToken, Setting
from ghostwire.model.node import Node
from ghostwire.model.policy import PolicyTrial, PolicyVersion
from ghostwire.model.time import Now
from ghostwire.model.user import User

Moved = tuple[str, Any, Any]


def follow(core: Core, moved: Iterable[Moved], now: Now) -> None:
    """Follow the rows of one change, in order. The coordinator stands at its position already."""
    for table, old, new in moved:
        follower = _FOLLOWERS.get(table)
        if follower is not None:
            follower(core, old, new, now)
    core.volatile.arm(now, core.settings.flush_s)


def _node(core: Core, old: Node | None, new: Node | None, now: Now) -> None:
    if old is not None and core.access.concerns(old.id):
        core.access.look_again()
    if new is None:
        if old is not None:
            _node_gone(core, old)
        return
    if old is None:
        core.registrar.slots.keep(new.slot)
        core.addresses.restore(new.ipv4)
        core.addresses.restore(new.ipv6)
    if new.expired:
        core.agenda.cancel(Due.KEY_EXPIRY, new.id)
        if old is not None and not old.expired:
            core.close_session(new.id, "authentication", EXPIRED)
            core.liveness.closed(new.id, now, intent=True)
    elif new.key_expiry:
        core.agenda.set_utc(Due.KEY_EXPIRY, new.id, new.key_expiry, now)
    core.changes.node_changed(old, new)
    core.volatile.note(new.id, now, core.settings.flush_s)


def _node_gone(core: Core, old: Node) -> None:
    core.close_session(old.id, "authentication", "the node was removed from the network")
    core.changes.node_changed(old, None)
    core.liveness.forget(old.id)
    core.agenda.forget_node(old.id)
    core.effects.append(RestSlot(slot=old.slot))


def _user(core: Core, old: User | None, new: User | None, now: Now) -> None:
    told = [(user.name, user.email, user.role) if user is not None else None for user in (old, new)]
    if told[0] != told[1]:
        _note(core, core.policies.users_changed(nodeless=old is None or new is None), now)
        core.access.look_again()
        core.await_turn(now)
    if old is not None and new is not None and (old.display_name or old.name) != (new.display_name or new.name):
        core.mapper.profile_changed(new.id)
    elif new is None and old is not None:
        core.mapper.profiles.forget(old.id)


def _session_token(core: Core, old: SessionToken | None, new: SessionToken | None, now: Now) -> None:
    core.sessions.committed(old, new)
    node = new.node_id if new is not None else 0
    if node in core.state.nodes and new is not None:
        core.liveness.edit(node).token_expires = new.expires_at


def _resting(core: Core, old: RestingAddress | None, new: RestingAddress | None, now: Now) -> None:
    if new is None:
        if old is not None:
            core.addresses.wake(old.address)
        return
    core.addresses.rest(new.address)
    core.agenda.bring_forward(Due.REST, 0, new.until, now)


def _policy(core: Core, old: PolicyVersion | None, new: PolicyVersion | None, now: Now) -> None:
    _note(core, core.policies.policy_changed(), now)
    core.views.end_aside()
    core.versions.in_force_since = now.utc
    core.access.look_again()
    core.await_turn(now)


def _trial(core: Core, old: PolicyTrial | None, new: PolicyTrial | None, now: Now) -> None:
    waiting = core.versions.waiting()
    if waiting is None:
        core.agenda.cancel(Due.CONFIRM, 0)
    else:
        core.agenda.set_utc(Due.CONFIRM, 0, waiting.deadline, now)


def _access(core: Core, old: AccessRequest | None, new: AccessRequest | None, now: Now) -> None:
    at = core.views.at
    stood, stands = (found is not None and found.state_at(at) == "approved" for found in (old, new))
    request = new or old
    if request is not None and stood != stands:
        _note(core, core.policies.access_changed(request), now)
        core.access.look_again()
        core.await_turn(now)


def _setting(core: Core, old: Setting | None, new: Setting | None, now: Now) -> None:
    if new is not None and new.name == POLICY_TIME:
        _note(core, core.policies.windows_turned(), now)
        core.access.look_again()
        core.await_turn(now)


def _note(core: Core, slots: BitMap, now: Now) -> None:
    """The classes of these nodes may be others now: they are flushed."""
    for slot in slots:
        core.volatile.note(core.state.node_by_slot[slot].id, now, core.settings.flush_s)


_FOLLOWERS: Final[dict[str, Callable[[Core, Any, Any, Now], None]]] = {
    "nodes": _node,
    "users": _user,
    "session_tokens": _session_token,
    "resting_addresses": _resting,
    "policies": _policy,
    "policy_trials": _trial,
    "access_requests": _access,
    "settings": _setting,
}

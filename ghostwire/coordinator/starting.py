"""How a coordinator comes up from a snapshot: what it takes over, and which deadlines it sets."""

from __future__ import annotations

from collections.abc import Callable

from ghostwire.coordinator.agenda import Due
from ghostwire.coordinator.core import HIGHEST_TIME, Core
from ghostwire.coordinator.sessions import SWEEP_S
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.snapshot import Snapshot
from ghostwire.coordinator.views import POLICY_TIME
from ghostwire.model.position import Position
from ghostwire.model.time import Now

CLOCK_S = 60.0
"""How often, in seconds, the highest time seen is written down, also where nothing else is to be written."""
PURGE_S = 3600.0
"""How often, in seconds, credentials that ended long ago are removed."""
PURGE_SOON_S = 10.0
"""When, in seconds, that is done after a start, and again where more of them may be left than one change removes."""


def start(settings: Settings, snapshot: Snapshot, entropy: Callable[[int], bytes], now: Now) -> Core:
    """The parts, with volatile facts restored, maps ready and every deadline set."""
    now = Now(now.mono, max(now.utc, highest_time(snapshot)))
    core = Core.load(settings, snapshot, entropy, now)
    seen = {fact.node_id: fact for fact in snapshot.volatile if fact.node_id in core.state.nodes}
    for fact in seen.values():
        core.liveness.restore(fact, now)
    for token in core.state.session_tokens.values():
        fact_of_it = seen.get(token.node_id)
        core.sessions.restore(token, fact_of_it.token_expires if fact_of_it is not None else 0)
    core.hits.restore(snapshot.hits)
    core.window.restore(snapshot.changes, snapshot.mark, snapshot.seq, snapshot.since)
    known = {core.state.nodes[node].slot: fact.class_id for node, fact in seen.items()}
    first_class = 1 if snapshot.mark is None else snapshot.mark.next_class
    if not core.views.adopt(known, first_class):
        core.window.raise_wall()
        core.volatile.note_all()
    core.mapper.begin(settings, Position(log=snapshot.log_id, seq=snapshot.seq, boot=snapshot.boot, vseq=0))
    _take_addresses(core, now)
    _set_deadlines(core, now)
    core.volatile.arm(now, settings.flush_s)
    return core


def highest_time(snapshot: Snapshot) -> int:
    """The highest time that the snapshot has seen, so that a clock set back re-opens nothing."""
    settings = snapshot.tables.get("settings", ())
    kept = [setting for setting in settings if setting.name in (HIGHEST_TIME, POLICY_TIME)]
    durable = max((int.from_bytes(setting.value, "big") for setting in kept), default=0)
    return max(durable, 0 if snapshot.mark is None else snapshot.mark.utc)


def _take_addresses(core: Core, now: Now) -> None:
    for node in core.state.nodes.values():
        core.addresses.restore(node.ipv4)
        core.addresses.restore(node.ipv6)
    for resting in core.state.resting.values():
        core.addresses.restore(resting.address, resting=True)
    if core.state.resting:
        first = min(resting.until for resting in core.state.resting.values())
        core.agenda.set_utc(Due.REST, 0, first, now)


def _set_deadlines(core: Core, now: Now) -> None:
    for node in core.state.nodes.values():
        if node.key_expiry and not node.expired:
            core.agenda.set_utc(Due.KEY_EXPIRY, node.id, node.key_expiry, now)
        if node.ephemeral and core.liveness.get(node.id).last_seen:
            core.agenda.set(Due.IDLE, node.id, now.mono + core.settings.ephemeral_idle_s)
    waiting = core.versions.waiting()
    if waiting is not None:
        core.agenda.set_utc(Due.CONFIRM, 0, waiting.deadline, now)
    # At once: access may have fallen, and windows may have turned, while nobody looked.
    core.agenda.set(Due.TURN, 0, now.mono)
    core.agenda.set(Due.SWEEP, 0, now.mono + SWEEP_S)
    core.agenda.set(Due.PURGE, 0, now.mono + PURGE_SOON_S)
    core.agenda.set(Due.CLOCK, 0, now.mono + CLOCK_S)

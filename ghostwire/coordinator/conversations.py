"""What live sessions say and are told: opening, signs of life, endpoints, maps asked for again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from itertools import chain
from typing import Final

from ghostwire._native import addresses
from ghostwire.coordinator.agenda import Due
from ghostwire.coordinator.commands import (
    AdoptSession,
    HearNodes,
    HeartbeatNode,
    OpenSession,
    OrderRotation,
    RegisterNode,
    ResyncNode,
    SessionClosed,
    SetEndpoints,
)
from ghostwire.coordinator.core import Core
from ghostwire.coordinator.decision import Decision
from ghostwire.coordinator.effects import MapFrom, Registered, Send, SessionOpened
from ghostwire.coordinator.map_watch import MapWatch
from ghostwire.coordinator.network_mapper import Brought
from ghostwire.coordinator.quota import Quota
from ghostwire.coordinator.registration import EXPIRED
from ghostwire.coordinator.reservations import Claim
from ghostwire.errors import AuthenticationError, ResourceExhaustedError, ValidationError
from ghostwire.model.beat import Beat
from ghostwire.model.node import Node
from ghostwire.model.position import Position
from ghostwire.model.time import Now
from ghostwire.wire import codec
from ghostwire.wire.messages import RotateOrder, Welcome

MAX_ENDPOINTS: Final = 32
RESYNCS_A_MINUTE: Final = 6
"""Whole maps that a node may ask for in a minute."""
_ROTATE: Final = codec.encode(RotateOrder(reason="an operator asks for a new key"))


class Conversations:
    """The coordinator's side of every live session."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._watch = MapWatch(core.mapper.maps, core.settings.window // 4, self._mismatched)
        self._resyncs = Quota(RESYNCS_A_MINUTE, 60.0)

    def open(self, command: OpenSession, now: Now) -> Decision | SessionOpened:
        """Open the live session of a known, unexpired node. Its token is prolonged, or a fresh one minted."""
        core = self._core
        try:
            node = self._known(command.node_key, now)
        except AuthenticationError:
            core.counters.session_checks["refused"] += 1
            raise
        if command.token is not None:
            try:
                end = core.sessions.slide(node.id, command.token, now.utc)
            except AuthenticationError:
                core.counters.session_checks["refused"] += 1
            else:
                core.counters.session_checks["ok"] += 1
                core.liveness.edit(node.id).token_expires = end
                return self._stand(node.id, command.token, command.resume, now)
        core.counters.session_checks["minted"] += 1
        text, write = core.sessions.mint(node.id, now.utc)
        return Decision("session.token", (write,), lambda at: self._stand(node.id, text, command.resume, at))

    def register(self, command: RegisterNode, now: Now, claim: Claim) -> Decision | Registered:
        """Register a node; where its session opens with that, one commit holds the node and its token."""
        core = self._core
        found = core.registrar.register(command, now.utc, claim, core.reservations.is_taken)
        if not command.session:
            return found
        registered = found.answer(now) if isinstance(found, Decision) else found
        kind, writes = (found.kind, found.writes) if isinstance(found, Decision) else ("session.token", ())
        arrives = registered.node if isinstance(found, Decision) else None
        core.counters.session_checks["minted"] += 1
        text, write = core.sessions.mint(registered.node, now.utc)
        return Decision(kind, (*writes, write), lambda at: self._stand(registered.node, text, None, at), arrives)

    def adopt(self, command: AdoptSession, now: Now) -> SessionOpened:
        """Know a session that lived on while the coordinator did not; its node is told what it missed, if anything.

        An order to rotate that stands is told again: nobody knows whether it was heard, and twice does no harm.
        """
        core = self._core
        node = core.nodes.get(command.node)
        if core.registrar.is_expired(node, now.utc):
            raise AuthenticationError(EXPIRED)
        core.sessions.adopt(node.id, command.session)
        self._came(node, now)
        held = command.held
        current = held is not None and core.mapper.maps.is_current(node.slot, held)
        frames, left = Brought((), None) if current else core.mapper.bring(node, held)
        frames = chain(frames, self._order(node))
        return SessionOpened(node=node.id, slot=node.slot, session=command.session, frames=frames, left=left)

    def closed(self, command: SessionClosed, now: Now) -> None:
        """A connection is gone. Only the live session's end says anything of the node."""
        core = self._core
        node = core.state.nodes.get(command.node)
        if core.sessions.close(command.node, command.session) is None or node is None:
            return
        if core.liveness.closed(node.id, now, intent=command.intent):
            core.presence_turned(node, now)
        core.volatile.note(node.id, now, core.settings.flush_s)
        self.arm_idle(node, now)

    def arm_idle(self, node: Node, now: Now) -> None:
        """An ephemeral node without a session is removed once it was away too long."""
        if node.ephemeral and not self._core.agenda.is_set(Due.IDLE, node.id):
            last = self._core.liveness.get(node.id).last_heard
            away_since = now.mono if last is None else last
            self._core.agenda.set(Due.IDLE, node.id, away_since + self._core.settings.ephemeral_idle_s)

    def heartbeat(self, command: HeartbeatNode, now: Now) -> Position | None:
        """Note a sign of life, and see whether the node's map is what it should be.

        The answer is the position that the map may move to, if to any.
        """
        core = self._core
        core.sessions.require(command.node, command.session, core.counters)
        self._hear(command, now)
        if command.position is None:
            return None
        node = core.nodes.get(command.node)
        found = self._watch.check(node.id, node.slot, command.position, command.digest, now.mono)
        if found.left is not None:
            frames, left = core.mapper.bring(node, found.left.held)
            core.effects.append(Send(node=node.id, session=command.session, frames=frames, left=left))
        return found.position

    def hear(self, command: HearNodes, now: Now) -> None:
        """Note signs of life that were answered already. What a session said that is over by now is only counted."""
        sessions, counters = self._core.sessions, self._core.counters
        for beat in command.beats:
            if sessions.live(beat.node) == beat.session:
                self._hear(beat, now)
            else:
                counters.heartbeats["stale"] += 1

    def _hear(self, said: HeartbeatNode | Beat, now: Now) -> None:
        """Note a live session's sign of life."""
        core = self._core
        core.counters.heartbeats["ok"] += 1
        core.liveness.heard(said.node, now, said.metrics)
        if said.hits:
            core.hits.report(said.node, said.hits, now.utc, core.views.engine.has_rule)
        if said.flows:
            core.flows.report(said.node, said.flows, self._is_peer_of(said.node))
        core.volatile.note(said.node, now, core.settings.flush_s)

    def set_endpoints(self, command: SetEndpoints, now: Now) -> None:
        """Note where a node's tunnel may be reached, and show its peers."""
        core = self._core
        core.sessions.require(command.node, command.session, core.counters)
        endpoints = check_endpoints(command.endpoints)
        core.liveness.heard(command.node, now, None)
        presence = core.liveness.edit(command.node)
        if presence.endpoints != endpoints:
            presence.endpoints = endpoints
            core.presence_changed(core.nodes.get(command.node), now)

    def resync(self, command: ResyncNode, now: Now) -> Iterable[bytes] | MapFrom:
        """The frames of a node's map: the whole of it, or what came after the position that it holds."""
        core = self._core
        core.sessions.require(command.node, command.session, core.counters)
        node = core.nodes.get(command.node)
        in_time = command.resume is not None or self._resyncs.take(node.id, now.mono)
        if not in_time:
            raise ResourceExhaustedError(f"at most {RESYNCS_A_MINUTE} whole maps a minute", retry_after=60.0)
        frames, left = core.mapper.bring(node, command.resume)
        return frames if left is None else left

    def order_rotation(self, command: OrderRotation) -> Decision | None:
        """Tell a node to rotate its key: now, or when it next opens a session."""
        nodes = self._core.nodes
        node = nodes.get(command.node)
        if not node.rotation_ordered:
            return nodes.order_rotation(node, lambda _: self._tell_to_rotate(node.id))
        self._tell_to_rotate(node.id)
        return None

    @staticmethod
    def _order(node: Node) -> tuple[bytes, ...]:
        """What a node whose session begins is told of an order to rotate that stands."""
        return (_ROTATE,) if node.rotation_ordered else ()

    def _tell_to_rotate(self, node: int) -> None:
        session = self._core.sessions.live(node)
        if session is not None:
            self._core.effects.append(Send(node=node, session=session, frames=(_ROTATE,)))

    def _is_peer_of(self, asker: int) -> Callable[[int], bool]:
        core = self._core
        seen = core.mapper.peer_ids(core.nodes.get(asker))

        def is_peer(peer: int) -> bool:
            node = core.state.nodes.get(peer)
            return node is not None and node.slot in seen

        return is_peer

    def forget(self, node: int) -> None:
        """The node is gone."""
        self._watch.forget(node)
        self._resyncs.forget(node)

    def _known(self, node_key: bytes, now: Now) -> Node:
        core = self._core
        refused = core.state.refused_keys.get(node_key)
        if refused is not None:
            raise AuthenticationError(f"this node key is refused for ever, because {refused.reason}")
        node = core.state.node_by_key.get(node_key)
        if node is None:
            raise AuthenticationError("this node is not known here: run `ghostwire up --key ...` with a pre-auth key")
        if core.registrar.is_expired(node, now.utc):
            raise AuthenticationError(EXPIRED)
        return node

    def _stand(self, node_id: int, text: str, resume: Position | None, now: Now) -> SessionOpened:
        core = self._core
        node = core.nodes.get(node_id)
        session = core.sessions.open(node.id)
        self._came(node, now)
        welcome = Welcome(token=text, node=node.id, session=session, heartbeat_s=core.settings.heartbeat_s, utc=now.utc)
        frames, left = core.mapper.bring(node, resume)
        frames = chain((codec.encode(welcome),), frames, self._order(node))
        return SessionOpened(node=node.id, slot=node.slot, session=session, frames=frames, left=left)

    def _came(self, node: Node, now: Now) -> None:
        """The node has a live session."""
        core = self._core
        core.agenda.cancel(Due.IDLE, node.id)
        if core.liveness.opened(node.id, now):
            core.presence_turned(node, now)
        core.volatile.note(node.id, now, core.settings.flush_s)

    def _mismatched(self) -> None:
        counters = self._core.counters
        counters.heartbeats["mismatch"] += 1
        counters.digest_mismatches += 1


def check_endpoints(endpoints: tuple[str, ...]) -> tuple[str, ...]:
    """Endpoints, each once, in the order given and in one way of writing. Raises `ValidationError`."""
    if len(endpoints) > MAX_ENDPOINTS:
        raise ValidationError(f"a node has at most {MAX_ENDPOINTS} endpoints, not {len(endpoints)}")
    if len(endpoints) == 1 and addresses.is_endpoint4(endpoints[0]):
        return endpoints
    return tuple(dict.fromkeys(_endpoint(endpoint) for endpoint in endpoints))


def _endpoint(text: str) -> str:
    """An endpoint as nearly all are, written in the way that it is kept, need not be read in full."""
    return text if addresses.is_endpoint4(text) else _read_endpoint(text)


def _read_endpoint(text: str) -> str:
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError as error:
        raise ValidationError("an endpoint is ADDRESS:PORT, an IPv6 address in brackets") from error
    scoped = "%" in host
    usable = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
    if scoped or not usable or bracketed != (address.version == 6) or address.is_unspecified or address.is_multicast:
        raise ValidationError("an endpoint is ADDRESS:PORT, an IPv6 address in brackets")
    return f"[{address}]:{int(port)}" if address.version == 6 else f"{address}:{int(port)}"

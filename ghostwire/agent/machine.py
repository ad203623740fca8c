"""The agent's decisions: when to dial, what to say, what the tunnel should be, when to give up. No socket, no clock.

Feed it what happened (`opened`, `received`, `lost`, `measured`, ...), call `handle_timeout` when `poll_timeout` says,
and perform the effects that `poll_effect` hands out, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from ghostwire.agent import heads
from ghostwire.agent.backoff import Backoff, fraction
from ghostwire.agent.effects import Dial, Effect, Forget, HangUp, Keep, KeepMap, Measure, Quit, Say, Transmit, Tune
from ghostwire.agent.flows import Flows
from ghostwire.agent.hits import RuleHits
from ghostwire.agent.join import Join
from ghostwire.agent.memory import KeptMap, Memory
from ghostwire.agent.plan import Plan
from ghostwire.agent.reckoning import Reckoning
from ghostwire.agent.refusals import advice, is_lasting, leads_elsewhere
from ghostwire.errors import GhostwireError, UnavailableError, WireError
from ghostwire.model.flow import Flow
from ghostwire.model.node import NodeMetrics
from ghostwire.model.time import SECOND, Now
from ghostwire.wire.client_session import ClientSession, Credentials, Event, MapChanged
from ghostwire.wire.keys import clamp, public_key
from ghostwire.wire.messages import HeartbeatAck, LogHead, Pending, Refusal, Rotated, RotateOrder, ServerBye, Welcome
from ghostwire.wire.netmap import NetMap

Phase = Literal["waiting", "dialling", "greeting", "live", "leaving", "over"]

GREETING_S: Final = 20.0
"""From dialling to a session that stands."""
ANSWER_S: Final = 15.0
"""From a heartbeat to its acknowledgement."""
LEAVE_S: Final = 10.0
"""From asking to be removed to the coordinator's word that it is done."""
METRICS_S: Final = 60.0
TUNE_S: Final = 0.05
TUNE_PEER_S: Final = 5e-5
"""Changes of the map that cut nothing are told to the tunnel together, this late: the tunnel takes all its peers at
once, so the pause grows with them."""
KEEP_MAP_S: Final = 1.0
"""A map that keeps changing is written this often at most."""
KEEP_S: Final = 300.0
"""Times and tokens are written this often at least."""
LOOK_S: Final = 30.0
"""The wall clock may jump; what hangs on it is looked at this often at least."""


class Machine:
    """One node's agent. `netmap` is the map that was kept, empty at the first start."""

    def __init__(self, memory: Memory, netmap: NetMap, join: Join, entropy: Callable[[int], bytes], now: Now) -> None:
        self.memory = memory
        self.netmap = netmap
        self.phase: Phase = "waiting"
        self.from_cache = netmap.position is not None
        self.halted = False
        self.waiting_for = ""
        self.latency_s: float | None = None
        self.plan = Plan()
        self._join = join
        self._entropy = entropy
        self._backoff = Backoff(entropy)
        self._reckoning = Reckoning(memory.highest, now)
        self._session: ClientSession | None = None
        self._effects: deque[Effect] = deque()
        self._endpoints: tuple[str, ...] = ()
        self._rotating = False
        self._try_next = False
        self._metrics_at = 0.0
        self._hits = RuleHits()
        self._flows = Flows()
        self._next_end = 0
        self._timers: dict[str, float] = {"look": now.mono + LOOK_S, "keep": now.mono + KEEP_S}

    # What the shell calls.

    def begin(self, now: Now) -> None:
        """Come up: from the kept map at once where there is one, and dial."""
        if self.from_cache:
            self._say("info", "the tunnel comes up from the map that was kept; the coordinator is asked for news")
        self._tune(now)
        self._dial(now)

    def opened(self, spki: bytes, now: Now) -> None:
        """The connection stands; `spki` is SHA-256 of the public key info of its certificate, empty without TLS."""
        if self.phase != "dialling":
            return
        self.phase = "greeting"
        # A known node says what it is whenever that has changed, else it comes back by hello.
        facts = msgspec.msgpack.encode(self._join.facts)
        registering = self._join.preauth_key is not None or self.memory.node == 0 or self.memory.facts != facts
        credentials = Credentials(
            node_private=self.memory.next_private if self._try_next else self.memory.node_private,
            machine_key=public_key(self.memory.machine_private),
            facts=self._join.facts,
            token=None if self._try_next else self.memory.token,
            preauth_key=self._join.preauth_key,
            join=registering,
        )
        self._session = ClientSession(credentials, self.netmap, self.memory.origin, spki)

    def received(self, frame: bytes, now: Now) -> None:
        """Take one frame of the connection."""
        session = self._session
        if session is None:
            return
        try:
            event = session.receive(frame)
            self._set_contact(now)
            if event is not None:
                self._take(event, session, now)
        except WireError as error:
            # The next session asks for the whole map: what is held may not be what the coordinator thinks.
            self.netmap.position = None
            self._hang_up()
            self.lost(error.message, now)
        self._pump()

    def lost(self, reason: str, now: Now, retry_after: float | None = None) -> None:
        """The connection is gone or could not be made; the other end may have said when to come back, in seconds."""
        if self.phase == "leaving":
            self._left()
        elif self.phase in ("dialling", "greeting", "live"):
            self._retry(reason, now, retry_after)

    def refused(self, code: str, message: str, now: Now) -> None:
        """The other end is not the coordinator that this node trusts. Fatal at a first join, else tried again."""
        if self.memory.node == 0:
            self._end(code, message)
        else:
            self._say("error", message)
            self._retry(message, now)

    def set_endpoints(self, endpoints: tuple[str, ...]) -> None:
        """Where the tunnel may be reached, best first."""
        if endpoints == self._endpoints:
            return
        self._endpoints = endpoints
        if self.phase == "live" and self._session is not None:
            self._session.endpoints(endpoints)
            self._pump()

    def measured(self, metrics: NodeMetrics, hits: Mapping[int, int], flows: dict[int, Flow], now: Now) -> None:
        """The sample that `Measure` asked for, for a heartbeat.

        With it what the filter's rules did, and what was exchanged with peers, since the last one.
        """
        self._hits.add(hits)
        self._flows.add(flows)
        self._beat(metrics, now)

    def rotate(self, now: Now) -> None:
        """Begin to swap the node key, if a session stands and no swap is under way."""
        if self.phase != "live" or self._session is None or self._rotating:
            return
        self._rotating = True
        fresh = self.memory.next_private or clamp(self._entropy(32))
        self._remember(now, at_once=True, next_private=fresh)
        self._session.rotate(fresh)
        self._pump()

    def stop(self, now: Now) -> None:
        """Leave for now: the coordinator is told, everything is kept."""
        if self.phase == "live" and self._session is not None:
            self._session.bye()
            self._hang_up()
        self._remember(now)
        self._end("", "")

    def logout(self, now: Now) -> None:
        """Leave for good: the coordinator removes the node, then every key is forgotten.

        Raises `UnavailableError` unless a session stands.
        """
        if self.phase != "live" or self._session is None:
            raise UnavailableError(
                "there is no session with the coordinator, so it can't remove this node: try again when "
                "`ghostwire status` says connected, or forget the keys here alone with `ghostwire logout --force`"
            )
        self._session.bye(logout=True)
        self.phase = "leaving"
        for name in ("answer", "beat", "rotate"):
            self._timers.pop(name, None)
        self._timers["leave"] = now.mono + LEAVE_S
        self._pump()

    def handle_timeout(self, now: Now) -> None:
        """Do what is due."""
        due = [name for name, at in self._timers.items() if at <= now.mono]
        for name in due:
            if self._timers.get(name, now.mono + 1) <= now.mono:
                del self._timers[name]
                self._on_timer(name, now)
        self._pump()

    def hurry(self, now: Now) -> bool:
        """Tell the tunnel now what waits for company; whether any effect is to be performed."""
        if "tune" in self._timers:
            self._tune(now)
        return bool(self._effects)

    def poll_timeout(self) -> float | None:
        """When `handle_timeout` is due, in monotonic seconds."""
        return min(self._timers.values(), default=None)

    def poll_effect(self) -> Effect | None:
        """The next thing to do, or None."""
        return self._effects.popleft() if self._effects else None

    def utc(self, now: Now) -> int:
        """The time that decides what has ended, in UTC nanoseconds."""
        return self._reckoning.utc(now)

    # Events of the session.

    def _take(self, event: Event, session: ClientSession, now: Now) -> None:
        if self.phase == "leaving":
            if isinstance(event, ServerBye):
                self._left()
            elif isinstance(event, Refusal):
                self._hang_up()
                self._end(event.code, event.message)
        elif isinstance(event, Welcome):
            self._welcomed(event, session, now)
        elif isinstance(event, MapChanged):
            self._map_changed(event, now)
        elif isinstance(event, HeartbeatAck):
            self._acknowledged(event, now)
        elif isinstance(event, Refusal):
            self._refusal(event, now)
        elif isinstance(event, ServerBye):
            self._hang_up()
            self._retry(event.reason or "the coordinator ended the session", now, event.retry_after)
        elif isinstance(event, Pending):
            self._hang_up()
            self._retry(f"this node waits for approval at {event.url}", now, event.retry_after)
        elif isinstance(event, RotateOrder):
            self._say("info", f"the coordinator asks for a new node key{f': {event.reason}' if event.reason else ''}")
            self.rotate(now)
        elif isinstance(event, Rotated):
            self._rotated(session, now)
        elif isinstance(event, LogHead):
            self._hold_head(event)

    def _welcomed(self, welcome: Welcome, session: ClientSession, now: Now) -> None:
        self.phase, self.waiting_for = "live", ""
        self._reckoning.heard(welcome.utc, now)
        private = session.credentials.node_private
        fresh = private != self.memory.node_private
        # The pre-auth key has done its work: from here on a proof is enough.
        self._join = msgspec.structs.replace(self._join, preauth_key=None)
        born = self.utc(now) if fresh or self.memory.key_born == 0 else self.memory.key_born
        changes = {"node_private": private, "next_private": b""} if fresh or self._try_next else {}
        self._try_next = self._rotating = False
        facts = msgspec.msgpack.encode(self._join.facts)
        self._remember(now, at_once=True, node=welcome.node, token=welcome.token, key_born=born, facts=facts, **changes)
        self._say("info", f"connected to {self.memory.origin} as node {welcome.node}")
        self._timers.pop("greeting", None)
        # Spread over the interval: nodes that came back together do not beat together.
        self._timers["beat"] = now.mono + welcome.heartbeat_s * (0.1 + 0.9 * fraction(self._entropy))
        self._metrics_at = now.mono
        if self._endpoints:
            session.endpoints(self._endpoints)
        for signed in heads.held(self.memory.heads):
            session.return_head(signed)

    def _hold_head(self, told: LogHead) -> None:
        try:
            held = heads.hold(self.memory.heads, told)
        except GhostwireError as error:
            self._say("warning", f"the coordinator's head of its log is not genuine, it is not kept: {error.message}")
        else:
            # It is kept when other things are: one write every few minutes is enough for it.
            self.memory = msgspec.structs.replace(self.memory, heads=held)

    def _map_changed(self, event: MapChanged, now: Now) -> None:
        if self.from_cache:
            self._say("info", "the coordinator has confirmed the map")
        was_halted, self.from_cache, self.halted = self.halted, False, False
        if event.how == "delta" and not was_halted and not self.plan.cuts(self.netmap):
            # A mesh that comes together sends many of these: what only adds can wait for the next ones.
            self._timers.setdefault("tune", now.mono + TUNE_S + len(self.netmap.peers) * TUNE_PEER_S)
        else:
            self._tune(now)
        if event.how != "unchanged":
            self._timers.setdefault("map", now.mono + (KEEP_MAP_S if event.how == "delta" else 0.0))
        name = self.netmap.own().name
        if name != self.memory.name:
            self._remember(now, name=name)
        self._schedule_rotation(now)

    def _acknowledged(self, ack: HeartbeatAck, now: Now) -> None:
        # Not at the welcome: a session that something ends at once, again and again, is a failure too.
        self._backoff.reset()
        sent = self._timers.pop("answer", None)
        if sent is not None:
            self.latency_s = now.mono - (sent - ANSWER_S)
        self._reckoning.heard(ack.utc, now)

    def _refusal(self, refusal: Refusal, now: Now) -> None:
        if self.phase == "live":
            self._refused_live(refusal, now)
            return
        self._hang_up()
        if leads_elsewhere(refusal):
            self.refused(refusal.code, refusal.message, now)
        elif not is_lasting(refusal):
            self._retry(refusal.message, now, refusal.retry_after)
        elif self.memory.next_private and not self._try_next:
            # The answer to a rotation may have been lost: then the key that was kept for it is the one in force.
            self._try_next = True
            self._dial(now)
        else:
            self._try_next = False
            self.halted = True
            self._tune(now)
            self._end(refusal.code, advice(refusal, registered=self.memory.node != 0))

    def _refused_live(self, refusal: Refusal, now: Now) -> None:
        self._rotating = False
        if not refusal.final:
            self._say("warning", f"the coordinator refused: {refusal.message}")
            return
        self._hang_up()
        if is_lasting(refusal):
            # Cut first, ask again after: the answer to the next hello says whether this node is still one.
            self.halted = True
            self._tune(now)
        self._retry(refusal.message, now, refusal.retry_after)

    def _rotated(self, session: ClientSession, now: Now) -> None:
        self._rotating = False
        own = session.credentials
        self._remember(now, node_private=own.node_private, next_private=b"", token=own.token, key_born=self.utc(now))
        self._say("info", "this node has a new key")
        self._tune(now)
        self._schedule_rotation(now)

    # Timers.

    def _on_timer(self, name: str, now: Now) -> None:
        if name == "dial":
            self._dial(now)
        elif name == "greeting":
            self._hang_up()
            self.lost(f"no session stood {GREETING_S:.0f} s after dialling", now)
        elif name == "beat":
            if self._metrics_at <= now.mono:
                self._metrics_at = now.mono + METRICS_S
                self._effects.append(Measure())
            else:
                self._beat(None, now)
        elif name == "answer":
            self._hang_up()
            self.lost(f"the coordinator left a heartbeat unanswered for {ANSWER_S:.0f} s", now)
        elif name == "map":
            self._effects.append(KeepMap(KeptMap.of(self.netmap)))
        elif name == "keep":
            self._remember(now)
            self._timers["keep"] = now.mono + KEEP_S
        elif name == "rotate":
            self._say("info", "the node key has reached its age")
            self.rotate(now)
        elif name in ("look", "tune"):
            self._tune(now)
        elif name == "leave":
            self._hang_up()
            self._end("unavailable", f"the coordinator did not confirm within {LEAVE_S:.0f} s that this node is gone")

    def _beat(self, metrics: NodeMetrics | None, now: Now) -> None:
        if self.phase != "live" or self._session is None or self._session.welcome is None:
            return
        if metrics is None:
            self._session.heartbeat(None)
        else:
            self._session.heartbeat(metrics, self._hits.take(), self._flows.take())
        self._timers.setdefault("answer", now.mono + ANSWER_S)
        self._timers["beat"] = now.mono + self._session.welcome.heartbeat_s
        self._pump()

    def _schedule_rotation(self, now: Now) -> None:
        self._timers.pop("rotate", None)
        age = self.netmap.network().key_rotation_s
        if age > 0 and self.phase == "live":
            left = age - (self.utc(now) - self.memory.key_born) / SECOND
            self._timers["rotate"] = now.mono + max(left, 0.0)

    # The connection.

    def _dial(self, now: Now) -> None:
        self.phase = "dialling"
        self._timers["greeting"] = now.mono + GREETING_S
        self._effects.append(Dial(self.memory.origin, self.memory.pin))

    def _retry(self, reason: str, now: Now, retry_after: float | None = None) -> None:
        was_live = self.phase == "live"
        self._session = None
        self._rotating = False
        self.phase = "waiting"
        for name in ("greeting", "answer", "beat", "rotate"):
            self._timers.pop(name, None)
        delay = self._backoff.next(retry_after)
        self._timers["dial"] = now.mono + delay
        level: Literal["debug", "info", "warning"] = "debug" if reason == self.waiting_for else "info"
        self.waiting_for = reason
        if was_live:
            level = "warning"
        self._say(level, f"no session with {self.memory.origin}: {reason}; trying again in {delay:.1f} s")

    def _hang_up(self) -> None:
        self._pump()
        self._effects.append(HangUp())

    def _pump(self) -> None:
        while self._session is not None and (frame := self._session.poll_transmit()) is not None:
            self._effects.append(Transmit(frame))

    def _left(self) -> None:
        self._hang_up()
        self._effects.append(Forget())
        self._end("", "")

    def _end(self, code: str, message: str) -> None:
        self._session = None
        self.phase = "over"
        self._timers.clear()
        self._effects.append(Quit(code, message))

    # What lasts, and the tunnel.

    def _set_contact(self, now: Now) -> None:
        if self.phase == "live":
            self.memory = msgspec.structs.replace(self.memory, contact=self.utc(now))

    def _remember(self, now: Now, *, at_once: bool = False, **changes: object) -> None:
        highest = self.utc(now)
        if self.phase == "live":
            changes.setdefault("contact", highest)
        self.memory = msgspec.structs.replace(self.memory, highest=highest, **changes)
        self._effects.append(Keep(self.memory, at_once))

    def _tune(self, now: Now) -> None:
        self._timers.pop("tune", None)
        utc = self.utc(now)
        self._judge_age(utc)
        self._tell_tunnel(utc)
        if 0 < self._next_end <= utc:
            # Something has ended: kept at once, so that no clock that is set back opens it again.
            self._remember(now)
        self._next_end = self.plan.next_end(utc)
        soonest = now.mono + LOOK_S
        for end in (self._next_end, self._stale_at()):
            if end:
                soonest = min(soonest, now.mono + max(end - utc, 0) / SECOND + 0.001)
        self._timers["look"] = soonest

    def _tell_tunnel(self, utc: int) -> None:
        unreadable = self.plan.unreadable
        try:
            steps = self.plan.steps(self.netmap, self.memory.node_private, utc, self.halted)
        except WireError as error:
            # Nothing is known of what it grants, so it grants nothing.
            self.halted = True
            self._say("error", f"all peers are cut until the coordinator sends a map that can be read: {error.message}")
            steps = self.plan.steps(self.netmap, self.memory.node_private, utc, halted=True)
        if self.plan.unreadable > unreadable:
            self._say("error", f"{self.plan.unreadable} peers of the map can't be read: is this agent too old?")
        if steps:
            self._effects.append(Tune(steps))

    def _judge_age(self, utc: int) -> None:
        """A map that no coordinator has confirmed for its `max_age` opens nothing any more."""
        stale_at = self._stale_at()
        if stale_at and utc >= stale_at and not self.halted:
            self.halted = True
            self._say("error", "the coordinator has been away for longer than the map may be used: all peers are cut")

    def _stale_at(self) -> int:
        if self.phase == "live" or self.halted or not self.netmap.parts or not self.memory.contact:
            return 0
        try:
            return self.memory.contact + int(self.netmap.network().max_age_s * SECOND)
        except WireError:
            # What can't be read halts everything when the tunnel is told of it.
            return 0

    def _say(self, level: Literal["debug", "info", "warning", "error"], text: str) -> None:
        self._effects.append(Say(level, text))

"""One node's connection: its frames become commands, the coordinator's answers become frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from ghostwire._native import fanout
from ghostwire.coordinator.commands import (
    LogoutNode,
    OpenSession,
    RegisterNode,
    ResyncNode,
    RotateNodeKey,
    SessionClosed,
)
from ghostwire.coordinator.effects import KeyRotated, SessionOpened
from ghostwire.errors import (
    AuthenticationError,
    GhostwireError,
    NotFoundError,
    PermissionDeniedError,
    ValidationError,
    WireError,
)
from ghostwire.model.position import Position
from ghostwire.server.errors import status_of, status_of_code
from ghostwire.server.listen.router import Arrival
from ghostwire.server.observer import Level, Value
from ghostwire.server.session.rate import Pace
from ghostwire.server.session.transport import GOING_AWAY, NORMAL, SessionTransport
from ghostwire.server.session.turnstile import Passage
from ghostwire.wire import codec
from ghostwire.wire.messages import (
    MAX_CLIENT_FRAME,
    Answer,
    ChallengeRequest,
    Endpoints,
    Heartbeat,
    HeartbeatAck,
    HeldHead,
    Hello,
    HelloBody,
    NodeBye,
    Query,
    Refusal,
    Register,
    RegisterBody,
    Resync,
    RotateBody,
    Rotated,
    ServerBye,
)
from ghostwire.wire.packed_map import packed
from ghostwire.wire.server_session import ServerSession

if TYPE_CHECKING:
    from ghostwire.server.session.shell import SessionShell

PACKED_FROM: Final = 1024
"""Bytes of a message for one node alone that make it worth packing."""
PEERS_A_MESSAGE: Final = 10
"""So many peers in an answer count like one more message: whoever asks for everyone may not ask as often."""
HEARTBEAT: Final = codec.encode(Heartbeat(digest=b"-"))[1:16]
"""What a heartbeat begins with, after a byte that says how many fields it has; most others are read at once."""
UNREAD: Final = 2
"""Times `Limits.unread_bytes` that may wait for a node which goes on asking: changes take one, answers the other."""


NO_GOOD: Final = (AuthenticationError, NotFoundError, PermissionDeniedError, ValidationError, WireError)
"""Why a session is refused for what was sent; all else may be this server's doing, or pass."""


class NodeSession:
    """One connection, from its challenge to its end. `node`, `slot` and `session` stand once it has its session."""

    __slots__ = (
        "_arrival",
        "_busy",
        "_leaving",
        "_pace",
        "_passage",
        "_protocol",
        "_shell",
        "_timer",
        "node",
        "opened_at",
        "session",
        "slot",
        "transport",
    )

    def __init__(self, shell: SessionShell, arrival: Arrival, answer: bytes) -> None:
        self._shell, self._arrival = shell, arrival
        self._protocol = ServerSession(shell.gate, shell.entropy)
        self._pace: Pace | None = None
        self._busy = False
        self._leaving = False
        self._passage: Passage | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.transport = SessionTransport(self, MAX_CLIENT_FRAME, shell.loop, answer)
        self.node = self.slot = self.session = -1
        self.opened_at = 0

    # The connection's side.

    def opened(self) -> None:
        """The upgrade is done: challenge the node, and do not wait for it for ever."""
        shell = self._shell
        shell.standing.add(self)
        now = shell.coordination.clock()
        self._pace = Pace(shell.limits.messages_per_s, shell.limits.messages_burst, now.mono)
        self._timer = shell.loop.call_later(shell.limits.unproved_s, self._unproved)
        self.transport.send(self._protocol.challenge(now))

    def message(self, data: bytes) -> None:
        """One frame from the node."""
        now = self._shell.coordination.clock()
        try:
            self._take(now.mono)
            if self.session >= 0 and data.startswith(HEARTBEAT, 1):
                found = self._shell.coordination.glance(self, data, now.utc)
                if found is not None:
                    self.transport.send_framed(found)
                    return
            message = codec.decode_from_node(data)
            if isinstance(message, Query) and self.session >= 0:
                self._query(message)
            elif self._protocol.node_key is None and isinstance(message, Register | Hello):
                self._begin()
                passage = Passage.JOIN if isinstance(message, Register) else Passage.RETURN
                self._shell.turnstile.enter(passage, partial(self._open, message))
            else:
                self._act(self._protocol.take(message, now))
        except GhostwireError as error:
            self._refuse(error, final=self.session < 0 or isinstance(error, WireError))

    def control(self) -> None:
        """A ping or a pong from the node."""
        try:
            self._take(self._shell.coordination.clock().mono)
        except GhostwireError as error:
            self._refuse(error, final=isinstance(error, WireError))

    def malformed(self) -> None:
        """The node's frames are none."""
        if self.session < 0:
            self._arrival.failed()

    def drained(self) -> None:
        """A slow node has read everything: where frames were skipped, it gets its whole map."""
        self._shell.coordination.fanout.taken(self)
        if self.outlet.held:
            self._catch_up()

    def closed(self) -> None:
        """The connection is gone."""
        shell = self._shell
        shell.standing.discard(self)
        if not shell.standing:
            shell.empty.set()
        if self._timer is not None:
            self._timer.cancel()
        session = self.session
        self._forget()
        if session >= 0:
            self._report_closed(self.node, session, intent=False)
        self._arrival.gone()

    # The fan-out's side.

    @property
    def outlet(self) -> fanout.Outlet:
        """Where its frames go; held while the node is behind, and waits for its whole map."""
        found = self.transport.outlet
        assert found is not None  # noqa: S101 - set when the connection opened
        return found

    @property
    def slow(self) -> bool:
        """Whether something waits for the node to read."""
        return self.transport.paused

    @property
    def packs(self) -> bool:
        """Whether the node reads packed messages."""
        return self._protocol.packs

    def push(self, framed: bytes) -> bool:
        """Send one broadcast frame, unless the node is too far behind to be sent single changes."""
        if self.outlet.held:
            return False
        if self.transport.waiting + len(framed) > self._shell.limits.unread_bytes:
            self.outlet.held = True
            return False
        self.transport.send_framed(framed)
        return True

    def deliver(self, frames: Iterable[bytes]) -> None:
        """Send the session's own frames."""
        self.transport.send_all(map(_packed, frames) if self.packs else frames)

    def end(self, code: str, reason: str) -> None:
        """Refuse whatever follows and close; a node that logged out is told that it did."""
        if self._leaving:
            self._logged_out(None)
            return
        self.transport.send(codec.encode(Refusal(code=code, message=reason, final=True)))
        self._forget()
        self.transport.close(status_of_code(code).ws, reason)

    def bye(self, reason: str, retry_after: float) -> None:
        """End the session by the server's own will."""
        self.transport.send(codec.encode(ServerBye(reason=reason, retry_after=retry_after)))
        self.transport.close(GOING_AWAY, reason)

    # What a node asks.

    def _act(self, heard: Any) -> None:
        if isinstance(heard, Query):
            self._query(heard)
        elif isinstance(heard, Heartbeat):
            self._heartbeat(heard)
        elif isinstance(heard, Endpoints):
            self._shell.coordination.announce(self, heard.endpoints, self._heard_or_refused)
        elif isinstance(heard, RegisterBody):
            self._register(heard)
        elif isinstance(heard, HelloBody):
            self._hello(heard)
        elif isinstance(heard, ChallengeRequest):
            self.transport.send(self._protocol.challenge(self._shell.coordination.clock()))
        elif isinstance(heard, RotateBody):
            self._rotate(heard)
        elif isinstance(heard, Resync):
            self._resync()
        elif isinstance(heard, HeldHead):
            self._shell.coordination.returned(heard.signed, self._heard_or_refused)
        elif isinstance(heard, NodeBye):
            self._leave(heard)

    @property
    def _actor(self) -> str:
        return f"node:{self.node}"

    def _open(self, message: Register | Hello) -> None:
        """The turn of this connection has come."""
        self._passage = Passage.JOIN if isinstance(message, Register) else Passage.RETURN
        asked = False
        try:
            if not self.transport.closing:
                self._act(self._protocol.take(message, self._shell.coordination.clock()))
                asked = True
        except GhostwireError as error:
            self._refuse(error, final=True)
        finally:
            if not asked:
                self._passed()

    def _passed(self) -> None:
        if self._passage is not None:
            passage, self._passage = self._passage, None
            self._shell.turnstile.left(passage)

    def _register(self, body: RegisterBody) -> None:
        self._ask(
            lambda op: RegisterNode(
                op=op,
                actor=f"nodekey:{body.node_key.hex()[:16]}",
                node_key=body.node_key,
                machine_key=body.machine_key,
                facts=body.facts,
                preauth_key=body.preauth_key,
                session=True,
            ),
            partial(self._stands, body.node_key),
        )

    def _hello(self, body: HelloBody) -> None:
        self._ask(
            lambda op: OpenSession(
                op=op,
                actor=f"nodekey:{body.node_key.hex()[:16]}",
                node_key=body.node_key,
                token=body.token,
                resume=body.resume,
                digest=body.digest,
            ),
            partial(self._stands, body.node_key),
        )

    def _stands(self, node_key: bytes, opened: SessionOpened) -> None:
        self._busy = False
        if self.transport.closing:
            self._report_closed(opened.node, opened.session, intent=False)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._arrival.known()
        self._protocol.establish(node_key)
        self.node, self.slot, self.session = opened.node, opened.slot, opened.session
        self._shell.counters.opened += 1
        self._note("session.opened", "debug", node=self.node, session=self.session)
        head = self._shell.coordination.head
        self.deliver(opened.frames if head is None else chain(opened.frames, (head,)))
        self._shell.coordination.opened(opened)
        replaced = self._shell.coordination.fanout.attach(self)
        if replaced is not None:
            replaced.replaced()

    def replaced(self) -> None:
        """A newer connection of the same node has taken over."""
        self._forget()
        self.bye("a newer connection of this node has taken over", 0.0)

    def _heartbeat(self, heard: Heartbeat) -> None:
        self._shell.coordination.heartbeat(self.node, self.session, heard, self._answered(self._heard))

    def _heard(self, moves_to: Position | None) -> None:
        ack = HeartbeatAck(utc=self._shell.coordination.clock().utc, position=moves_to)
        self.transport.send(codec.encode(ack))

    def _query(self, query: Query) -> None:
        shell, pace = self._shell, self._pace
        assert pace is not None  # noqa: S101 - set when the connection opened
        shell.counters.queries += 1
        try:
            if self.session < 0:
                raise NotFoundError("this session is over: open another one")
            peers = shell.coordination.peers(self, query)
        except GhostwireError as error:
            self._refuse(error, final=False, query=query.id)
            return
        pace.charge(len(peers) / PEERS_A_MESSAGE)
        self.transport.send(codec.encode(Answer(id=query.id, peers=peers, stale=shell.coordination.stale)))

    def _heard_or_refused(self, error: GhostwireError | None) -> None:
        if error is not None:
            self._refuse(error, final=False)

    def _rotate(self, body: RotateBody) -> None:
        self._begin()
        self._ask(
            lambda op: RotateNodeKey(
                op=op, actor=self._actor, node=self.node, node_key=body.node_key, new_key=body.new_key
            ),
            partial(self._rotated, body.new_key),
        )

    def _rotated(self, new_key: bytes, rotated: KeyRotated) -> None:
        self._busy = False
        self._protocol.establish(new_key)
        self.transport.send(codec.encode(Rotated(token=rotated.token)))

    def _resync(self) -> None:
        self._ask(self._build_resync, self._resynced)

    def _catch_up(self) -> None:
        """Send the whole map to a node that frames were skipped for; where that is too often, a little later."""

        def answer(frames: Any, error: GhostwireError | None) -> None:
            if error is None:
                self._resynced(frames)
            elif error.retryable:
                self._shell.loop.call_later(error.retry_after or 1.0, self._catch_up)
            else:
                self._refuse(error, final=True)

        if self.session >= 0 and not self.transport.closing:
            self._shell.coordination.submit(self._build_resync, answer)

    def _build_resync(self, op: int) -> ResyncNode:
        return ResyncNode(op=op, actor=self._actor, node=self.node, session=self.session)

    def _resynced(self, frames: Iterable[bytes]) -> None:
        self.outlet.held = False
        self._shell.counters.resyncs += 1
        self._shell.coordination.fanout.send(frames, self)

    def _leave(self, bye: NodeBye) -> None:
        if self.session < 0:
            self.transport.close(NORMAL)
        elif bye.logout:
            self._begin()
            self._leaving = True
            self._ask(lambda op: LogoutNode(op=op, actor=self._actor, node=self.node), self._logged_out)
        else:
            node, session = self.node, self.session
            self._forget()
            self._report_closed(node, session, intent=True)
            self.transport.close(NORMAL)

    def _logged_out(self, value: None) -> None:
        if self.transport.closing:
            return
        self._forget()
        self.transport.send(codec.encode(ServerBye(reason="logged out")))
        self.transport.close(NORMAL)

    # What all of them share.

    def _ask(self, build: Callable[[int], Any], then: Callable[[Any], None]) -> None:
        self._shell.coordination.submit(build, self._answered(then))

    def _answered(self, then: Callable[[Any], None]) -> Callable[[Any, GhostwireError | None], None]:
        def answer(value: Any, error: GhostwireError | None) -> None:
            try:
                if error is None:
                    then(value)
                else:
                    self._busy = False
                    self._refuse(error, final=self.session < 0)
            finally:
                self._passed()

        return answer

    def _begin(self) -> None:
        if self._busy:
            raise WireError("one request at a time: the answer to the last one is still to come")
        self._busy = True

    def _take(self, now: float) -> None:
        """Let one frame in; no more are read until this node may send another."""
        assert self._pace is not None  # noqa: S101 - set when the connection opened
        if self.transport.waiting > UNREAD * self._shell.limits.unread_bytes:
            raise WireError("what was answered is left unread, and more is asked")
        if wait := self._pace.take(now):
            self.transport.hold(wait)

    def _refuse(self, error: GhostwireError, *, final: bool, query: int | None = None) -> None:
        self._shell.counters.refused[error.code] += 1
        level: Level = "info" if final else "debug"
        self._note("session.refused", level, node=self.node, code=error.code, reason=error.message)
        refusal = Refusal(
            code=error.code, message=error.message, retry_after=error.retry_after, final=final, query=query
        )
        self.transport.send(codec.encode(refusal))
        if final and self.session < 0 and isinstance(error, NO_GOOD) and self._timer is not None:
            # What ran out of time (its timer is gone then) may have waited for this server.
            self._arrival.failed()
        if final:
            self.transport.close(status_of(error).ws, error.message)

    def _note(self, name: str, level: Level, /, **fields: Value) -> None:
        self._shell.observer.event(level, name, address=self._arrival.address, **fields)

    def _forget(self) -> None:
        """The session is over for the server; only its connection still stands."""
        if self.session >= 0:
            self._note("session.closed", "debug", node=self.node, session=self.session)
            self._shell.counters.closed += 1
            self._shell.coordination.fanout.detach(self)
            self.session = -1

    def _report_closed(self, node: int, session: int, *, intent: bool) -> None:
        self._shell.coordination.submit(
            lambda op: SessionClosed(op=op, actor=f"node:{node}", node=node, session=session, intent=intent), _ignored
        )

    def _unproved(self) -> None:
        self._timer = None
        self._refuse(WireError("no session within its time: register or hello comes first"), final=True)


def _packed(message: bytes) -> bytes:
    return packed(message) if len(message) >= PACKED_FROM else message


def _ignored(value: Any, error: GhostwireError | None) -> None:
    return

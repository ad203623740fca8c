"""A coordinator, a store and viewers in virtual time: every effect is carried out, nothing waits, all of it replays."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ghostwire.coordinator import Coordinator, Settings
from ghostwire.coordinator.commands import (
    AdoptSession,
    Answer,
    Command,
    CreatePreauthKey,
    Failed,
    HeartbeatNode,
    OpenSession,
    RegisterNode,
    SessionClosed,
    SlotRested,
)
from ghostwire.coordinator.effects import (
    BuildPolicy,
    CloseSession,
    Effect,
    Flush,
    KeyCreated,
    Persist,
    Push,
    Refuse,
    Registered,
    Reply,
    RestSlot,
    Send,
    SessionOpened,
)
from ghostwire.coordinator.policy_building import build_policy
from ghostwire.errors import GhostwireError, WireError
from ghostwire.model.flow import Flow
from ghostwire.model.node import NodeFacts, NodeMetrics
from ghostwire.testing.clock import ManualClock
from ghostwire.testing.memory_store import MemoryStore
from ghostwire.wire import codec
from ghostwire.wire.keys import clamp, public_key
from ghostwire.wire.messages import FromServer, MapDelta, MapFull, MapUnchanged, Welcome
from ghostwire.wire.netmap import NetMap


class SimNode:
    """A node as the network sees it: its key, its map, and the session that it believes to have."""

    def __init__(self, name: str, key: bytes) -> None:
        self.name = name
        self.key = key
        self.id = 0
        self.slot = -1
        self.session = 0
        self.token: str | None = None
        self.netmap = NetMap()
        self.heard: list[str] = []
        self.closed: tuple[str, str] | None = None
        self.deaf = False

    @property
    def connected(self) -> bool:
        """Whether the node has a session."""
        return self.session != 0

    def receive(self, message: FromServer) -> None:
        """Take one message, as an agent would."""
        if isinstance(message, Welcome):
            self.token = message.token
        elif isinstance(message, MapFull):
            if self.netmap.apply_page(message):
                self.heard.append("full")
        elif isinstance(message, MapDelta):
            self.netmap.apply_delta(message)
            self.heard.append("delta")
        elif isinstance(message, MapUnchanged):
            if self.netmap.position is None or message.digest != self.netmap.digest:
                raise WireError(f"{self.name} is told that a wrong map is unchanged")
            self.netmap.position = message.position
            self.heard.append("unchanged")
        else:
            self.heard.append(type(message).__name__)


class SimNet:
    """The network. With `hold` set, changes wait in `held` until the test commits or fails them, in any order.

    With `hold_builds` set, policies that are built aside wait in `builds` until the test finishes them. With
    `hold_maps` set, whole maps that may wait do until `bring_maps`, and broadcasts pass their nodes over. Unless
    `settings` say otherwise, each change is told by itself.
    """

    def __init__(self, settings: Settings | None = None, seed: int = 0) -> None:
        self.settings = settings or Settings(coalesce_s=0.0)
        self.random = random.Random(seed)  # noqa: S311
        self.clock = ManualClock()
        self.store = MemoryStore(log_id=self.random.randbytes(16), mac_key=self.random.randbytes(32))
        self.nodes: dict[str, SimNode] = {}
        self.by_slot: dict[int, SimNode] = {}
        self.by_id: dict[int, SimNode] = {}
        self.hold = False
        self.held: list[Persist] = []
        self.hold_builds = False
        self.builds: list[BuildPolicy] = []
        self.pushes: list[Push] = []
        self.watch: Callable[[Effect], None] | None = None
        self._op = 0
        self._answers: dict[int, Any] = {}
        self.hold_maps = False
        self._waiting: list[Send] = []
        self._answered: deque[Answer] = deque()
        self._frames: dict[bytes, FromServer] = {}
        self.coordinator = self._start()

    def _start(self) -> Coordinator:
        snapshot = self.store.snapshot(self.random.randbytes(16))
        return Coordinator(self.settings, snapshot, self.random.randbytes, self.clock())

    # Time.

    def advance(self, seconds: float) -> None:
        """Let time pass; every deadline on the way is met at its own moment."""
        self.run_to(self.clock.mono + seconds)

    def run_to(self, mono: float) -> None:
        """Let time pass until this monotonic second."""
        while (due := self.coordinator.poll_timeout()) is not None and due <= mono:
            self.clock.move_to(max(due, self.clock.mono))
            self.coordinator.handle_timeout(self.clock())
            self.drain()
        self.clock.move_to(mono)

    def restart(self, *, graceful: bool = True, away_s: float = 0.0) -> None:
        """Stop the coordinator, or kill it, and start it from what the store has. All connections break."""
        if graceful:
            self.coordinator.stop(self.clock())
            self.drain()
        for node in self.nodes.values():
            node.session = 0
        self.held.clear()
        self.builds.clear()
        self._waiting.clear()
        self._answered.clear()
        self.clock.advance(away_s)
        self.coordinator = self._start()
        self.drain()

    # Asking.

    def ask(self, make: Callable[..., Command], **fields: Any) -> Any:
        """Give a command and return what it is answered. Raises what it is refused with."""
        op = self.give(make, **fields)
        answer = self._answers.pop(op)
        if isinstance(answer, GhostwireError):
            raise answer
        return answer

    def give(self, make: Callable[..., Command], **fields: Any) -> int:
        """Give a command; the number under which `answer` has what it is answered."""
        self._op += 1
        self.coordinator.handle(make(op=self._op, actor="test", **fields), self.clock())
        self.drain()
        return self._op

    def answer(self, op: int) -> Any:
        """What a command was answered, or the error it was refused with; `KeyError` while it is not."""
        return self._answers.pop(op)

    def is_answered(self, op: int) -> bool:
        """Whether there is an answer."""
        return op in self._answers

    def settle(self, index: int = 0, *, fail: bool = False, error: Exception | None = None) -> None:
        """Commit one of the held changes, or fail it: as a conflict, or with the store's error."""
        persist = self.held.pop(index)
        if fail:
            self._answered.append(Failed(persist=persist.persist, conflict=error is None, error=error))
        else:
            self._answered.append(self.store.commit(persist, self.clock().utc))
        self.drain()

    def finish_build(self) -> None:
        """Finish the policy that has been building for longest."""
        self._answered.append(build_policy(self.builds.pop(0)))
        self.drain()

    def bring_maps(self) -> None:
        """Make and send the whole maps that wait, to the sessions that they are meant for."""
        while self._waiting:
            self._send(self._waiting.pop(0))

    # Nodes.

    def key(self, user: str | None = "alice", **fields: Any) -> str:
        """The secret of a fresh pre-auth key."""
        created: KeyCreated = self.ask(CreatePreauthKey, user=user, **{"uses": None, **fields})
        return created.secret

    def node(self, name: str) -> SimNode:
        """A machine that has not registered."""
        private = clamp(self.random.randbytes(32))
        found = self.nodes[name] = SimNode(name, public_key(private))
        return found

    def register(self, node: SimNode, secret: str | None, **facts: Any) -> SimNode:
        """Register a machine."""
        registered: Registered = self.ask(RegisterNode, **self.registration(node, secret, **facts))
        self._known(node, registered.node)
        return node

    @staticmethod
    def registration(node: SimNode, secret: str | None, **facts: Any) -> dict[str, Any]:
        """The fields of a machine's registration."""
        return {
            "node_key": node.key,
            "machine_key": node.key,
            "facts": NodeFacts(**{"hostname": node.name, **facts}),
            "preauth_key": secret,
        }

    def _known(self, node: SimNode, node_id: int) -> None:
        node.id = node_id
        node.slot = self.coordinator.view.node(node_id).slot
        self.by_slot[node.slot] = node
        self.by_id[node_id] = node

    def connect(self, node: SimNode) -> SimNode:
        """Open a node's session, from the map that it holds."""
        opened: SessionOpened = self.ask(
            OpenSession,
            node_key=node.key,
            token=node.token,
            resume=node.netmap.position,
            digest=node.netmap.digest if node.netmap.position else b"",
        )
        self._known(node, opened.node)
        return node

    def join(self, name: str, secret: str, **facts: Any) -> SimNode:
        """Register a machine and open its session with that."""
        return self.arrive(self.node(name), secret, **facts)

    def arrive(self, node: SimNode, secret: str | None, **facts: Any) -> SimNode:
        """Register and open a session in one, as over a node's connection."""
        opened: SessionOpened = self.ask(RegisterNode, **self.registration(node, secret, **facts), session=True)
        self._known(node, opened.node)
        return node

    def adopt(self, node: SimNode, session: int) -> SimNode:
        """Have a session known that lived on while the coordinator was killed."""
        opened: SessionOpened = self.ask(AdoptSession, node=node.id, session=session, held=node.netmap.position)
        self._known(node, opened.node)
        return node

    def cut(self, node: SimNode, *, intent: bool = False) -> None:
        """End a node's connection."""
        session, node.session = node.session, 0
        self.ask(SessionClosed, node=node.id, session=session, intent=intent)

    def beat(
        self,
        node: SimNode,
        metrics: NodeMetrics | None = None,
        hits: Mapping[int, int] | None = None,
        flows: Mapping[int, Flow] | None = None,
    ) -> None:
        """A node's sign of life, perhaps with what its filter's rules did and what it exchanged with peers."""
        held = node.netmap
        told = {"metrics": metrics, "hits": dict(hits or {}), "flows": dict(flows or {})}
        fields = {"node": node.id, "session": node.session, **told}
        moved = self.ask(HeartbeatNode, **fields, position=held.position, digest=held.digest)
        if moved is not None:
            held.position = moved

    # Effects.

    def drain(self) -> None:
        """Carry out every effect, and what the store's answers lead to."""
        while True:
            effect = self.coordinator.poll_effect()
            if effect is not None:
                self._carry_out(effect)
            elif self._answered:
                self.coordinator.handle(self._answered.popleft(), self.clock())
            else:
                break
        self._frames.clear()

    def _carry_out(self, effect: Effect) -> None:
        if self.watch is not None:
            self.watch(effect)
        if isinstance(effect, Persist):
            if self.hold:
                self.held.append(effect)
            else:
                self._answered.append(self.store.commit(effect, self.clock().utc))
        elif isinstance(effect, BuildPolicy):
            if self.hold_builds:
                self.builds.append(effect)
            else:
                self._answered.append(build_policy(effect))
        elif isinstance(effect, Reply):
            self._answers[effect.op] = effect.value
            if isinstance(effect.value, SessionOpened):
                self._opened(effect.value)
        elif isinstance(effect, Refuse):
            self._answers[effect.op] = effect.error
        elif isinstance(effect, Push):
            self.pushes.append(effect)
            passed_over = {send.node for send in self._waiting}
            for slot in effect.slots:
                node = self.by_slot.get(slot)
                if node is not None and node.id not in passed_over:
                    self.deliver(node, effect.frame)
        elif isinstance(effect, Send):
            if effect.waits and self.hold_maps:
                self._waiting.append(effect)
            else:
                self._send(effect)
        elif isinstance(effect, CloseSession):
            self._close(effect)
        elif isinstance(effect, Flush):
            self.store.flush(effect)
        elif isinstance(effect, RestSlot):
            self._answered.append(SlotRested(slot=effect.slot))

    def _send(self, effect: Send) -> None:
        node = self.by_id.get(effect.node)
        for frame in effect.frames:
            if node is not None and node.session == effect.session:
                self.deliver(node, frame)

    def _opened(self, opened: SessionOpened) -> None:
        """Find the node before its first frames: pushes follow at once."""
        record = self.coordinator.view.node(opened.node)
        node = next(found for found in self.nodes.values() if found.key == record.node_key)
        node.session, node.closed = opened.session, None
        self._known(node, opened.node)
        for frame in opened.frames:
            self.deliver(node, frame)

    def deliver(self, node: SimNode | None, frame: bytes) -> None:
        """Bring a frame to a node, if it is there to hear it."""
        if node is None or not node.connected or node.deaf:
            return
        message = self._frames.get(frame)
        if message is None:
            message = self._frames[frame] = codec.decode_from_server(frame)
        node.receive(message)

    def _close(self, effect: CloseSession) -> None:
        node = self.by_id.get(effect.node)
        if node is not None and node.session == effect.session:
            node.session = 0
            node.closed = (effect.code, effect.reason)

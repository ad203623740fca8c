"""A machine and the coordinator's end of its session, in memory and in virtual time."""

from __future__ import annotations

import random

from ghostwire.agent.effects import Dial, Effect, HangUp, Keep, Quit, Transmit, Tune
from ghostwire.agent.join import Join
from ghostwire.agent.machine import Machine
from ghostwire.agent.memory import Memory
from ghostwire.model.filter import SightEnd
from ghostwire.model.node import NodeFacts
from ghostwire.model.position import Position
from ghostwire.model.time import SECOND, Now
from ghostwire.wire import codec
from ghostwire.wire.keys import clamp, public_key
from ghostwire.wire.messages import MapDelta, MapFull, Parts, Rotated, Welcome
from ghostwire.wire.netmap import Dns, Filter, NetMap, Network, Peer, Relays, SelfNode, encode_part
from ghostwire.wire.server_session import Gate, ServerSession

ORIGIN = "https://mesh.example:8443"
START = 1_800_000_000 * SECOND


def node_key(number: int) -> bytes:
    return clamp(bytes([number]) * 32)


def peer(number: int, **changes: object) -> Peer:
    known = {
        "id": number,
        "name": f"node{number}",
        "key": public_key(node_key(number)),
        "ipv4": f"100.64.0.{number}",
        "ipv6": f"fd7a:115c:a1e0::{number:x}",
        "online": True,
        "endpoints": (f"192.0.2.{number}:51820",),
    }
    return Peer(**{**known, **changes})  # type: ignore[arg-type]


class Meeting:
    """Carries frames between the two and performs the machine's effects by writing them down."""

    def __init__(self, *, memory: Memory | None = None, netmap: NetMap | None = None, key: str | None = "k") -> None:
        self.random = random.Random(7)
        self.now = Now(100.0, START)
        self.network = Network(id="n", domain="mesh", max_age_s=3600.0, heartbeat_s=30.0)
        self.memory = memory or Memory(origin=ORIGIN, node_private=node_key(1), machine_private=node_key(99))
        self.machine = Machine(
            self.memory,
            netmap or NetMap(),
            Join(facts=NodeFacts(hostname="one"), preauth_key=key),
            self.random.randbytes,
            self.now,
        )
        self.gate = Gate.open("n", clamp(self.random.randbytes(32)), b"s" * 32, frozenset())
        self.server = ServerSession(self.gate, self.random.randbytes)
        self.effects: list[Effect] = []
        self.heard: list[object] = []
        self.open = False
        self.seq = 0
        self.ends: tuple[SightEnd, ...] = ()

    # Time.

    def pass_time(self, seconds: float) -> None:
        """Let time go by, doing what is due on the way."""
        end = self.now.mono + seconds
        while True:
            due = self.machine.poll_timeout()
            if due is None or due > end:
                break
            self._advance(max(due, self.now.mono))
            self.machine.handle_timeout(self.now)
            self.settle()
        self._advance(end)

    def _advance(self, mono: float) -> None:
        self.now = Now(mono, self.now.utc + int((mono - self.now.mono) * SECOND))

    # The connection.

    def begin(self) -> None:
        self.machine.begin(self.now)
        self.settle()

    def accept(self) -> None:
        """Answer the dial: the connection stands and the challenge is sent."""
        self.server = ServerSession(self.gate, self.random.randbytes)
        self.open = True
        self.machine.opened(b"s" * 32, self.now)
        self.tell(self.server.challenge(self.now))

    def tell(self, frame: bytes) -> None:
        self.machine.received(frame, self.now)
        self.settle()

    def say(self, message: object) -> None:
        self.tell(codec.encode(message))  # type: ignore[arg-type]

    def welcome(self, **parts: object) -> None:
        self.server.establish(public_key(self.machine.memory.node_private))
        self.say(Welcome(token="t", node=1, session=1, heartbeat_s=30.0, utc=self.now.utc))

    def join(self, *peers: Peer) -> None:
        """From dialling to a whole map."""
        self.accept()
        self.welcome()
        self.full(*peers)

    def full(self, *peers: Peer) -> None:
        self.seq += 1
        own = SelfNode(id=1, name="one", key=public_key(node_key(1)), ipv4="100.64.0.1", ipv6="fd7a:115c:a1e0::1")
        parts = Parts(
            self=encode_part(own),
            filter=encode_part(Filter(ends=self.ends)),
            dns=encode_part(Dns(domain="mesh")),
            relays=encode_part(Relays()),
            network=encode_part(self.network),
            peers={one.id: encode_part(one) for one in peers},
        )
        self.say(MapFull(page=0, parts=parts, last=True, position=self.position()))

    def delta(self, *peers: Peer, gone: tuple[int, ...] = ()) -> None:
        self.seq += 1
        parts = Parts(peers={one.id: encode_part(one) for one in peers})
        self.say(MapDelta(position=self.position(), parts=parts, gone=gone))
        self.pass_time(0.06)

    def position(self) -> Position:
        return Position(b"l" * 16, self.seq, b"b" * 16, 0)

    def cut(self) -> None:
        self.open = False
        self.machine.lost("cut", self.now)
        self.settle()

    def rotated(self) -> None:
        self.say(Rotated(token="t2"))

    # Effects.

    def settle(self) -> None:
        while (effect := self.machine.poll_effect()) is not None:
            self.effects.append(effect)
            if isinstance(effect, Transmit) and self.open:
                self._hear(effect.frame)
            elif isinstance(effect, HangUp):
                self.open = False
            elif isinstance(effect, Keep):
                self.memory = effect.memory

    def _hear(self, frame: bytes) -> None:
        message = self.server.receive(frame, self.now)
        self.heard.append(message)
        if type(message).__name__ == "ChallengeRequest":
            # As the coordinator's shell does, from outside the machine's own call.
            self.machine.received(self.server.challenge(self.now), self.now)

    def take(self, kind: type) -> list[Effect]:
        """Effects of one kind since the last look."""
        found = [effect for effect in self.effects if isinstance(effect, kind)]
        self.effects = [effect for effect in self.effects if not isinstance(effect, kind)]
        return found

    @property
    def quit(self) -> Quit | None:
        return next((effect for effect in self.effects if isinstance(effect, Quit)), None)

    @property
    def dialled(self) -> bool:
        return bool(self.take(Dial))


def joined(*peers: Peer, ends: tuple[SightEnd, ...] = ()) -> Meeting:
    """A node with a session and its first map."""
    meeting = Meeting()
    meeting.ends = ends
    meeting.begin()
    meeting.join(*peers)
    return meeting


def steps(meeting: Meeting) -> list[object]:
    """What the tunnel was told since the last look."""
    return [step for tune in meeting.take(Tune) for step in tune.steps]

"""Asks at a steady rate, in a process of its own: `python -m ghostwire.testing.load.prober`.

A few nodes of the network stay connected and ask for a peer each; latency counts from the scheduled moment, so no stall
is hidden. The same is asked of a bare uvloop server, so that what the machine adds is known. Orders come on standard
input, answers go to standard output, one line of JSON each; it ends with its standard input.
"""

from __future__ import annotations

import gc
import os
import random
import select
import sys
import time
from collections import deque
from typing import Final

import msgspec

from ghostwire.errors import GhostwireError, UnavailableError
from ghostwire.model.node import NodeFacts
from ghostwire.server import switching
from ghostwire.testing.load.caller import Caller
from ghostwire.testing.load.door import Door
from ghostwire.testing.load.kinds import is_answer
from ghostwire.testing.load.latencies import Latencies
from ghostwire.wire import codec
from ghostwire.wire.client_session import ClientSession, Credentials, MapChanged
from ghostwire.wire.keys import clamp, public_key
from ghostwire.wire.messages import Query, Refusal, ServerBye
from ghostwire.wire.netmap import NetMap

BEAT_S: Final = 20.0
IDLE_S: Final = 1.0
NAP_S: Final = 20e-6
"""While something is due soon: longer than this by what the kernel's timers add, and still far below a millisecond."""
LAST_S: Final = 10.0
"""How long the last answers may take before they count as never given."""
AGAIN_S: Final = 0.1


class Meet(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="meet"):
    """Join: nodes by their numbers, with their pre-auth keys and the name of the peer that each will ask for."""

    door: Door
    numbers: tuple[int, ...]
    keys: tuple[str, ...]
    peers: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Meet of {len(self.numbers)}>"


class Again(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="again"):
    """The server was restarted: come back, however often that takes, within so many seconds."""

    within_s: float


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="ask"):
    """Ask so often a second, so long; of the bare server at `raw` where that is a port."""

    rate: float
    seconds: float
    raw: int | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """An order is done: `latencies` (encoded) of what was asked, `unanswered` of it never was."""

    latencies: str = ""
    unanswered: int = 0


_decoder = msgspec.json.Decoder(Meet | Again | Ask)


class Asker:
    """One node that asks. `due` are the scheduled moments of what it has asked and not been answered.

    `left` says that the server has closed its connection.
    """

    def __init__(self, door: Door, number: int, key: str, peer: str) -> None:
        self.due: deque[float] = deque()
        self.left = False
        self.caller: Caller | None = None
        self._door = door
        self._netmap = NetMap()
        self._who = Credentials(
            node_private=clamp(os.urandom(32)),
            machine_key=public_key(clamp(os.urandom(32))),
            facts=NodeFacts(hostname=f"sim-{number}"),
            preauth_key=key,
        )
        self._query = codec.encode(Query(id=1, name=peer))

    def connect(self) -> None:
        """Stand by a session and a map. Raises UnavailableError."""
        self.left = False
        self.caller = Caller(self._door)
        self._session = ClientSession(self._who, self._netmap, self._door.origin, self.caller.spki)
        self._stands = False
        while not self._stands:
            for payload in self.caller.read():
                self._take(payload)
        assert self._session.welcome is not None  # noqa: S101 - the map comes after it
        self._who = msgspec.structs.replace(self._who, token=self._session.welcome.token, preauth_key=None)

    def ask(self, due: float) -> None:
        """Ask for the peer."""
        assert self.caller is not None  # noqa: S101 - only a connection is asked over
        self.due.append(due)
        try:
            self.caller.send(self._query)
        except OSError:
            self.left = True

    def beat(self) -> None:
        """Give a sign of life."""
        self._session.heartbeat(None)
        self._transmit()

    def read(self, latencies: Latencies) -> None:
        """Take what has come; answers count at once. Raises UnavailableError where the server has left."""
        assert self.caller is not None  # noqa: S101 - only a connection is read
        found = self.caller.read()
        at = time.monotonic()
        for payload in found:
            if is_answer(payload):
                latencies.add(at - self.due.popleft())
            else:
                self._take(payload)

    def _take(self, payload: bytes) -> None:
        heard = self._session.receive(payload)
        if isinstance(heard, MapChanged):
            self._stands = True
        elif isinstance(heard, Refusal | ServerBye):
            raise UnavailableError(f"the server refused: {heard}")
        self._transmit()

    def _transmit(self) -> None:
        while self.caller is not None and (payload := self._session.poll_transmit()) is not None:
            self.caller.send(payload)


class Bare:
    """A connection to the bare server, which asks like a node."""

    def __init__(self, port: int) -> None:
        self.due: deque[float] = deque()
        self.left = False
        self.caller = Caller(Door("127.0.0.1", port))
        self._query = codec.encode(Query(id=1, name="sim-1"))

    def ask(self, due: float) -> None:
        """Ask."""
        self.due.append(due)
        self.caller.send(self._query)

    def read(self, latencies: Latencies) -> None:
        """Take what has come."""
        found = self.caller.read()
        at = time.monotonic()
        for payload in found:
            if is_answer(payload):
                latencies.add(at - self.due.popleft())


class Prober:
    """The askers of one process."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)
        self._askers: dict[int, Asker] = {}
        self._lost: list[Asker] = []
        self._beat_at = time.monotonic() + BEAT_S
        self._random = random.Random(7)  # noqa: S311 - a schedule, no secret

    def run(self) -> None:
        """Carry out orders until there are no more."""
        unheard = Latencies()
        orders = sys.stdin.fileno()
        while True:
            ready = [number for number, _ in self._poll.poll(IDLE_S)]
            for number in ready:
                if number != orders:
                    self._read(number, unheard)
            # Last: while an order is carried out, what was ready is read.
            if orders in ready:
                line = sys.stdin.buffer.readline()
                if not line:
                    return
                say(self._obey(_decoder.decode(line)))
            self._beat()

    def _obey(self, order: Meet | Again | Ask) -> Asked:
        if isinstance(order, Meet):
            for number, key, peer in zip(order.numbers, order.keys, order.peers, strict=True):
                self._lost.append(Asker(order.door, number, key, peer))
            self._connect(time.monotonic() + 60.0)
            return Asked()
        if isinstance(order, Again):
            self._connect(time.monotonic() + order.within_s)
            return Asked(unanswered=len(self._lost))
        if order.raw is None:
            asked = self._ask(order, self._askers)
            for number in [number for number, asker in self._askers.items() if asker.left]:
                self._drop(number)
            return asked
        plain = {bare.caller.socket.fileno(): bare for bare in (Bare(order.raw) for _ in self._askers)}
        try:
            return self._ask(order, plain)
        finally:
            for bare in plain.values():
                bare.caller.close()

    def _connect(self, deadline: float) -> None:
        while self._lost and time.monotonic() < deadline:
            asker = self._lost.pop()
            try:
                asker.connect()
            except (GhostwireError, OSError):
                self._lost.append(asker)
                time.sleep(AGAIN_S)
                continue
            assert asker.caller is not None  # noqa: S101 - it has just connected
            self._askers[asker.caller.socket.fileno()] = asker
            self._poll.register(asker.caller.socket.fileno(), select.EPOLLIN)

    def _read(self, number: int, latencies: Latencies) -> None:
        asker = self._askers[number]
        try:
            asker.read(latencies)
        except GhostwireError:
            self._drop(number)

    def _drop(self, number: int) -> None:
        asker = self._askers.pop(number)
        self._poll.unregister(number)
        assert asker.caller is not None  # noqa: S101 - it was registered
        asker.caller.close()
        asker.due.clear()
        self._lost.append(asker)

    def _beat(self) -> None:
        if time.monotonic() >= self._beat_at:
            self._beat_at = time.monotonic() + BEAT_S
            for asker in self._askers.values():
                asker.beat()

    def _ask(self, order: Ask, askers: dict[int, Asker] | dict[int, Bare]) -> Asked:
        """Ask round by round on a Poisson schedule; then wait a little for the last answers."""
        latencies = Latencies()
        numbers = list(askers)
        poll = select.epoll()
        for number in numbers:
            poll.register(number, select.EPOLLIN)
        # This process's own pauses are not the server's.
        gc.collect()
        gc.disable()
        due = began = time.monotonic()
        turn = 0
        while (now := time.monotonic()) < began + order.seconds + LAST_S:
            while due <= now and due < began + order.seconds:
                asker = askers[numbers[turn % len(numbers)]]
                if not asker.left:
                    asker.ask(due)
                turn += 1
                due += self._random.expovariate(order.rate)
            ready = poll.poll(0)
            for number, _ in ready:
                try:
                    askers[number].read(latencies)
                except GhostwireError:
                    askers[number].left = True
                    poll.unregister(number)
            if due >= began + order.seconds and len(latencies) == turn:
                break
            if not ready:
                time.sleep(NAP_S)
        gc.enable()
        poll.close()
        return Asked(latencies=latencies.encode(), unanswered=turn - len(latencies))


def say(what: Asked) -> None:
    """Write one line to whoever gives the orders."""
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    switching.hurry()  # how late the kernel lets it look is not the server's
    Prober().run()

"""Clients that mean harm, in a process of their own: `python -m ghostwire.testing.load.hostile`.

Each connection plays one part, and plays it again as soon as the server has had enough of it: it sends a byte now and
then, says nothing, announces what it does not send, never ends a message, sends noise, forges proofs; or it is a member
that asks without pause, or reads nothing. Orders come on standard input, one line of JSON each; at its end the
process says what it did, and ends.

Where those who mean harm really are, they have machines of their own. Here they share the server's: they run where
nobody else wants to (SCHED_IDLE), so what they cost others is what the server does about them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import uvloop

from ghostwire._native import inbox
from ghostwire.errors import GhostwireError
from ghostwire.model.node import NodeFacts
from ghostwire.testing.load.door import Door, spki_seen
from ghostwire.testing.load.held import NodeMap
from ghostwire.testing.load.link import masked, upgrade_request
from ghostwire.wire import codec
from ghostwire.wire.client_session import ClientSession, Credentials
from ghostwire.wire.keys import clamp, public_key
from ghostwire.wire.messages import MAX_CLIENT_FRAME, MAX_SERVER_FRAME, Hello, Query, Refusal, ServerBye, Welcome

DRIP_S: Final = 0.25
AGAIN_S: Final = 0.02
"""A pause between two tries: fifty a second and connection, thousands of all."""
GREETING_S: Final = 10.0
CHUNK: Final = 1 << 16
BURST: Final = 50
_HUGE: Final = b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4)
_FIRST_PIECE: Final = b"\x02\xfe" + (1000).to_bytes(2, "big") + bytes(1004)
_NEXT_PIECE: Final = b"\x00" + _FIRST_PIECE[1:]


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """Play against this server from so many connections, which come from `source`. Members join with `key`.

    `parts` names those that are played; all of them where it names none.
    """

    door: Door
    source: str
    connections: int
    key: str
    parts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Attack from {self.connections}>"


class Attacked(msgspec.Struct, frozen=True, kw_only=True):
    """How often each part was begun."""

    tries: dict[str, int]


_decoder = msgspec.json.Decoder(Attack)


class Member:
    """A machine that was taken over: it has the keys of a node, and comes back as that node. It holds no map."""

    def __init__(self, key: str) -> None:
        self._who = Credentials(
            node_private=clamp(os.urandom(32)),
            machine_key=public_key(clamp(os.urandom(32))),
            facts=NodeFacts(hostname="hostile"),
            preauth_key=key,
        )

    def session(self, origin: str, spki: bytes) -> ClientSession:
        """A session that has no map to come back with: it is sent the whole one."""
        return ClientSession(self._who, NodeMap(), origin, spki)

    def belongs(self, welcome: Welcome) -> None:
        """It is known from here on: it needs no key to come back."""
        self._who = msgspec.structs.replace(self._who, token=welcome.token, preauth_key=None)


class Stranger:
    """One connection to the server, perhaps a member's."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, attack: Attack, member: Member
    ) -> None:
        self.reader, self.writer, self.attack, self.member = reader, writer, attack, member
        self._frames = inbox.Frames(MAX_SERVER_FRAME)

    async def upgrade(self) -> None:
        """Ask for a session's WebSocket, as anyone may."""
        self.writer.write(upgrade_request(self.attack.door.authority))
        await self.reader.readuntil(b"\r\n\r\n")

    async def hear(self) -> list[bytes]:
        """Messages, as soon as there are some. Raises ConnectionError at the end."""
        data = await self.reader.read(CHUNK)
        if not data:
            raise ConnectionResetError
        return [payload for _, payload in self._frames.feed(data)]

    async def flood(self, piece: bytes) -> None:
        """Send the same bytes until the server has had enough."""
        while not self.reader.at_eof():
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def open(self) -> ClientSession:
        """Take the member's session and its map. Raises ConnectionError where the server refuses."""
        session = self.member.session(self.attack.door.origin, spki_seen(self.writer.get_extra_info("ssl_object")))
        netmap = session.netmap
        assert isinstance(netmap, NodeMap)  # noqa: S101 - it was made with one
        await self.upgrade()
        while netmap.position is None:
            for payload in await self.hear():
                heard = session.receive(payload)
                if isinstance(heard, Refusal | ServerBye):
                    raise ConnectionResetError
                if isinstance(heard, Welcome):
                    self.member.belongs(heard)
                    netmap.belong_to(heard.node)
            while (answer := session.poll_transmit()) is not None:
                self.writer.write(masked(answer))
        return session


async def drip(stranger: Stranger) -> None:
    """The request, a byte now and then (slow-loris)."""
    for byte in upgrade_request(stranger.attack.door.authority):
        if stranger.reader.at_eof():
            return
        stranger.writer.write(bytes((byte,)))
        await asyncio.sleep(DRIP_S)


async def silence(stranger: Stranger) -> None:
    """A session that never answers its challenge (half-open)."""
    await stranger.upgrade()
    await stranger.reader.read()


async def huge(stranger: Stranger) -> None:
    """A frame that is said to have a terabyte."""
    await stranger.upgrade()
    stranger.writer.write(_HUGE)
    await stranger.flood(bytes(MAX_CLIENT_FRAME))


async def endless(stranger: Stranger) -> None:
    """A message in pieces of which none is the last."""
    await stranger.upgrade()
    stranger.writer.write(_FIRST_PIECE)
    await stranger.flood(_NEXT_PIECE)


async def noise(stranger: Stranger) -> None:
    """Random bytes in place of a request or of a message."""
    if os.urandom(1)[0] & 1:
        await stranger.upgrade()
        stranger.writer.write(masked(os.urandom(200)))
    stranger.writer.write(os.urandom(2000) + b"\r\n\r\n")
    await stranger.reader.read()


async def forgery(stranger: Stranger) -> None:
    """The hello of a node whose key this is not, with a proof that looks like one."""
    session = Member("").session(stranger.attack.door.origin, spki_seen(stranger.writer.get_extra_info("ssl_object")))
    session.credentials = msgspec.structs.replace(session.credentials, preauth_key=None)
    await stranger.upgrade()
    while True:
        for payload in await stranger.hear():
            if isinstance(session.receive(payload), Refusal):
                return
        while (answer := session.poll_transmit()) is not None:
            hello = codec.decode_from_node(answer)
            if isinstance(hello, Hello):
                proof = msgspec.structs.replace(hello.proof, mac=os.urandom(len(hello.proof.mac)))
                answer = codec.encode(msgspec.structs.replace(hello, proof=proof))
            stranger.writer.write(masked(answer))


async def questions(stranger: Stranger) -> None:
    """A member that asks and gives signs of life without pause."""
    session = await stranger.open()
    session.heartbeat(None)
    beat = session.poll_transmit() or b""
    await stranger.flood((masked(beat) + masked(codec.encode(Query(id=1)))) * BURST)


async def deafness(stranger: Stranger) -> None:
    """A member that asks for its map again and again, and reads nothing."""
    session = await stranger.open()
    session.resync()
    ask = masked(session.poll_transmit() or b"")
    transport = stranger.writer.transport
    if isinstance(transport, asyncio.ReadTransport):
        transport.pause_reading()
    for _ in range(BURST):
        stranger.writer.write(ask)
        await asyncio.sleep(DRIP_S)


PARTS: Final[tuple[Callable[[Stranger], Awaitable[None]], ...]] = (
    drip,
    silence,
    huge,
    endless,
    noise,
    forgery,
    questions,
    deafness,
)


async def play(attack: Attack, number: int, tries: Counter[str]) -> None:
    """One part, again and again."""
    parts = [part for part in PARTS if part.__name__ in attack.parts] or PARTS
    part = parts[number % len(parts)]
    member = Member(attack.key)
    while True:
        try:
            async with asyncio.timeout(GREETING_S):
                reader, writer = await asyncio.open_connection(
                    attack.door.host, attack.door.port, local_addr=(attack.source, 0), ssl=attack.door.context
                )
        except (OSError, TimeoutError):
            await asyncio.sleep(AGAIN_S)
            continue
        tries[part.__name__] += 1
        try:
            await part(Stranger(reader, writer, attack, member))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, GhostwireError):
            pass  # the server has had enough of it: what that costs others is measured, not here
        finally:
            writer.transport.abort()
        await asyncio.sleep(AGAIN_S)


def stand_back() -> None:
    """Leave the machine to everyone else."""
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


async def main() -> None:
    """Carry out orders until there are no more; say what was done."""
    loop = asyncio.get_running_loop()
    tries: Counter[str] = Counter()
    playing: list[asyncio.Task[None]] = []
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        attack = _decoder.decode(line)
        playing += [loop.create_task(play(attack, number, tries)) for number in range(attack.connections)]
    for task in playing:
        task.cancel()
    await asyncio.gather(*playing, return_exceptions=True)
    sys.stdout.buffer.write(msgspec.json.encode(Attacked(tries=dict(tries))) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    stand_back()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())

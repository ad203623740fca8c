"""One connection of a replica to its primary."""

from __future__ import annotations

import asyncio
from typing import Self

from ghostwire import errors
from ghostwire.errors import GhostwireError, UnavailableError, WireError
from ghostwire.zqlite.replica import frames
from ghostwire.zqlite.replica.frames import Ack, FromPrimary, HandOver, Hello, Part, Refused, Start
from ghostwire.zqlite.replica.link import Link, address

CONNECT_S = 10.0
SILENCE_S = 5.0
"""A primary that says nothing for so long has gone: it ticks every second."""


class Session:
    """Open it with `Session.open`; then `start` is where the rows begin, and `parts` the snapshot before them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: Start) -> None:
        self.start = start
        self.parts: list[bytes] = []
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, primary: str, link: Link, hello: Hello) -> Self:
        """Connect and greet.

        Raises UnavailableError when nobody answers or the other end is not the one that the link names, and what the
        primary refuses with.
        """
        host, port = address(primary)
        context = link.context(server=False)
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(host, port, ssl=context)
                try:
                    frames.send(writer, hello)
                    start = _accepted(await frames.from_primary(reader))
                    if not isinstance(start, Start):
                        raise WireError("a primary answers a greeting with where its rows begin")
                    session = cls(reader, writer, start)
                except BaseException:
                    writer.close()
                    raise
            for _ in range(start.parts):
                part = await session.receive()
                if not isinstance(part, Part):
                    raise WireError("the primary's snapshot ends early")
                session.parts.append(part.data)
        except OSError as error:  # a time-out and a certificate that is not known are among them
            raise UnavailableError(
                f"the primary {primary} cannot be reached, or the two ends do not know each other: "
                f"{error or 'it does not answer'}"
            ) from error
        return session

    async def receive(self) -> FromPrimary:
        """The next message. Raises UnavailableError when the primary is silent or gone, and what it refuses with."""
        try:
            async with asyncio.timeout(SILENCE_S):
                return _accepted(await frames.from_primary(self._reader))
        except TimeoutError:
            raise UnavailableError(f"the primary has said nothing for {SILENCE_S:g} s") from None

    def confirm(self, seq: int) -> None:
        """All rows up to `seq` are on disk."""
        frames.send(self._writer, Ack(seq))

    def ask_to_hand_over(self) -> None:
        """Ask the primary to stop writing."""
        frames.send(self._writer, HandOver())

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def _accepted(message: FromPrimary) -> FromPrimary:
    if isinstance(message, Refused):
        kinds: dict[str, type[GhostwireError]] = {kind.code: kind for kind in GhostwireError.__subclasses__()}
        raise kinds.get(message.code, errors.InternalError)(f"the primary refuses: {message.message}")
    return message

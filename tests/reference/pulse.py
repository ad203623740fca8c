"""Twin of `core_ext.pulse`: reads the message as any other, and looks everything up."""

from __future__ import annotations

from typing import Any

from ghostwire.errors import WireError
from ghostwire.model.position import Position
from ghostwire.server.session.frames import frame
from ghostwire.wire import codec
from ghostwire.wire.messages import Heartbeat, HeartbeatAck


class Pulse:
    """Where maps stand, as far as the usual sign of life is concerned; nothing is known before `follow`."""

    def __init__(self) -> None:
        self._running: tuple[bytes, bytes, int, int, int] | None = None

    def follow(
        self, arena: Any, tables: Any, late: dict[int, Position], running: tuple[bytes, bytes, int, int, int] | None
    ) -> None:
        """Compare with this from now on."""
        self._arena, self._late = arena, late
        self._changed, self._reached, self._digests = (table.tolist() for table in tables)
        self._running = None if arena is None else running

    def answer(self, message: bytes, node: int, slot: int, utc: int) -> bytes | None:
        """The frame that answers a sign of life of a node; None where it is no usual one."""
        held = self._held(message)
        if held is None or self._running is None or utc < 1 << 32:
            return None
        position, digest = held.position, held.digest
        log, boot, base, first, near = self._running
        if position is None or (position.log, position.boot) != (log, boot) or len(digest) != 16:
            return None
        if min(position.seq, position.vseq) < 0 or max(position.seq, position.vseq) > 1 << 62:
            return None
        if slot >= min(len(self._changed), len(self._reached)) or self._arena.id(slot) != node:
            return None
        reached = position.seq + position.vseq
        if reached < base:
            return None
        if self._changed[slot] < first or self._reached[slot] <= reached:
            kept = (self._changed[slot], node, 0, int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big"))
            if reached < near or slot >= len(self._digests) or tuple(self._digests[slot]) != kept:
                return None
            self._late.pop(node, None)
        elif self._late.get(node) == position:
            return None
        else:
            self._late[node] = position
        return frame(codec.encode(HeartbeatAck(utc=utc)))

    @staticmethod
    def _held(message: bytes) -> Heartbeat | None:
        """A heartbeat that says what it holds, and nothing else, in the way that everyone writes it."""
        try:
            heard = codec.decode_from_node(message)
        except WireError:
            return None
        if not isinstance(heard, Heartbeat) or heard != Heartbeat(position=heard.position, digest=heard.digest):
            return None
        return heard if codec.encode(heard) == message else None

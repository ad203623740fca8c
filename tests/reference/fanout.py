"""The slow twin of core_ext.fanout: a dictionary of outlets, one call of `socket.send` for each."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import Any


class Outlet:
    def __init__(self, transport: Any, descriptor: int) -> None:
        self.transport, self.descriptor = transport, descriptor
        self.held = False
        self.waits = False

    def write(self, data: bytes) -> None:
        if self.is_clear():
            self.hand_over(data)
        else:
            self.transport.write(data)

    def close(self) -> None:
        self.descriptor = -1

    def is_clear(self) -> bool:
        if self.waits:
            self.waits = self.transport.get_write_buffer_size() > 0
        return self.descriptor >= 0 and not self.waits

    def hand_over(self, data: bytes) -> None:
        with socket.socket(fileno=os.dup(self.descriptor)) as connection:
            try:
                taken = connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except OSError:
                taken = 0
        if taken < len(data):
            self.waits = True
            self.transport.write(data[taken:])


class Audience:
    def __init__(self) -> None:
        self.places: dict[int, tuple[Outlet, int, bool]] = {}

    @property
    def packs(self) -> bool:
        return any(packs for _, _, packs in self.places.values())

    def put(self, slot: int, outlet: Outlet, since: int, packs: bool) -> None:
        self.places[slot] = (outlet, since, packs)

    def drop(self, slot: int) -> None:
        self.places.pop(slot, None)

    def tell(
        self,
        slots: Sequence[int],
        at: int,
        number: int,
        plain: bytes,
        packed: bytes,
        most_s: float,
        most_left: int,
    ) -> tuple[int, int, list[int]]:
        told, left = 0, []
        until = time.monotonic() + most_s
        while at < len(slots) and len(left) < most_left and (told == 0 or time.monotonic() < until):
            slot, at = slots[at], at + 1
            outlet, since, packs = self.places.get(slot, (None, 0, False))
            if outlet is None or since > number:
                continue
            if outlet.held or not outlet.is_clear():
                left.append(slot)
            else:
                outlet.hand_over(packed if packs else plain)
                told += 1
        return at, told, left

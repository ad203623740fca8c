"""An event loop whose time moves when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


class Handle:
    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None

    def __call__(self) -> None:
        if self.act is not None:
            self.act()


class Turns:
    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Handle]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, act: Callable[..., None], *about: Any) -> Handle:
        return self.call_later(0.0, act, *about)

    def call_later(self, seconds: float, act: Callable[..., None], *about: Any) -> Handle:
        handle = Handle(partial(act, *about))
        self.due.append((self.now + seconds, handle))
        return handle

    def pass_s(self, seconds: float) -> None:
        self.now += seconds
        ready = [handle for at, handle in self.due if at <= self.now]
        self.due = [later for later in self.due if later[0] > self.now]
        for handle in ready:
            handle()

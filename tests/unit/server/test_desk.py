"""The desk: one thing at a time of those that take long."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from ghostwire.server.rest.desk import Desk


async def test_whoever_is_cancelled_keeps_the_turn_until_the_thread_is_done() -> None:
    store: Any = SimpleNamespace(metrics=None, flows=None, durable=None)
    desk = Desk(None, None, lambda: b"", store)  # type: ignore[arg-type]
    begun, go_on, at_once, most = threading.Event(), threading.Event(), 0, 0

    def work() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        begun.set()
        go_on.wait(10)
        at_once -= 1

    first = asyncio.create_task(desk.aside(work))
    await asyncio.to_thread(begun.wait, 10)
    begun.clear()
    first.cancel()
    second = asyncio.create_task(desk.aside(work))
    assert not await asyncio.to_thread(begun.wait, 0.1)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert most == 1

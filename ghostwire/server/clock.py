"""The one place where the server reads its clocks."""

from __future__ import annotations

import time
from collections.abc import Callable

from ghostwire.model.time import Now

Clock = Callable[[], Now]


def thread_cpu() -> float:
    """Seconds that this thread has had of a processor."""
    return time.thread_time()


def system_clock() -> Now:
    """Both clocks of this machine, now."""
    return Now(time.monotonic(), time.time_ns())

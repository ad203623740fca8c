"""The two clocks of the agent."""

from __future__ import annotations

import time
from typing import Final

from ghostwire.model.time import Now

# The boot-time clock goes on while a laptop sleeps: what ends meanwhile has ended when it wakes.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> Now:
    """Now, on both."""
    return Now(time.clock_gettime(_CLOCK), time.time_ns())

"""How soon threads of a server hand the interpreter, and the kernel a core, to one that waits."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from typing import Final

SWITCH_S: Final = 0.00005
"""How long a thread may keep the interpreter while another waits. A read on the loop that is not short lets go of it
several times, and each time would wait for the writer's thread for the usual 5 ms."""
SLACK_NS: Final = 1
"""How much later than it asked for the kernel may wake a thread; the usual 50 us are as long as the interval above."""
SLICE_NS: Final = 100_000
"""How long the kernel lets it run at a time where others want its core: the least there is. Who asks for short slices
gets the sooner to run when there is something to do; the usual 3 ms are many answers."""
_PR_SET_TIMERSLACK: Final = 29
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
_KEEP_POLICY: Final = 0x08
_SCHED_ATTR: Final = struct.Struct("=IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime (the slice), deadline, period."""


def hurry() -> None:
    """Set them, for this thread and those that it starts; the last two where the kernel has and allows them.

    prctl(2), and sched_setattr(2) from Linux 6.12 on. A sandbox that refuses costs some latency, and nothing else.
    """
    sys.setswitchinterval(SWITCH_S)
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0)
    if number := _SCHED_SETATTR.get(platform.machine()):
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        wish = _SCHED_ATTR.pack(_SCHED_ATTR.size, 0, _KEEP_POLICY, nice, 0, SLICE_NS, 0, 0)
        libc.syscall(number, 0, wish, 0)

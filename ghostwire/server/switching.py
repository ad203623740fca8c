"""How soon threads of a server hand the interpreter, and the kernel a core, to one that waits."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

SWITCH_S: Final = 0.00005
"""How long a thread may keep the interpreter while another waits. A read on the loop that is not short lets go of it
several times, and each time would wait for the writer's thread for the usual 5 ms."""
SLACK_NS: Final = 1
"""How much later than it asked for the kernel may wake a thread; the usual 50 us are as long as the interval above."""
_PR_SET_TIMERSLACK: Final = 29


def hurry() -> None:
    """Set both, for this thread and those that it starts; the slack where the kernel has and allows it (prctl(2)).

    A sandbox that refuses it costs some latency, and nothing else.
    """
    sys.setswitchinterval(SWITCH_S)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0)

"""Keeping what a process holds in memory (keys, tokens) out of files and out of other programs' reach."""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Final

PR_SET_DUMPABLE: Final = 4


def forbid_core_dumps() -> None:
    """Have this process and its children leave no core dump, and let nobody but root look into its memory.

    The limit alone does not bind where the system hands dumps to a program (core(5)), so the process also says that it
    may not be dumped (prctl(2)), which keeps debuggers of the same user out as well.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl(PR_SET_DUMPABLE): {os.strerror(ctypes.get_errno())}")

"""`python -m ghostwire.cli.attached PARENT VERB...`: a verb that never outlives the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def attach(parent: int) -> None:
    """Have the kernel send SIGTERM when the thread that started this process ends (prctl(2)).

    Ends at once when the parent is gone already.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


def main() -> None:
    """Attach to the parent named first, then run the rest as a command line."""
    attach(int(sys.argv.pop(1)))
    from ghostwire.cli import main as run

    run()


if __name__ == "__main__":
    main()

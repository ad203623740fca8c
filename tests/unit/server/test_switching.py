"""Threads of a server are quick to hand on the interpreter, and to be given a core."""

import os
import sys
import threading

from ghostwire.server import switching


def test_a_server_that_was_started_with_less_priority_keeps_it() -> None:
    """The kernel is told of both with one call; Linux keeps them for each thread."""
    nice = []

    def hurry() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, 5)
        switching.hurry()
        nice.append(os.getpriority(os.PRIO_PROCESS, 0))

    before = sys.getswitchinterval()
    try:
        thread = threading.Thread(target=hurry)
        thread.start()
        thread.join()
        assert sys.getswitchinterval() <= switching.SWITCH_S
    finally:
        sys.setswitchinterval(before)
    assert nice == [5]

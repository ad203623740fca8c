"""`serve` with workers: what each of the processes runs that the supervisor forks."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from ghostwire.server.observer import Observer
from ghostwire.server.options import ServeOptions
from ghostwire.server.process import Ready, run_leader, run_worker
from ghostwire.server.workers.supervisor import Supervisor
from ghostwire.server.workers.takeover import Estate

Observing = Callable[[str], AbstractContextManager[Observer]]
"""Opens the observer of one process, named by its part."""


def supervise(
    options: ServeOptions, observing: Observing, ready: Ready | None = None, estate: Estate | None = None
) -> int:
    """Serve with workers until SIGTERM or SIGINT (0), or until the leader can't start (1).

    `ready` is called in the first leader when it has started. `estate` is what a running server hands over.
    Raises `GhostwireError` where the server can't start.
    """

    def leader(options: ServeOptions, channel: socket.socket, first: bool) -> int:
        with observing("leader") as observer:
            return run_leader(options, channel, observer, ready if first else None)

    def worker(options: ServeOptions, listening: Sequence[socket.socket], channel: socket.socket) -> int:
        with observing("worker") as observer:
            return run_worker(options, listening, channel, observer)

    with observing("supervisor") as observer:
        return Supervisor(options, leader, worker, observer, estate).run()

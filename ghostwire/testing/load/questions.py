"""The prober and the bare server, as the simulation holds them: two processes, one question at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import msgspec

from ghostwire.errors import InternalError
from ghostwire.testing.load.door import Door
from ghostwire.testing.load.latencies import Latencies
from ghostwire.testing.load.prober import Again, Ask, Asked, Meet

_decoder = msgspec.json.Decoder(Asked)


class Questions:
    """Queries from a few nodes, measured from their schedule. `faults` says what went wrong with them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.faults: list[str] = []

    def __enter__(self) -> Self:
        self._prober = self._start("ghostwire.testing.load.prober")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def meet(self, door: Door, numbers: range, key: Callable[[int], str], neighbour: Callable[[int], int]) -> None:
        """Join with these nodes; each will ask for its neighbour."""
        keys = tuple(map(key, numbers))
        peers = tuple(f"sim-{neighbour(number)}" for number in numbers)
        self._done(Meet(door=door, numbers=tuple(numbers), keys=keys, peers=peers))

    def again(self, within_s: float) -> None:
        """Come back to a server that was restarted."""
        if away := self._done(Again(within_s=within_s)).unanswered:
            self.faults.append(f"{away} of the nodes that ask did not come back to the restarted server")

    def missing(self) -> int:
        """How many of the nodes that ask have lost their session."""
        return self._done(Again(within_s=0.0)).unanswered

    def ask(self, rate: float, seconds: float) -> Latencies:
        """Ask the server."""
        return self._measured(self._done(Ask(rate=rate, seconds=seconds)))

    def ask_bare(self, rate: float, seconds: float) -> Latencies:
        """Ask a bare uvloop server, from as many connections."""
        bare = self._start("ghostwire.testing.load.bare")
        assert bare.stdout is not None  # noqa: S101 - it was started with a pipe
        return self._measured(self._done(Ask(rate=rate, seconds=seconds, raw=int(bare.stdout.readline()))))

    def begin(self, rate: float, seconds: float) -> None:
        """Ask the server meanwhile; `end` says how it was."""
        self._tell(Ask(rate=rate, seconds=seconds))

    def end(self) -> Latencies:
        """What became of `begin`."""
        return self._measured(self._hear())

    def _measured(self, asked: Asked) -> Latencies:
        found = Latencies()
        found.merge(asked.latencies)
        if asked.unanswered:
            self.faults.append(f"{asked.unanswered} of {len(found) + asked.unanswered} queries were never answered")
        return found

    def _done(self, order: Any) -> Asked:
        self._tell(order)
        return self._hear()

    def _tell(self, order: Any) -> None:
        assert self._prober.stdin is not None  # noqa: S101 - it was started with a pipe
        self._prober.stdin.write(msgspec.json.encode(order) + b"\n")
        self._prober.stdin.flush()

    def _hear(self) -> Asked:
        assert self._prober.stdout is not None  # noqa: S101 - it was started with a pipe
        line = self._prober.stdout.readline()
        if not line:
            raise InternalError(f"the prober ended with {self._prober.wait()}")
        return _decoder.decode(line)

    def _start(self, module: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process

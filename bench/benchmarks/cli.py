"""The command line's cold start, beside that of Python alone in the same run."""

import subprocess
import sys
import tempfile
from time import perf_counter

ROUNDS = 15


class Status:
    """`status`, one process a call, against an empty folder: what remains is the start, the refusal and the end.

    `track_ratio` is the median over that of `python -c pass`, `track_over_ms` the difference of both.
    """

    verb: tuple[str, ...] = ("status",)

    def setup(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.command = [sys.executable, "-m", "ghostwire.cli", *self.verb, "--data", self.folder.name]
        self.bare = [sys.executable, "-c", "pass"]

    def teardown(self) -> None:
        self.folder.cleanup()

    def time_start(self) -> None:
        subprocess.run(self.command, capture_output=True)

    def track_ratio(self) -> float:
        ours, bare = self._medians()
        return ours / bare

    def track_over_ms(self) -> float:
        ours, bare = self._medians()
        return (ours - bare) * 1000

    track_over_ms.unit = "ms"  # type: ignore[attr-defined]

    def _medians(self) -> tuple[float, float]:
        """Both in turn, so that a busy moment hits both."""
        ours, bare = [], []
        for _ in range(ROUNDS):
            ours.append(_seconds(self.command))
            bare.append(_seconds(self.bare))
        return sorted(ours)[ROUNDS // 2], sorted(bare)[ROUNDS // 2]


class NodeList(Status):
    """`node list`: asks a coordinator that is not there."""

    verb = ("node", "list")


def _seconds(command: list[str]) -> float:
    start = perf_counter()
    subprocess.run(command, capture_output=True)
    return perf_counter() - start

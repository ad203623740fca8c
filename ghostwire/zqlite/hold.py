"""Lets a caller take back a write that has not begun, or stop the statement that it is at."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final

from ghostwire.errors import GhostwireError, UnavailableError

if TYPE_CHECKING:
    import apsw

_STEPS: Final = 10_000
"""Of SQLite's machine between two looks: well under a millisecond."""


class Hold:
    """One write's. The caller withdraws on its thread, the writer begins and looks on its own."""

    __slots__ = ("_begun", "_lock", "_withdrawn")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = False
        self._withdrawn = False

    def withdraw(self) -> bool:
        """Take the write back. Whether it had not begun; one that had is stopped where it is, or has just been done."""
        with self._lock:
            self._withdrawn = True
            return not self._begun

    def begin(self, connection: apsw.Connection) -> None:
        """The write begins: stop its statement when it is withdrawn. Raises UnavailableError where it is already."""
        with self._lock:
            if self._withdrawn:
                raise _late()
            self._begun = True
        connection.set_progress_handler(self._look, _STEPS)

    def end(self, connection: apsw.Connection) -> None:
        """The write is done; what it has changed will be committed."""
        connection.set_progress_handler(None)

    def _look(self) -> bool:
        return self._withdrawn


async def outcome(answer: asyncio.Future[Any], hold: Hold | None, within: float | None) -> Any:
    """What became of a write. After `within` seconds, and when the caller is cancelled, it is taken back if it can be.

    Raises UnavailableError where it was; one that could not be taken back any more is told as it went.
    """
    try:
        if within is None:
            return await answer
        async with asyncio.timeout(within):
            return await asyncio.shield(answer)
    except TimeoutError:
        if hold is not None and hold.withdraw():
            answer.cancel()
            raise _late() from None
        return await answer
    except asyncio.CancelledError:
        if hold is not None:
            hold.withdraw()
        raise


def _late() -> GhostwireError:
    return UnavailableError("the write was taken back at its deadline, before it began")

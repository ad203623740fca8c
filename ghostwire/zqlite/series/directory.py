"""Where the blocks of the keys that are read most stand, so that a window in the cache costs no query."""

from __future__ import annotations

import threading
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_KEYS: Final = 4096


class Span(NamedTuple):
    """A block: the times of its first and last sample, and its number."""

    first: int
    last: int
    number: int


class Entry:
    """All blocks of one key, by the time of their first sample.

    `open_from` is the time of the first sample that is in none of them.
    """

    __slots__ = ("_ends", "_firsts", "open_from", "spans")

    def __init__(self, spans: Sequence[Span], open_from: int) -> None:
        self.spans = spans
        self.open_from = open_from
        self._firsts = [span.first for span in spans]
        self._ends = list(accumulate((span.last for span in spans), max))

    def within(self, since: int, until: int) -> Sequence[Span]:
        """The blocks that may have samples from `since` until before `until`."""
        return self.spans[bisect_left(self._ends, since) : bisect_left(self._firsts, until)]


class Directory:
    """Entries by series and key, forgotten by whatever changes them.

    A reader may have looked before a change that it learns of only later: it names the `generation` from before its
    look, and what it found is kept only where nothing has changed since. Nor is it while a change is under way: others
    may have seen that already, and would be shown what was before.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._changing = False
        self._entries: dict[tuple[int, int], Entry] = {}
        self._lock = threading.Lock()

    def find(self, series: int, key: int) -> Entry | None:
        """What is known of a key."""
        return self._entries.get((series, key))

    def keep(self, series: int, key: int, entry: Entry, generation: int) -> None:
        """Remember what a reader has found, if that still holds; of too many, the one known longest is forgotten."""
        with self._lock:
            if self._changing or generation != self.generation:
                return
            if len(self._entries) >= MOST_KEYS:
                del self._entries[next(iter(self._entries))]
            self._entries[series, key] = entry

    def changing(self, series: int, keys: Iterable[int]) -> None:
        """Forget these keys, and learn nothing until `changed`. Called before the change can be seen, by the writer."""
        with self._lock:
            self._changing = True
            for key in keys:
                self._entries.pop((series, key), None)

    def changed(self) -> None:
        """Learn again. Called once the change can be seen, or never will be, before its author hears of it."""
        with self._lock:
            self.generation += 1
            self._changing = False

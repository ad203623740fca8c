"""Which maps changed when: what lets a node that comes back be told "unchanged" or just what it missed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from ghostwire._native import marks
from ghostwire.coordinator.snapshot import FlushMark, MapChange, RunEnd
from ghostwire.model.position import Position

QUIET: Final = frozenset(
    (
        "address.wake",
        "api_token.create",
        "api_token.revoke",
        "clock.note",
        "credential.purge",
        "node.order_rotation",
        "preauth_key.revoke",
        "session.sweep",
        "session.token",
    )
)
"""Kinds of durable changes that are in no map."""
RUNS: Final = 64
"""Earlier runs that positions are resumed from, at most."""
MOST_UNMARKED: Final = 128
"""Changes after which it is noted whose last ones they are, if nobody has asked before."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One change of maps: after it the coordinator stood at (`boot`, `seq`, `vseq`).

    `touched` are node ids, `owners` those whose nodes they are or were, `affected` slots. With nothing touched, the
    affected maps changed in ways that only a whole map tells.
    """

    number: int
    boot: bytes
    seq: int
    vseq: int
    touched: tuple[int, ...]
    owners: tuple[int, ...]
    affected: BitMap


class Missed(NamedTuple):
    """What a node missed: these nodes changed, these owners may be new or gone."""

    touched: set[int]
    owners: set[int]


class Reach(msgspec.Struct, frozen=True, array_like=True):
    """From where on one run's changes are known (`start`, `floor`) and how far (`limit`); see `ChangeWindow`."""

    boot: bytes
    start: int
    floor: int
    limit: tuple[int, int] | None


class Running(NamedTuple):
    """What positions of the run that is under way (`boot` of `log`) are compared with, as sums of seq and vseq.

    From `base` on it is known of every change whose maps it was of; the first of those has the number `first`. A
    position before `near` is behind by more changes than were asked about.
    """

    log: bytes
    boot: bytes
    base: int
    first: int
    near: int


@dataclass(slots=True)
class _Run:
    """The part of the window that one run of the coordinator made.

    `start` is the number of its first entry kept, or of the next change where it has none; `sums` are seq + vseq of
    each, `floor` the sum of the last one that was dropped. `limit` is how far an earlier run's changes are known.
    `first` and `base` are what `start` and `floor` were at first: of every change from there on it is known whose maps
    it was of, also when it was dropped.
    """

    start: int
    floor: int = 0
    sums: list[int] = field(default_factory=list)
    limit: tuple[int, int] | None = None
    first: int = field(init=False)
    base: int = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.base = self.start, self.floor


class ChangeWindow:
    """The last changes in order. Within one run of the coordinator both counters only grow: their sum orders them."""

    def __init__(self, log: bytes, boot: bytes, size: int) -> None:
        self._log = log
        self._boot = boot
        self.size = size
        self._entries: list[Entry] = []
        self._next = 1
        self._fresh: list[Entry] = []
        # By slot: the last change, and the sum of its position, but for the changes in `_unmarked`.
        self._changed: NDArray[np.int64] = np.zeros(1024, dtype=np.int64)
        self._reached: NDArray[np.int64] = np.zeros(1024, dtype=np.int64)
        self._unmarked: list[Entry] = []
        self._runs: dict[bytes, _Run] = {}

    def restore(
        self, changes: Iterable[MapChange], mark: FlushMark | None, seq: int, since: frozenset[str] = frozenset()
    ) -> None:
        """Take over the window of earlier runs, then begin this one. `since` are the kinds of changes after the mark.

        What was not flushed before a crash is not in it: a position that has seen more than the mark, and every
        position when durable changes of maps came after the mark, needs a whole map.
        """
        told = mark is not None and (mark.seq == seq or since <= QUIET)
        boots: dict[bytes, bytes] = {}
        for change in changes:
            affected, boot = BitMap.deserialize(change.affected), boots.setdefault(change.boot, change.boot)
            self._next = change.number
            self._append(Entry(change.number, boot, change.seq, change.vseq, change.touched, change.owners, affected))
        if self._entries:
            first = self._entries[0]
            # The change before it may have led to the same position: whoever holds an earlier one may have missed that.
            self._runs[first.boot].floor = 0 if first.number == 1 else first.seq + first.vseq
        if mark is not None:
            for end in (*mark.ends, RunEnd(mark.boot, seq, mark.vseq, self._next, 0)):
                run = self._runs.setdefault(end.boot, _Run(end.upcoming))
                run.limit, run.floor = (end.seq, end.vseq), max(run.floor, end.floor)
        self._runs = {boot: run for boot, run in self._runs.items() if run.limit is not None}
        for run in self._runs.values():
            run.base = run.floor
        self._runs[self._boot] = _Run(self._next)
        self._forget_runs()
        if mark is not None and not told:
            self.raise_wall()

    def raise_wall(self) -> None:
        """Forget everything: no position from before now can be resumed from, now or after another restart."""
        self._entries.clear()
        self._runs = {self._boot: _Run(self._next)}

    # For those who follow.

    def reaches(self) -> tuple[Reach, ...]:
        """How far back, and how far, the changes of each run are known."""
        return tuple(Reach(boot, run.start, run.floor, run.limit) for boot, run in self._runs.items())

    def since(self, number: int) -> list[Entry]:
        """The changes from this number on."""
        return self._entries[max(number - self.oldest, 0) :]

    def begin(self, reaches: Iterable[Reach], upcoming: int) -> None:
        """Begin anew as another window stands; its changes follow, the first of them with the number `upcoming`."""
        self._entries.clear()
        self._runs = {reach.boot: _Run(reach.start, reach.floor, [], reach.limit) for reach in reaches}
        self._next = upcoming

    def follow(self, entry: Entry) -> None:
        """Take over a change of another window."""
        self._append(entry)
        if len(self._entries) >= 2 * self.size:
            self._drop_oldest()

    @property
    def oldest(self) -> int:
        """The number of the oldest change kept."""
        return self._entries[0].number if self._entries else self._next

    def ends(self) -> tuple[RunEnd, ...]:
        """Where the runs before this one ended, as far as positions of theirs can still be resumed from."""
        return tuple(
            RunEnd(boot, *run.limit, run.start + len(run.sums), run.floor)
            for boot, run in list(self._runs.items())[-RUNS:]
            if run.limit is not None
        )

    def add(self, position: Position, touched: tuple[int, ...], owners: tuple[int, ...], affected: BitMap) -> None:
        """Remember a change that brought the coordinator to `position`."""
        entry = Entry(self._next, position.boot, position.seq, position.vseq, touched, owners, affected)
        self._append(entry)
        self._fresh.append(entry)
        if len(self._entries) >= 2 * self.size:
            self._drop_oldest()

    def take_fresh(self) -> tuple[MapChange, ...]:
        """The changes since the last call, as far as they are still kept, to be flushed."""
        fresh, self._fresh = self._fresh, []
        return tuple(
            MapChange(
                number=entry.number,
                boot=entry.boot,
                seq=entry.seq,
                vseq=entry.vseq,
                touched=entry.touched,
                owners=entry.owners,
                affected=entry.affected.serialize(),
            )
            for entry in fresh
            if entry.number >= self.oldest
        )

    def after(self, position: Position) -> int | None:
        """The number of the first change after `position`; None where changes may have been forgotten since."""
        run = self._run_of(position)
        reached = position.seq + position.vseq
        if run is None or reached < run.floor:
            return None
        return run.start + bisect_right(run.sums, reached)

    def is_untouched(self, slot: int, position: Position) -> bool:
        """Whether this node's map is what it was at `position`, also where some changes since are forgotten.

        False where that cannot be told.
        """
        run = self._run_of(position)
        reached = position.seq + position.vseq
        if run is None or reached < run.base:
            return False
        last = self.last_change(slot)
        return last < run.first or (last < run.start + len(run.sums) and int(self._reached[slot]) <= reached)

    def last_change(self, slot: int) -> int:
        """The number of the last change to this node's map, as far as is known."""
        self._mark_all()
        return int(self._changed[slot]) if slot < len(self._changed) else 0

    @property
    def by_slot(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The number of the last change to each map, and the sum of its position. They grow, and are others then.

        They are as of this call: later changes may be in them or not.
        """
        self._mark_all()
        return self._changed, self._reached

    def running(self, changes: int) -> Running | None:
        """What positions of the run under way are compared with; None where the last changes are not of it."""
        run = self._runs.get(self._boot)
        if run is None or run.limit is not None or run.start + len(run.sums) != self._next:
            return None
        near = max(run.floor, run.sums[-1 - changes]) if len(run.sums) > changes else run.floor
        return Running(self._log, self._boot, run.base, run.first, near)

    @property
    def upcoming(self) -> int:
        """The number that the next change will have."""
        return self._next

    def missed(self, slot: int, first: int) -> Missed | None:
        """What this node missed from change number `first` on; None when only a whole map tells."""
        touched: set[int] = set()
        owners: set[int] = set()
        for entry in self._entries[max(first - self.oldest, 0) :]:
            if slot in entry.affected:
                if not entry.touched:
                    return None
                touched.update(entry.touched)
                owners.update(entry.owners)
        return Missed(touched, owners)

    def _run_of(self, position: Position) -> _Run | None:
        """The run that a position is of, as far as it is known; None for another log's."""
        run = self._runs.get(position.boot)
        if run is None or position.log != self._log:
            return None
        if run.limit is not None and (position.seq > run.limit[0] or position.vseq > run.limit[1]):
            return None
        return run

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._next = entry.number + 1
        reached = entry.seq + entry.vseq
        run = self._runs.get(entry.boot)
        if run is None:
            run = self._runs[entry.boot] = _Run(entry.number)
        run.sums.append(reached)
        if entry.affected:
            # Slots of one view mostly lie side by side: kept as ranges they take a tenth of the room.
            entry.affected.run_optimize()
            self._unmarked.append(entry)
            if len(self._unmarked) >= MOST_UNMARKED:
                self._mark_all()

    def _mark_all(self) -> None:
        """Note whose last changes the newest ones are: backwards, as most of them concern the same nodes again."""
        if self._unmarked:
            later = BitMap()
            for entry in reversed(self._unmarked):
                affected = entry.affected - later
                if affected:
                    self._mark(affected, entry.number, entry.seq + entry.vseq)
                    later |= affected
            self._unmarked.clear()

    def _mark(self, affected: BitMap, number: int, reached: int) -> None:
        """Note the last change of these slots."""
        slots = affected.to_array()
        past = slots[-1] + 1
        if past > len(self._changed):
            room = max(past, 2 * len(self._changed))
            self._changed, self._reached = _grown(self._changed, room), _grown(self._reached, room)
        marks.mark(self._changed, self._reached, slots, number, reached)

    def _drop_oldest(self) -> None:
        dropped = self._entries[: self.size]
        del self._entries[: self.size]
        for entry in dropped:
            run = self._runs[entry.boot]
            run.floor = entry.seq + entry.vseq
            run.start = entry.number + 1
        for boot in {entry.boot for entry in dropped}:
            run = self._runs[boot]
            kept = sum(1 for entry in self._entries if entry.boot == boot)
            del run.sums[: len(run.sums) - kept]
        self._forget_runs()

    def _forget_runs(self) -> None:
        """Changes that came after a run are forgotten: nothing can be resumed from it any more."""
        self._runs = {
            boot: run for boot, run in self._runs.items() if boot == self._boot or run.sums or run.start >= self.oldest
        }


def _grown(values: NDArray[np.int64], room: int) -> NDArray[np.int64]:
    grown = np.zeros(room, dtype=np.int64)
    grown[: len(values)] = values
    return grown

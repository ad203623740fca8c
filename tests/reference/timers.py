"""The slow twin of core_ext.timers: a heap whose moved and cancelled entries are skipped."""

import heapq
from itertools import count

from ghostwire.errors import ValidationError


class TimerWheel:
    def __init__(self, now: int = 0) -> None:
        if now < 0:
            raise ValidationError("now")
        self.now = now
        self._heap: list[tuple[int, int, int]] = []
        self._live: dict[int, tuple[int, int]] = {}
        self._order = count()

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, key: object) -> bool:
        return key in self._live

    def schedule(self, key: int, deadline: int) -> None:
        if deadline < 0:
            raise ValidationError("deadline")
        entry = (deadline, next(self._order))
        self._live[key] = entry
        heapq.heappush(self._heap, (*entry, key))

    def cancel(self, key: int) -> bool:
        return self._live.pop(key, None) is not None

    def deadline(self, key: int) -> int:
        return self._live.get(key, (-1, 0))[0]

    def advance(self, now: int) -> list[int]:
        self.now = max(now, self.now)
        expired = []
        while self.next_deadline() != -1 and self._heap[0][0] <= self.now:
            expired.append(heapq.heappop(self._heap)[2])
            del self._live[expired[-1]]
        return expired

    def next_wake(self) -> int:
        deadline = self.next_deadline()
        return self.now if 0 <= deadline <= self.now else deadline

    def next_deadline(self) -> int:
        while self._heap and self._live.get(self._heap[0][2]) != self._heap[0][:2]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else -1

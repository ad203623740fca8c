"""When something is due: a hierarchical timer wheel (Varghese and Lauck, SOSP 1987).

Time is counted in ticks of the caller's own length. A deadline hangs in the level of the highest 6-bit digit in which
it differs from the current tick, in the slot of that digit; eleven levels of 64 slots hold every 63-bit deadline.
When time reaches a slot above level 0, its timers move down, so each moves at most once a level. Setting, moving and
cancelling a timer cost the same however many there are. It reads no clock.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free as release_memory, realloc

from operator import itemgetter

from ghostwire.errors import ValidationError

cdef extern from *:
    int lowest_bit "__builtin_ctzll"(unsigned long long) noexcept nogil
    int leading_zeros "__builtin_clzll"(unsigned long long) noexcept nogil

cdef enum:
    LEVELS = 11
    OVERDUE = 704
    NOWHERE = -1

cdef object by_deadline = itemgetter(0)


@cython.final
cdef class TimerWheel:
    """Timers by integer key, one a key. `now` is the tick up to which everything due has been handed out."""

    def __cinit__(self, int64_t now=0):
        cdef int slot
        if now < 0:
            raise ValidationError(f"ticks count from 0, not {now}")
        self.now = now
        self.places = {}
        self.spare = NOWHERE
        for slot in range(OVERDUE + 1):
            self.first[slot] = NOWHERE
            self.last[slot] = NOWHERE

    def __dealloc__(self):
        release_memory(self.timers)

    def __len__(self):
        return len(self.places)

    def __contains__(self, key):
        return key in self.places

    def schedule(self, int64_t key, int64_t deadline):
        """Set or move the timer of `key` to a tick; one that is not after `now` is due at the next `advance`.

        Raises ValidationError for a negative tick.
        """
        cdef int32_t at
        if deadline < 0:
            raise ValidationError(f"a deadline is a tick from 0 on, not {deadline}")
        place = self.places.get(key)
        if place is None:
            if self.spare == NOWHERE:
                self._grow()
            at = self.spare
            self.spare = self.timers[at].after
            self.timers[at].key = key
            self.places[key] = at
        else:
            at = place
            self._unlink(at)
        self.timers[at].deadline = deadline
        self._append(at)

    def cancel(self, int64_t key):
        """Forget the timer of `key`; whether there was one."""
        cdef int32_t at
        place = self.places.get(key)
        if place is None:
            return False
        at = place
        self._unlink(at)
        self._retire(at)
        return True

    def deadline(self, int64_t key):
        """The tick at which `key` is due; -1 without a timer."""
        cdef int32_t at
        place = self.places.get(key)
        if place is None:
            return -1
        at = place
        return self.timers[at].deadline

    def advance(self, int64_t now):
        """Move to tick `now` and forget the timers due at or before it: their keys by deadline, then by age of setting.

        A tick before the current one counts as the current one.
        """
        cdef int32_t slot, at, after
        cdef int64_t start
        cdef list expired = self._overdue()
        while True:
            slot = self._earliest()
            if slot == NOWHERE:
                break
            start = self._start_of(slot)
            if start > now:
                break
            self.now = start
            at = self._detach(slot)
            while at != NOWHERE:
                after = self.timers[at].after
                if self.timers[at].deadline == start:
                    expired.append(self._retire(at))
                else:
                    self._append(at)
                at = after
        if now > self.now:
            self.now = now
        return expired

    def next_wake(self):
        """When to call `advance` next: a tick no later than the earliest deadline, and `now` where one is overdue.

        -1 without timers. It may come before anything is due; calling again after `advance` gets nearer. Costs the
        same however many timers there are.
        """
        cdef int32_t slot
        if self.first[OVERDUE] != NOWHERE:
            return self.now
        slot = self._earliest()
        return -1 if slot == NOWHERE else self._start_of(slot)

    def next_deadline(self):
        """The earliest deadline, -1 without timers. Looks at every timer in its slot; `next_wake` does not."""
        cdef int32_t slot = OVERDUE if self.first[OVERDUE] != NOWHERE else self._earliest()
        cdef int32_t at
        cdef int64_t lowest
        if slot == NOWHERE:
            return -1
        at = self.first[slot]
        lowest = self.timers[at].deadline
        while at != NOWHERE:
            lowest = min(lowest, self.timers[at].deadline)
            at = self.timers[at].after
        return lowest

    cdef list _overdue(self):
        cdef list late = []
        cdef int32_t at = self._detach(OVERDUE), after
        while at != NOWHERE:
            after = self.timers[at].after
            late.append((self.timers[at].deadline, self._retire(at)))
            at = after
        late.sort(key=by_deadline)
        return [key for _, key in late]

    cdef int _grow(self) except -1:
        cdef int32_t at, capacity = max(64, 2 * self.capacity)
        cdef Timer *timers = <Timer *> realloc(self.timers, capacity * sizeof(Timer))
        if timers == NULL:
            raise MemoryError()
        self.timers = timers
        for at in range(self.capacity, capacity):
            timers[at].after = at + 1 if at + 1 < capacity else self.spare
        self.spare = self.capacity
        self.capacity = capacity
        return 0

    cdef int32_t _slot_of(self, int64_t deadline) noexcept nogil:
        cdef int level
        if deadline <= self.now:
            return OVERDUE
        level = (63 - leading_zeros(<uint64_t> (deadline ^ self.now))) // 6
        return (level << 6) | ((deadline >> (6 * level)) & 63)

    cdef void _append(self, int32_t at) noexcept nogil:
        cdef int32_t slot = self._slot_of(self.timers[at].deadline), last = self.last[slot]
        self.timers[at].slot = slot
        self.timers[at].before = last
        self.timers[at].after = NOWHERE
        self.last[slot] = at
        if last != NOWHERE:
            self.timers[last].after = at
            return
        self.first[slot] = at
        if slot != OVERDUE:
            self.occupied[slot >> 6] |= (<uint64_t> 1) << (slot & 63)

    cdef void _unlink(self, int32_t at) noexcept nogil:
        cdef int32_t slot = self.timers[at].slot, before = self.timers[at].before, after = self.timers[at].after
        if before == NOWHERE:
            self.first[slot] = after
        else:
            self.timers[before].after = after
        if after == NOWHERE:
            self.last[slot] = before
        else:
            self.timers[after].before = before
        if self.first[slot] == NOWHERE and slot != OVERDUE:
            self.occupied[slot >> 6] &= ~((<uint64_t> 1) << (slot & 63))

    cdef int32_t _earliest(self) noexcept nogil:
        """The first slot in time that holds a timer: a level follows its current digit, lower levels come first."""
        cdef int level
        for level in range(LEVELS):
            if self.occupied[level]:
                return (level << 6) | lowest_bit(self.occupied[level])
        return NOWHERE

    cdef int64_t _start_of(self, int32_t slot) noexcept nogil:
        """The first tick that a slot covers; the digits above its level are those of `now`."""
        cdef int level = slot >> 6
        cdef int64_t above = self.now >> (6 * level + 6) << (6 * level + 6) if level < LEVELS - 1 else 0
        return above | (<int64_t> (slot & 63)) << (6 * level)

    cdef int32_t _detach(self, int32_t slot) noexcept nogil:
        """Empty a slot; the head of the list that hung there."""
        cdef int32_t head = self.first[slot]
        self.first[slot] = NOWHERE
        self.last[slot] = NOWHERE
        if slot != OVERDUE:
            self.occupied[slot >> 6] &= ~((<uint64_t> 1) << (slot & 63))
        return head

    cdef int64_t _retire(self, int32_t at) except? -1:
        """Forget a timer that hangs nowhere any more; its key."""
        cdef int64_t key = self.timers[at].key
        del self.places[key]
        self.timers[at].after = self.spare
        self.spare = at
        return key

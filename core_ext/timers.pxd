"""Layout of the timer wheel; see timers.pyx."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint64_t

cdef struct Timer:
    int64_t key
    int64_t deadline
    int32_t before       # neighbours in the slot's list, -1 at its ends
    int32_t after
    int32_t slot         # where it hangs


@cython.final
cdef class TimerWheel:
    cdef readonly int64_t now
    cdef dict places             # key -> position in timers
    cdef Timer *timers
    cdef int32_t capacity
    cdef int32_t spare           # first of the unused positions, chained by `after`
    cdef int32_t first[705]      # heads and tails of the lists: 11 levels of 64 slots, then what is overdue
    cdef int32_t last[705]
    cdef uint64_t occupied[11]

    cdef list _overdue(self)
    cdef int _grow(self) except -1
    cdef int32_t _slot_of(self, int64_t deadline) noexcept nogil
    cdef void _append(self, int32_t at) noexcept nogil
    cdef void _unlink(self, int32_t at) noexcept nogil
    cdef int32_t _earliest(self) noexcept nogil
    cdef int64_t _start_of(self, int32_t slot) noexcept nogil
    cdef int32_t _detach(self, int32_t slot) noexcept nogil
    cdef int64_t _retire(self, int32_t at) except? -1

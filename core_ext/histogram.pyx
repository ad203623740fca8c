"""Durations counted in buckets whose width grows with them, as HDR histograms do: three digits, in constant memory.

Bucket `n` below 2048 is `n` microseconds; above, each power of two is cut into 1024. The layout is that of
HdrHistogram with three significant digits, so counts move between the two without loss.
"""

cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free as release_memory
from libc.string cimport memset

cdef extern from *:
    int leading_zeros "__builtin_clzll"(unsigned long long) noexcept nogil

cdef enum:
    HALF = 1024
    BUCKETS = 21504
    LONGEST_US = 600_000_000


@cython.final
cdef class Histogram:
    """Counts of durations from 1 us to 10 min; what lies outside counts as the nearer end."""

    def __cinit__(self):
        self.counts = <uint64_t *> calloc(BUCKETS, sizeof(uint64_t))
        if self.counts is NULL:
            raise MemoryError

    def __dealloc__(self):
        release_memory(self.counts)

    def add(self, double seconds):
        """Count one duration."""
        self.record(seconds)

    def take(self):
        """(microseconds, count) of each bucket that is not empty, shortest first; all are empty afterwards."""
        cdef int bucket, shift
        found = []
        for bucket in range(BUCKETS):
            if self.counts[bucket]:
                shift = max(bucket // HALF - 1, 0)
                found.append(((bucket - shift * HALF) << shift, self.counts[bucket]))
        memset(self.counts, 0, BUCKETS * sizeof(uint64_t))
        return found

    cdef void record(self, double seconds) noexcept nogil:
        cdef uint64_t micros = 1
        cdef int shift = 0
        if seconds >= LONGEST_US / 1e6:
            micros = LONGEST_US
        elif seconds > 1e-6:
            micros = <uint64_t> (seconds * 1e6)
        if micros >= 2 * HALF:
            shift = 53 - leading_zeros(micros)
        self.counts[shift * HALF + <int> (micros >> shift)] += 1

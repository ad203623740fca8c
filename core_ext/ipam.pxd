"""Layout of the address bitmap; see ipam.pyx."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t


@cython.final
cdef class Bitmap:
    cdef readonly int64_t size
    cdef readonly int64_t free
    cdef uint64_t *levels[4]      # a set bit is free (level 0) or has something free below it
    cdef int64_t words[4]
    cdef uint32_t *counts[2]      # free indices below each word of level 1 and of level 2
    cdef uint64_t *reserved       # one bit an index, set where it is never given back

    cdef void _fill(self) noexcept nogil
    cdef int64_t _check(self, int64_t index) except -1
    cdef bint _is_free(self, int64_t index) noexcept nogil
    cdef void _take(self, int64_t index) noexcept nogil
    cdef void _give(self, int64_t index) noexcept nogil
    cdef int64_t _first_free(self, int64_t start) noexcept nogil
    cdef int64_t _nth_free(self, int64_t n) noexcept nogil

"""Layout of prefixes as intervals; see prefixes.pyx."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef struct Entry:
    uint32_t start
    uint32_t value
    uint32_t length


@cython.final
cdef class Prefixes4:
    cdef uint16_t *lows           # lower halves of the addresses at which intervals begin
    cdef uint32_t *values         # beside them, what holds from there on
    cdef uint32_t *first          # for each upper half where its intervals are
    cdef readonly uint32_t intervals

    cdef uint32_t _find(self, uint32_t address) noexcept nogil
    cdef uint32_t _bisect(self, uint32_t low, uint32_t count, uint16_t wanted) noexcept nogil
    cdef uint32_t _cut(self, Entry *entries, uint32_t n) noexcept nogil


@cython.final
cdef class Prefixes6:
    cdef object kept
    cdef const uint8_t *starts    # sixteen bytes each, most significant first
    cdef const uint32_t *values
    cdef readonly uint32_t intervals

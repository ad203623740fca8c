"""Layout of address look-ups; see cidr.pyx."""

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
    cdef uint32_t first[65537]    # for each upper half where its intervals are
    cdef readonly uint32_t intervals

    cdef uint32_t _find(self, uint32_t address) noexcept nogil
    cdef uint32_t _cut(self, Entry *entries, uint32_t n) noexcept nogil


@cython.final
cdef class Prefixes6:
    cdef object kept
    cdef const uint8_t *starts    # sixteen bytes each, most significant first
    cdef const uint32_t *values
    cdef readonly uint32_t intervals


@cython.final
cdef class Rules:
    cdef uint32_t *lows[3]        # source, target, port: one column each, leaves first, then level by level
    cdef uint32_t *highs[3]
    cdef uint32_t *best           # the least rule in or below each entry
    cdef uint16_t *protocols      # of the leaves' entries; all ones for any
    cdef uint32_t starts[12]      # where each level begins; the last is the root's
    cdef int levels
    cdef readonly uint32_t count
    cdef readonly Py_ssize_t nbytes

    cdef uint32_t _match(self, uint32_t source, uint32_t target, uint16_t protocol, uint32_t port) noexcept nogil

cimport cython
from libc.stdint cimport uint64_t


@cython.final
cdef class Histogram:
    cdef uint64_t *counts

    cdef void record(self, double seconds) noexcept nogil

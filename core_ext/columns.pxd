"""Values of one key as they come; see columns.pyx."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef struct Buffer:
    uint8_t *at
    Py_ssize_t size, room


@cython.final
cdef class Column:
    cdef bytes key               # as it stands in parts, with its head
    cdef uint8_t place
    cdef uint32_t count
    cdef bint all_keys, all_numbers
    cdef int64_t last
    cdef Buffer plain
    cdef Buffer differences

    cdef int take(self, const uint8_t *value, Py_ssize_t size) except -1
    cdef tuple gathered(self)

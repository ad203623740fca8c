"""Values of one key as they come, or as they are read; see columns.pyx."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from *:
    ctypedef long long int128 "__int128"


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


@cython.final
cdef class Values:
    cdef bytes key               # as it stands in parts, with its head
    cdef bytes data
    cdef int kind
    cdef const uint8_t *raw
    cdef Py_ssize_t at, end
    cdef uint64_t left
    cdef int128 last

    cdef uint64_t counted(self) except? 0
    cdef int hand(self, Buffer *out) except -1
    cdef bint over(self) noexcept


@cython.final
cdef class Shape:
    cdef bytes head
    cdef list fields
    cdef Py_ssize_t identity

"""A connection's bytes that are not read yet; see frames.pyx."""

cimport cython
from libc.stdint cimport uint64_t


@cython.final
cdef class Reader:
    cdef bytes buffer
    cdef Py_ssize_t at           # where the next frame begins in it
    cdef uint64_t limit
    cdef bytearray message       # what has come of one in fragments
    cdef int first               # the first byte of the frame read last

    cdef bytes next(self)
    cdef int check(self, int first, int second) except -1

cimport cython
from libc.stdint cimport uint64_t

from core_ext.histogram cimport Histogram

cdef extern from *:
    ctypedef unsigned long long sum128 "unsigned __int128"

cdef struct Part:
    uint64_t key
    sum128 value


@cython.final
cdef class HeldMap:
    cdef Part *parts
    cdef Py_ssize_t count, room
    cdef sum128 total
    cdef public uint64_t own
    cdef public object position
    cdef public long told

    cdef Py_ssize_t place_of(self, uint64_t key) noexcept nogil
    cdef int put(self, Part part) except -1
    cdef void drop(self, uint64_t key) noexcept


@cython.final
cdef class Change:
    cdef Part *parts
    cdef Py_ssize_t sets, count
    cdef double *moments
    cdef Py_ssize_t stamped
    cdef object position


@cython.final
cdef class Broadcasts:
    cdef object read
    cdef bytes mark
    cdef unsigned char packed
    cdef Histogram latencies
    cdef public double since, last_at
    cdef public long count


@cython.final
cdef class Frames:
    cdef uint64_t limit
    cdef bytes rest

    cdef list cut(self, bytes data)


@cython.final
cdef class Inbox:
    cdef Broadcasts broadcasts
    cdef HeldMap held
    cdef Frames frames
    cdef public bint live

    cdef bint may_be_change(self, bytes payload) noexcept
    cdef int take(self, bytes payload, double at) except -1

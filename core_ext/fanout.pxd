cimport cython


@cython.final
cdef class Outlet:
    cdef object transport
    cdef int descriptor
    cdef bint waits               # the transport has bytes of this outlet's that the kernel did not take
    cdef public bint held

    cdef bint is_clear(self) except -1
    cdef int hand_over(self, bytes data) except -1


cdef struct Place:
    void *outlet
    long long since
    bint packs


@cython.final
cdef class Audience:
    cdef Place *places
    cdef Py_ssize_t room
    cdef dict outlets
    cdef Py_ssize_t packing

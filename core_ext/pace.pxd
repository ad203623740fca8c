"""Buckets of tokens; see pace.pyx."""

cimport cython


cdef struct Tokens:
    double rate
    double burst
    double left
    double at                    # when it was last filled


@cython.final
cdef class Bucket:
    cdef Tokens tokens


@cython.final
cdef class Pace:
    cdef Tokens tokens
    cdef double few

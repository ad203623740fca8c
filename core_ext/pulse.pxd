"""What the usual sign of life is compared with; see pulse.pyx."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from core_ext.netmap cimport Arena


cdef struct Held:
    int64_t seq
    int64_t vseq
    const char *digest


@cython.final
cdef class Pulse:
    cdef Arena arena             # None while there is nothing to compare with
    cdef dict late
    cdef bytes log
    cdef bytes boot
    cdef int64_t base
    cdef int64_t first
    cdef int64_t near
    cdef object tables           # the arrays that the next three lie in
    cdef const int64_t[::1] changed
    cdef const int64_t[::1] reached
    cdef const uint64_t[:, ::1] digests

    cdef bint read(self, bytes message, Held *held) noexcept
    cdef bint is_digest(self, Py_ssize_t slot, const char *digest) noexcept

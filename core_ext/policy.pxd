"""Layout of the decision cells; see policy.pyx."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef struct Place:
    uint32_t identity      # class of identity; all ones where there is no node
    uint32_t place         # class of addresses; all ones but the lowest where no rule names these
    uint32_t owner         # 0 for none


cdef struct Row:
    const uint32_t *cells
    const uint32_t *pool


@cython.final
cdef class Table:
    """What readers hold on to while they read: it is replaced, never freed under them."""

    cdef Place *places
    cdef uint32_t n_places
    cdef Row *rows
    cdef uint32_t n_rows
    cdef uint32_t stride
    cdef const uint32_t *own
    cdef const uint32_t *own_pool
    cdef const uint32_t *heads
    cdef const uint32_t *ranges
    cdef list kept

    cdef Table changed(
        self, bint full, uint32_t stride, list chunks, tuple own, object heads, object ranges, object slots
    )
    cdef bint _fits(self, object places)
    cdef _copy(self, Table new, bint full, object places)
    cdef _rows(self, object ids, object cells, object pool)
    cdef _words(self, Table new, tuple own, object heads, object ranges)
    cdef _place(self, object slots)
    cdef bint _is_in(self, uint32_t port_set, uint8_t protocol, uint16_t port) noexcept nogil
    cdef bint _allows(self, uint32_t cell, const uint32_t *pool, uint8_t protocol, uint16_t port) noexcept nogil
    cdef bint _decide(
        self, uint32_t source, uint32_t target, uint8_t protocol, uint16_t port
    ) noexcept nogil


@cython.final
cdef class Decisions:
    cdef Table table
    cdef Table denials

    cpdef bint decide(self, uint32_t source, uint32_t target, uint8_t protocol, uint16_t port)

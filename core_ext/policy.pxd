"""Layout of the decision cells; see policy.pyx."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef struct Place:
    uint32_t identity      # class of identity; all ones where there is no node
    uint32_t place         # class of addresses; all ones but the lowest where no rule names these
    uint32_t owner         # 0 for none


cdef struct Row:
    const uint32_t *cells
    const uint32_t *pool


cdef struct Lists:
    uint32_t first                # where in a pool lists begin and end
    uint32_t end


cdef struct PortSet:
    # One range of ports and one bit a protocol; or DETAILED, and the place of the details instead of ports.
    uint16_t first
    uint16_t last
    uint32_t kinds


cdef struct Traffic:
    uint32_t kind          # the bit of the protocol in a plain port set; none for most protocols
    uint16_t port
    uint8_t protocol


@cython.final
cdef class Table:
    """What readers hold on to while they read: it is replaced, never freed under them."""

    cdef Place *places
    cdef uint32_t n_places
    cdef Row *rows
    cdef uint32_t n_rows
    cdef uint32_t stride
    cdef const uint32_t *own
    cdef const uint32_t *anyone
    cdef const uint32_t *everywhere
    cdef const uint32_t *side_pool
    cdef const PortSet *port_sets
    cdef const uint32_t *details
    cdef list chunks              # memory of whole rows, also of those that are others by now
    cdef dict patched             # memory of rows that have some of their own
    cdef tuple sides
    cdef tuple sets
    cdef uint64_t words           # of all rows that are kept, and of those at the last full load
    cdef uint64_t fresh_words

    cdef Table changed(
        self, bint full, uint32_t stride, list chunks, tuple sides, object port_sets, object details, object slots
    )
    cdef bint is_worn(self)
    cdef bint _fits(self, object places)
    cdef _copy(self, Table new, bint full, object places)
    cdef _rows(self, object ids, object cells, object pool)
    cdef _patch(self, object ids, object columns, object cells, object pool)
    cdef _keep_patch(self, uint32_t row, object memory)
    cdef _words(self, Table new, tuple sides, object port_sets, object details)
    cdef _place(self, object slots)
    cdef bint _is_in(self, uint32_t port_set, Traffic what) noexcept nogil
    cdef bint _is_in_detail(self, const uint32_t *detail, Traffic what) noexcept nogil
    cdef bint _allows(self, uint32_t cell, const uint32_t *pool, Traffic what) noexcept nogil
    cdef bint _decide(self, uint32_t source, uint32_t target, Traffic what) noexcept nogil


cdef class Decisions:
    cdef Table table
    cdef Table denials
    cdef public bint current

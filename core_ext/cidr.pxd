"""Layout of address rules; see cidr.pyx and rtree.pxd."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from core_ext.rtree cimport Node, Search, SearchMany


cdef struct Item:
    # A rule or a box: where it begins on each axis, then the complements of where it ends, so that the least of each
    # bounds several.
    uint32_t edges[8]
    uint32_t rule


cdef struct Packing:
    Item *items
    Node *nodes
    uint32_t used


@cython.final
cdef class Rules:
    cdef Node *nodes
    cdef uint32_t root            # the node with which a search begins, and how many side by side
    cdef uint32_t roots
    cdef Search search
    cdef SearchMany search_many    # none where one after another is as good
    cdef int levels
    cdef readonly uint32_t count
    cdef readonly Py_ssize_t nbytes
    cdef readonly int vectors      # bits of those that boxes are compared in

    cdef uint32_t _match(self, uint32_t source, uint32_t target, uint8_t protocol, uint16_t port) noexcept nogil

"""Layout of the fragment arena; see netmap.pyx."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef struct Entry:
    char *at             # key, head and part as a MessagePack map has them; NULL where there is no part
    uint32_t size        # of all three
    uint32_t head        # bytes before the part
    uint32_t block
    uint32_t hashed      # whether the hash is known
    int64_t id
    int64_t owner
    uint64_t high        # the part's hash
    uint64_t low
    uint64_t stamp       # of the change that set it


cdef struct Block:
    char *bytes          # NULL where the number is not in use
    uint32_t size
    uint32_t used        # records one after another up to here
    uint32_t live        # bytes of records that entries point to


@cython.final
cdef class Arena:
    cdef object hash             # what makes a part's hash of the id and the part, None where it is handed in
    cdef Entry *entries
    cdef uint32_t capacity
    cdef Block *blocks
    cdef uint32_t n_blocks
    cdef int64_t open            # the block that is written to, -1 for none
    cdef int64_t spare           # first of the numbers that are not in use, chained by `size`; -1 for none
    cdef uint64_t used
    cdef readonly uint64_t live
    cdef readonly uint32_t count
    cdef readonly uint64_t stamp

    cdef int _take_hash(self, Entry *entry, bytes digest) except -1
    cdef int _make_hash(self, Entry *entry) except -1
    cdef int _grow(self, uint32_t slot) except -1
    cdef int _open(self, uint32_t size) except -1
    cdef char *_append(self, uint32_t slot, uint32_t size) except NULL
    cdef void _release(self, uint32_t slot) noexcept
    cdef void _free(self, uint32_t block) noexcept
    cdef int _clean(self) except -1
    cdef Entry *_find(self, uint32_t slot) noexcept nogil

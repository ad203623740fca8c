"""Which indices of an address pool are taken: a hierarchical bitmap.

An address is its pool's network plus an index, for IPv4 and IPv6 alike, so one bitmap serves a pool of either family.
An IPv6 pool is wider than anything that can be live at once: its first 2**24 indices are used.

Four levels of 64-bit words: a bit of level n + 1 says whether the word below it has anything free. Every operation
touches at most one word a level (a random claim: 64), so a claim costs the same in an empty pool and in a full one.
It knows nothing of addresses, owners or time, and draws no randomness.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free as release_memory

from ghostwire.errors import ValidationError

cdef extern from *:
    int lowest_bit "__builtin_ctzll"(unsigned long long) noexcept nogil
    int count_bits "__builtin_popcountll"(unsigned long long) noexcept nogil

cdef int64_t LARGEST = 1 << 24
MAX_SIZE = LARGEST


@cython.final
cdef class Bitmap:
    """Taken and free indices in 0 .. size - 1; all are free at first."""

    def __cinit__(self, int64_t size):
        cdef int64_t n = size
        cdef int level
        if not 1 <= size <= LARGEST:
            raise ValidationError(f"a pool has 1 to {LARGEST} addresses, not {size}")
        self.size = size
        self.free = size
        for level in range(4):
            n = (n + 63) >> 6
            self.words[level] = n
            self.levels[level] = <uint64_t *> calloc(n, sizeof(uint64_t))
            if self.levels[level] == NULL:
                raise MemoryError()
        self.counts[0] = <uint32_t *> calloc(self.words[1], sizeof(uint32_t))
        self.counts[1] = <uint32_t *> calloc(self.words[2], sizeof(uint32_t))
        self.reserved = <uint64_t *> calloc(self.words[0], sizeof(uint64_t))
        if self.counts[0] == NULL or self.counts[1] == NULL or self.reserved == NULL:
            raise MemoryError()
        self._fill()

    cdef void _fill(self) noexcept nogil:
        cdef int64_t n = self.size, i
        cdef int level
        for level in range(4):
            for i in range(n >> 6):
                self.levels[level][i] = ~(<uint64_t> 0)
            if n & 63:
                self.levels[level][n >> 6] = ((<uint64_t> 1) << (n & 63)) - 1
            n = self.words[level]
        for i in range(self.words[1]):
            self.counts[0][i] = <uint32_t> min(<int64_t> 4096, self.size - (i << 12))
        for i in range(self.words[2]):
            self.counts[1][i] = <uint32_t> min(<int64_t> 262144, self.size - (i << 18))

    def __dealloc__(self):
        cdef int level
        for level in range(4):
            release_memory(self.levels[level])
        release_memory(self.counts[0])
        release_memory(self.counts[1])
        release_memory(self.reserved)

    def claim_next(self, int64_t start=0):
        """Take the lowest free index at or after `start`, else the lowest of all; -1 when nothing is free.

        A caller that passes the index after its last claim walks the pool in order before it reuses anything.
        Raises ValidationError where `start` is outside the pool.
        """
        cdef int64_t index
        self._check(start)
        index = self._first_free(start)
        if index < 0 and start > 0:
            index = self._first_free(0)
        if index >= 0:
            self._take(index)
        return index

    def claim_random(self, uint64_t draw):
        """Take the free index of rank `draw` modulo `free`; -1 when nothing is free.

        Every free index is as likely as any other when `draw` is a uniform 64-bit number.
        """
        cdef int64_t index
        if self.free == 0:
            return -1
        index = self._nth_free(<int64_t> (draw % <uint64_t> self.free))
        self._take(index)
        return index

    def claim(self, int64_t index):
        """Take this index; whether it was free. Raises ValidationError where it is outside the pool."""
        self._check(index)
        if not self._is_free(index):
            return False
        self._take(index)
        return True

    def release(self, int64_t index):
        """Give an index back; whether it was claimed. A reserved one stays taken and answers False.

        Raises ValidationError where it is outside the pool.
        """
        self._check(index)
        if self._is_free(index) or (self.reserved[index >> 6] >> (index & 63)) & 1:
            return False
        self._give(index)
        return True

    def reserve(self, int64_t first, int64_t count=1):
        """Take `count` indices from `first` on for good, claimed or not; how many of them were free.

        Raises ValidationError where any is outside the pool, and then changes nothing.
        """
        cdef int64_t index, before = self.free
        if count < 1:
            raise ValidationError(f"a reservation covers at least one address, not {count}")
        self._check(first)
        if count > self.size - first:
            raise ValidationError(f"{count} indices from {first} on reach over the pool's end at {self.size}")
        for index in range(first, first + count):
            self.reserved[index >> 6] |= (<uint64_t> 1) << (index & 63)
            if self._is_free(index):
                self._take(index)
        return before - self.free

    def is_claimed(self, int64_t index):
        """Whether the index is taken, by a claim or a reservation. Raises ValidationError outside the pool."""
        self._check(index)
        return not self._is_free(index)

    def is_reserved(self, int64_t index):
        """Whether the index is taken for good. Raises ValidationError outside the pool."""
        self._check(index)
        return bool((self.reserved[index >> 6] >> (index & 63)) & 1)

    cdef int64_t _check(self, int64_t index) except -1:
        if index < 0 or index >= self.size:
            raise ValidationError(f"index {index} is outside the pool of {self.size}")
        return 0

    cdef bint _is_free(self, int64_t index) noexcept nogil:
        return (self.levels[0][index >> 6] >> (index & 63)) & 1

    cdef void _take(self, int64_t index) noexcept nogil:
        cdef int level
        cdef int64_t at = index
        self.free -= 1
        self.counts[0][index >> 12] -= 1
        self.counts[1][index >> 18] -= 1
        for level in range(4):
            self.levels[level][at >> 6] &= ~((<uint64_t> 1) << (at & 63))
            if self.levels[level][at >> 6]:
                return
            at >>= 6

    cdef void _give(self, int64_t index) noexcept nogil:
        cdef int level
        cdef bint had_free
        cdef int64_t at = index
        self.free += 1
        self.counts[0][index >> 12] += 1
        self.counts[1][index >> 18] += 1
        for level in range(4):
            had_free = self.levels[level][at >> 6] != 0
            self.levels[level][at >> 6] |= (<uint64_t> 1) << (at & 63)
            if had_free:
                return
            at >>= 6

    cdef int64_t _first_free(self, int64_t start) noexcept nogil:
        """Climb until a word has something at or after the wanted bit, then descend to its lowest."""
        cdef int level = 0
        cdef int64_t at = start
        cdef uint64_t bits
        while level < 4 and at >> 6 < self.words[level]:
            bits = self.levels[level][at >> 6] & ((~(<uint64_t> 0)) << (at & 63))
            if bits:
                at = (at >> 6 << 6) | lowest_bit(bits)
                while level:
                    level -= 1
                    at = (at << 6) | lowest_bit(self.levels[level][at])
                return at
            at = (at >> 6) + 1
            level += 1
        return -1

    cdef int64_t _nth_free(self, int64_t n) noexcept nogil:
        """The free index with `n` free ones before it; `n` < free."""
        cdef int64_t at = 0
        cdef uint64_t bits
        while n >= self.counts[1][at]:
            n -= self.counts[1][at]
            at += 1
        at <<= 6
        while n >= self.counts[0][at]:
            n -= self.counts[0][at]
            at += 1
        at <<= 6
        while n >= count_bits(self.levels[0][at]):
            n -= count_bits(self.levels[0][at])
            at += 1
        bits = self.levels[0][at]
        while n:
            bits &= bits - 1
            n -= 1
        return (at << 6) | lowest_bit(bits)

"""The longest prefix that holds an address.

`Prefixes4` cuts the address space into intervals. Those that begin under one upper half of an address lie together, so
a look-up is one step into a table and a bisection over a few halves (the shape of DXR: Zec, Rizzo, Mikuc, 2012).
`Prefixes6` bisects over all of its intervals.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset

import numpy as np

cimport numpy as cnp

from ghostwire.errors import ValidationError

cnp.import_array()

cdef extern from "<stdlib.h>":
    void *aligned_alloc(size_t, size_t) nogil

cdef extern from *:
    """
    #ifdef __linux__
    #include <sys/mman.h>
    #define GW_LARGE_PAGES(address, size) madvise(address, size, MADV_HUGEPAGE)
    #else
    #define GW_LARGE_PAGES(address, size)
    #endif
    """
    void large_pages "GW_LARGE_PAGES"(void *, size_t) noexcept nogil
    void prefetch "__builtin_prefetch"(const void *) noexcept nogil

cdef uint32_t NONE = 0xFFFFFFFF
cdef enum:
    HALVES = 1 << 16  # upper halves of addresses
    BLOCK = 32   # addresses that are looked up side by side
    PAGE = 1 << 21
NOTHING = 0xFFFFFFFF


cdef void *roomy(size_t size) noexcept nogil:
    """Memory that is read all over the place: on large pages where it fills some and the system has them."""
    cdef void *memory
    if size < 2 * PAGE:
        return malloc(size)
    memory = aligned_alloc(PAGE, (size + PAGE - 1) & ~(<size_t> PAGE - 1))
    if memory != NULL:
        large_pages(memory, size)
    return memory


cdef void sort_by(Entry *source, Entry *target, uint32_t n, int field, int shift, int bits) noexcept nogil:
    """One stable pass of a radix sort: by length (field 0) or by some bits of the start."""
    cdef uint32_t counts[2049]
    cdef uint32_t mask = (1 << bits) - 1, i, key, total = 0, count
    memset(counts, 0, sizeof(counts))
    for i in range(n):
        key = source[i].length if field == 0 else (source[i].start >> shift) & mask
        counts[key] += 1
    for i in range(mask + 1):
        count = counts[i]
        counts[i] = total
        total += count
    for i in range(n):
        key = source[i].length if field == 0 else (source[i].start >> shift) & mask
        target[counts[key]] = source[i]
        counts[key] += 1


@cython.final
cdef class Prefixes4:
    """The longest IPv4 prefix that holds an address. Of two equal prefixes the later one counts.

    `networks` (uint32), `lengths` (uint8, at most 32) and `values` (uint32, not `NOTHING`) are of equal length; bits
    behind a prefix are cleared.
    """

    def __cinit__(self, object networks, object lengths, object values):
        cdef const uint32_t[::1] starts = np.ascontiguousarray(networks, np.uint32)
        cdef const uint8_t[::1] sizes = np.ascontiguousarray(lengths, np.uint8)
        cdef const uint32_t[::1] given = np.ascontiguousarray(values, np.uint32)
        cdef uint32_t n = <uint32_t> starts.shape[0], i
        cdef size_t most = 2 * <size_t> n + HALVES + 1
        cdef Entry *entries
        cdef Entry *other
        if sizes.shape[0] != n or given.shape[0] != n:
            raise ValidationError("arrays of unequal length")
        if n and int(np.max(lengths)) > 32:
            raise ValidationError("a prefix has at most 32 bits")
        entries = <Entry *> malloc((n + 1) * sizeof(Entry))
        other = <Entry *> malloc((n + 1) * sizeof(Entry))
        # All of it lies together, so that few pages hold it.
        self.first = <uint32_t *> roomy((HALVES + 1) * sizeof(uint32_t) + most * (sizeof(uint32_t) + sizeof(uint16_t)))
        self.values = self.first + HALVES + 1
        self.lows = <uint16_t *> (self.values + most)
        if entries == NULL or other == NULL or self.first == NULL:
            free(entries)
            free(other)
            raise MemoryError()
        with nogil:
            for i in range(n):
                entries[i].length = sizes[i]
                entries[i].start = starts[i] & (0 if sizes[i] == 0 else NONE << (32 - sizes[i]))
                entries[i].value = given[i]
            sort_by(entries, other, n, 0, 0, 6)
            sort_by(other, entries, n, 1, 0, 11)
            sort_by(entries, other, n, 1, 11, 11)
            sort_by(other, entries, n, 1, 22, 10)
            self.intervals = self._cut(entries, n)
        free(entries)
        free(other)

    def __dealloc__(self):
        free(self.first)

    cdef uint32_t _cut(self, Entry *entries, uint32_t n) noexcept nogil:
        """Turn prefixes, in order of start and then length, into intervals; every upper half begins one."""
        cdef uint32_t stack_value[34]
        cdef uint64_t stack_end[34]
        cdef int depth = 0
        cdef uint32_t made = 0, i = 0, half = 0
        cdef uint64_t at = 0, end, next_start, boundary
        cdef uint32_t value
        stack_value[0] = NONE
        stack_end[0] = <uint64_t> 1 << 32
        while at < (<uint64_t> 1 << 32):
            while depth and stack_end[depth] <= at:
                depth -= 1
            while i < n and entries[i].start == at:
                end = at + (<uint64_t> 1 << (32 - entries[i].length))
                if not (depth and stack_end[depth] == end):
                    depth += 1
                stack_end[depth] = end
                stack_value[depth] = entries[i].value
                i += 1
            value = stack_value[depth]
            next_start = stack_end[depth]
            if i < n and entries[i].start < next_start:
                next_start = entries[i].start
            # One interval in each upper half from here to where the next one begins.
            boundary = at
            while boundary < next_start:
                half = <uint32_t> (boundary >> 16)
                if not boundary & 0xFFFF:
                    self.first[half] = made
                if boundary & 0xFFFF and made > self.first[half] and self.values[made - 1] == value:
                    pass
                else:
                    self.lows[made] = <uint16_t> (boundary & 0xFFFF)
                    self.values[made] = value
                    made += 1
                boundary = (<uint64_t> half + 1) << 16
            at = next_start
        self.first[HALVES] = made
        return made

    cdef inline uint32_t _find(self, uint32_t address) noexcept nogil:
        cdef uint32_t low = self.first[address >> 16], count = self.first[(address >> 16) + 1] - low
        prefetch(self.values + low + (count >> 1))
        return self.values[self._bisect(low, count, <uint16_t> (address & 0xFFFF))]

    cdef inline uint32_t _bisect(self, uint32_t low, uint32_t count, uint16_t wanted) noexcept nogil:
        """The last of `count` intervals from `low` on that begins at or before what is wanted; the first one does."""
        cdef uint32_t half
        while count > 1:
            half = count >> 1
            low = low + half if self.lows[low + half] <= wanted else low
            count -= half
        return low

    @property
    def nbytes(self):
        """Memory in bytes, as allocated."""
        return self.intervals * 6 + (HALVES + 1) * sizeof(uint32_t)

    def find(self, uint32_t address):
        """The value of the longest prefix, or `NOTHING`."""
        return self._find(address)

    def find_many(self, object addresses):
        """The same for an array of uint32, without the GIL."""
        cdef const uint32_t[::1] asked = addresses
        cdef Py_ssize_t i, j, block, n = asked.shape[0]
        cdef uint32_t low[BLOCK]
        cdef uint32_t count[BLOCK]
        found = np.empty(n, np.uint32)
        cdef uint32_t[::1] out = found
        with nogil:
            i = 0
            while i < n:
                block = min(<Py_ssize_t> BLOCK, n - i)
                for j in range(block):
                    low[j] = self.first[asked[i + j] >> 16]
                    count[j] = self.first[(asked[i + j] >> 16) + 1] - low[j]
                    prefetch(self.lows + low[j] + (count[j] >> 1))
                for j in range(block):
                    low[j] = self._bisect(low[j], count[j], <uint16_t> (asked[i + j] & 0xFFFF))
                    prefetch(self.values + low[j])
                for j in range(block):
                    out[i + j] = self.values[low[j]]
                i += block
        return found


@cython.final
cdef class Prefixes6:
    """The longest IPv6 prefix that holds an address. Of two equal prefixes the later one counts.

    `prefixes` are (network as an integer, length, value).
    """

    @cython.wraparound(True)
    def __cinit__(self, object prefixes):
        entries = sorted(
            ((network >> (128 - length) << (128 - length), length, place, value)
             for place, (network, length, value) in enumerate(prefixes)),
        )
        starts, values, stack = [], [], [(1 << 128, NOTHING)]
        self._put(starts, values, 0, NOTHING)
        for network, length, _, value in entries:
            while stack[-1][0] <= network:
                end = stack.pop()[0]
                self._put(starts, values, end, stack[-1][1])
            stack.append((network + (1 << (128 - length)), value))
            self._put(starts, values, network, value)
        while len(stack) > 1:
            end = stack.pop()[0]
            if end < 1 << 128:
                self._put(starts, values, end, stack[-1][1])
        packed = b"".join(start.to_bytes(16, "big") for start in starts)
        column = np.array(values, np.uint32)
        self.kept = (packed, column)
        self.starts = packed
        self.values = <const uint32_t *> cnp.PyArray_DATA(column)
        self.intervals = <uint32_t> len(starts)

    @cython.wraparound(True)
    def _put(self, list starts, list values, object start, object value):
        """From `start` on `value` holds; a later word about the same start counts."""
        if starts and starts[-1] == start:
            values[-1] = value
        else:
            starts.append(start)
            values.append(value)

    def find(self, bytes address not None):
        """The value of the longest prefix for sixteen bytes, or `NOTHING`."""
        cdef const uint8_t *wanted = address
        cdef uint32_t low = 0, high = self.intervals, middle
        if len(address) != 16:
            raise ValidationError("an IPv6 address has sixteen bytes")
        while high - low > 1:
            middle = (low + high) >> 1
            if memcmp(self.starts + 16 * <size_t> middle, wanted, 16) <= 0:
                low = middle
            else:
                high = middle
        return self.values[low]

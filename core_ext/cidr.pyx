"""Addresses and prefixes looked up: the longest prefix that holds an address, the first rule that matches a packet.

`Prefixes4` cuts the address space into intervals. Those that begin under one upper half of an address lie together, so
a look-up is one step into a table and a bisection over a few halves (the shape of DXR: Zec, Rizzo, Mikuc, 2012).
`Prefixes6` bisects over all of its intervals. `Rules` is a packed R-tree, built at once and never changed, sixteen
entries a node, over source, target and port; each entry carries the least rule below it, and what cannot beat the
best match so far is not entered. Columns of sixteen are compared at once, by AVX-512 or AVX2 where the CPU has it.
"""

cimport cython
from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memset

import numpy as np

cimport numpy as cnp

from ghostwire.errors import ValidationError

cnp.import_array()

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__)
    #define GW_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
    #else
    #define GW_CLONES
    #endif
    /* One bit for each of sixteen entries: the point lies in its box, and it may beat what was found. */
    static GW_CLONES uint32_t gw_fits(
        const uint32_t *restrict l0, const uint32_t *restrict h0, const uint32_t *restrict l1,
        const uint32_t *restrict h1, const uint32_t *restrict l2, const uint32_t *restrict h2,
        const uint32_t *restrict best, uint32_t s, uint32_t t, uint32_t p, uint32_t found)
    {
        uint32_t mask = 0;
        for (int j = 0; j < 16; j++) {
            uint32_t fit = (l0[j] <= s) & (s <= h0[j]) & (l1[j] <= t) & (t <= h1[j])
                         & (l2[j] <= p) & (p <= h2[j]) & (best[j] < found);
            mask |= fit << j;
        }
        return mask;
    }
    """
    uint32_t gw_fits(
        const uint32_t *, const uint32_t *, const uint32_t *, const uint32_t *, const uint32_t *, const uint32_t *,
        const uint32_t *, uint32_t, uint32_t, uint32_t, uint32_t
    ) noexcept nogil
    int lowest_bit "__builtin_ctz"(unsigned int) noexcept nogil

cdef uint32_t NONE = 0xFFFFFFFF
cdef int WIDTH = 16
NOTHING = 0xFFFFFFFF


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
        cdef Entry *entries
        cdef Entry *other
        if sizes.shape[0] != n or given.shape[0] != n:
            raise ValidationError("arrays of unequal length")
        if n and int(np.max(lengths)) > 32:
            raise ValidationError("a prefix has at most 32 bits")
        entries = <Entry *> malloc((n + 1) * sizeof(Entry))
        other = <Entry *> malloc((n + 1) * sizeof(Entry))
        self.lows = <uint16_t *> malloc((2 * <size_t> n + 65537) * sizeof(uint16_t))
        self.values = <uint32_t *> malloc((2 * <size_t> n + 65537) * sizeof(uint32_t))
        if entries == NULL or other == NULL or self.lows == NULL or self.values == NULL:
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
        free(self.lows)
        free(self.values)

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
        self.first[65536] = made
        return made

    cdef inline uint32_t _find(self, uint32_t address) noexcept nogil:
        cdef uint32_t low = self.first[address >> 16], high = self.first[(address >> 16) + 1], middle
        cdef uint16_t wanted = <uint16_t> (address & 0xFFFF)
        while high - low > 1:
            middle = (low + high) >> 1
            if self.lows[middle] <= wanted:
                low = middle
            else:
                high = middle
        return self.values[low]

    @property
    def nbytes(self):
        """Memory in bytes, as allocated."""
        return self.intervals * 6 + sizeof(self.first)

    def find(self, uint32_t address):
        """The value of the longest prefix, or `NOTHING`."""
        return self._find(address)

    def find_many(self, object addresses):
        """The same for an array of uint32, without the GIL."""
        cdef const uint32_t[::1] asked = addresses
        cdef Py_ssize_t i, n = asked.shape[0]
        found = np.empty(n, np.uint32)
        cdef uint32_t[::1] out = found
        with nogil:
            for i in range(n):
                out[i] = self._find(asked[i])
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


@cython.final
cdef class Rules:
    """The first rule that matches a packet.

    `spans` is an array of uint32, one row a rule: first and last source, first and last target, first and last port.
    Addresses that do not fit (IPv6) come as ranks in the order of all ends. `protocols` (uint16) are numbers, or
    65535 for any.
    """

    def __cinit__(self, object spans, object protocols):
        cdef object rows = np.ascontiguousarray(spans, np.uint32).reshape(-1, 6)
        cdef uint32_t n = <uint32_t> len(rows), size = n, total = 0, padded
        if len(protocols) != n:
            raise ValidationError("arrays of unequal length")
        if n > 1 << 24:
            raise ValidationError("at most 2^24 rules")
        self.count = n
        self.levels = 0
        while True:
            padded = max((size + WIDTH - 1) // WIDTH, 1) * WIDTH
            self.starts[self.levels] = total
            self.levels += 1
            total += padded
            if padded == WIDTH:
                break
            size = padded // WIDTH
        self.starts[self.levels] = total
        for i in range(3):
            self.lows[i] = <uint32_t *> malloc(total * sizeof(uint32_t))
            self.highs[i] = <uint32_t *> calloc(total, sizeof(uint32_t))
            if self.lows[i] == NULL or self.highs[i] == NULL:
                raise MemoryError()
            memset(self.lows[i], 0xFF, total * sizeof(uint32_t))
        self.best = <uint32_t *> malloc(total * sizeof(uint32_t))
        self.protocols = <uint16_t *> calloc(self.starts[1], sizeof(uint16_t))
        if self.best == NULL or self.protocols == NULL:
            raise MemoryError()
        memset(self.best, 0xFF, total * sizeof(uint32_t))
        self.nbytes = total * 28 + self.starts[1] * 2
        self._fill(rows, np.ascontiguousarray(protocols, np.uint16), order(rows))

    def __dealloc__(self):
        for i in range(3):
            free(self.lows[i])
            free(self.highs[i])
        free(self.best)
        free(self.protocols)

    def _fill(self, object rows, object protocols, object places):
        cdef const uint32_t[:, ::1] row = rows
        cdef const uint16_t[::1] kind = protocols
        cdef const int64_t[::1] place = places
        cdef uint32_t i, j, child, parent, rule
        cdef int level, axis
        with nogil:
            for i in range(self.count):
                rule = <uint32_t> place[i]
                for axis in range(3):
                    self.lows[axis][i] = row[rule, 2 * axis]
                    self.highs[axis][i] = row[rule, 2 * axis + 1]
                self.best[i] = rule
                self.protocols[i] = kind[rule]
            for level in range(1, self.levels):
                for i in range((self.starts[level] - self.starts[level - 1]) // WIDTH):
                    parent = self.starts[level] + i
                    for j in range(WIDTH):
                        child = self.starts[level - 1] + i * WIDTH + j
                        if self.best[child] == NONE:
                            continue
                        self.best[parent] = min(self.best[parent], self.best[child])
                        for axis in range(3):
                            self.lows[axis][parent] = min(self.lows[axis][parent], self.lows[axis][child])
                            self.highs[axis][parent] = max(self.highs[axis][parent], self.highs[axis][child])

    cdef uint32_t _match(self, uint32_t source, uint32_t target, uint16_t protocol, uint32_t port) noexcept nogil:
        cdef uint32_t stack[256]
        cdef int8_t levels[256]
        cdef uint32_t bests[256]
        cdef int height = 1, level, floor, place
        cdef uint32_t found = NONE, base, entry, mask
        stack[0] = self.starts[self.levels - 1]
        levels[0] = <int8_t> (self.levels - 1)
        bests[0] = 0
        while height:
            height -= 1
            base = stack[height]
            level = levels[height]
            if bests[height] >= found:
                continue
            floor = height
            mask = gw_fits(
                self.lows[0] + base, self.highs[0] + base, self.lows[1] + base, self.highs[1] + base,
                self.lows[2] + base, self.highs[2] + base, self.best + base, source, target, port, found,
            )
            while mask:
                entry = base + lowest_bit(mask)
                mask &= mask - 1
                if self.best[entry] >= found:
                    continue
                if level:
                    # The subtree with the least rule is entered first: what it finds spares the others.
                    place = height
                    while place > floor and bests[place - 1] < self.best[entry]:
                        stack[place] = stack[place - 1]
                        bests[place] = bests[place - 1]
                        place -= 1
                    stack[place] = self.starts[level - 1] + (entry - self.starts[level]) * WIDTH
                    bests[place] = self.best[entry]
                    levels[height] = <int8_t> (level - 1)
                    height += 1
                elif self.protocols[entry] == 65535 or self.protocols[entry] == protocol:
                    found = self.best[entry]
        return found

    def match(self, uint32_t source, uint32_t target, uint16_t protocol, uint32_t port):
        """The least number of a rule that matches, or `NOTHING`."""
        return self._match(source, target, protocol, port)

    def match_many(self, object sources, object targets, object protocols, object ports):
        """The same for arrays of equal length (uint32, uint32, uint16, uint16), without the GIL."""
        cdef const uint32_t[::1] s = sources
        cdef const uint32_t[::1] t = targets
        cdef const uint16_t[::1] q = protocols
        cdef const uint16_t[::1] p = ports
        cdef Py_ssize_t i, n = s.shape[0]
        if t.shape[0] != n or q.shape[0] != n or p.shape[0] != n:
            raise ValidationError("arrays of unequal length")
        found = np.empty(n, np.uint32)
        cdef uint32_t[::1] out = found
        with nogil:
            for i in range(n):
                out[i] = self._match(s[i], t[i], q[i], p[i])
        return found


def order(object rows):
    """Sort-tile packing: strips by the middle of the sources, within each by the middle of the targets."""
    middle = rows.astype(np.uint64)
    source, target = (middle[:, 0] + middle[:, 1]) >> 1, (middle[:, 2] + middle[:, 3]) >> 1
    by_source = np.argsort(source, kind="stable")
    strips = max(int(np.sqrt(max(len(rows), 1) / WIDTH)), 1)
    strip = np.empty(len(rows), np.int64)
    strip[by_source] = np.arange(len(rows)) * strips // max(len(rows), 1)
    return np.lexsort((target, strip)).astype(np.int64)

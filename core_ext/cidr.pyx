"""Address rules: the first one that matches a packet, found in a packed R-tree.

The tree is built at once and never changed: rules are parted from above where that leaves the smallest boxes, until
sixteen fill a leaf. rtree.pxd has nodes and search; prefixes.pyx has the longest prefix that holds an address.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

from core_ext.rtree cimport PAIRS, Node, Point, choose, leading_zeros, many, width

from ghostwire.errors import ValidationError

cdef extern from "<stdlib.h>":
    void *aligned_alloc(size_t, size_t) nogil

cdef uint32_t NONE = 0xFFFFFFFF
cdef enum:
    WIDTH = 16   # boxes of a node; so a part of a level has 16 ** level rules
    AXES = 4     # source, target, port, protocol
    KEYS = 5     # what rules may be parted by
    BINS = 8
    ROOTS = 4    # so few children of the root are where a search begins
    SAMPLE = 64  # rules that are looked at to part any number of them
NOTHING = 0xFFFFFFFF


@cython.final
cdef class Rules:
    """The first rule that matches a packet.

    `spans` is an array of uint32, one row a rule: first and last source, first and last target, first and last port,
    first and last protocol. Boxes are compared in vectors of at most `vectors` bits,
    as far as the CPU has them: 512 (AVX-512), 256 (AVX2), 128 for what it has in any case.
    """

    def __cinit__(self, object spans, int vectors=512):
        cdef object rows = np.ascontiguousarray(spans, np.uint32).reshape(-1, 8)
        cdef const uint32_t[:, ::1] row = rows
        cdef uint32_t n = <uint32_t> len(rows), i, size, children
        cdef int axis
        cdef Packing packing
        cdef Item bounds
        if n > 1 << 24:
            raise ValidationError("at most 2^24 rules")
        if n and (rows[:, 4:6].max() > 0xFFFF or rows[:, 6:].max() > 0xFF):
            raise ValidationError("a port has 16 bits and a protocol 8")
        self.search = choose(vectors)
        self.search_many = many(self.search)
        self.vectors = width(self.search)
        self.count = n
        self.levels = 1
        size = (n + WIDTH - 1) // WIDTH
        total = max(size, 1)
        while size > 1:
            size = (size + WIDTH - 1) // WIDTH
            total += size
            self.levels += 1
        self.nbytes = total * sizeof(Node)
        self.nodes = <Node *> aligned_alloc(64, self.nbytes)
        packing.items = <Item *> malloc((n + 1) * sizeof(Item))
        if self.nodes == NULL or packing.items == NULL:
            free(packing.items)
            raise MemoryError()
        with nogil:
            for i in range(n):
                packing.items[i].rule = i
                for axis in range(AXES):
                    packing.items[i].edges[axis] = row[i, 2 * axis]
                    packing.items[i].edges[AXES + axis] = ~row[i, 2 * axis + 1]
            packing.nodes = self.nodes
            packing.used = 1
            pack(&packing, 0, 0, n, self.levels - 1, &bounds)
            self.root, self.roots = 0, 1
            children = (n - 1 >> 4 * (self.levels - 1)) + 1
            if self.levels > 1 and children <= ROOTS:
                self.root, self.roots = self.nodes[0].child, children
                self.levels -= 1
        free(packing.items)

    def __dealloc__(self):
        free(self.nodes)

    def match(self, uint32_t source, uint32_t target, uint8_t protocol, uint16_t port):
        """The least number of a rule that matches, or `NOTHING`."""
        return self._match(source, target, protocol, port)

    cdef inline uint32_t _match(self, uint32_t source, uint32_t target, uint8_t protocol, uint16_t port) noexcept nogil:
        cdef Point at
        at.source, at.target, at.port, at.protocol = source, target, port, protocol
        return self.search(self.nodes, self.root, self.roots, self.levels, at)

    def match_many(self, object sources, object targets, object protocols, object ports):
        """The same for arrays of equal length (uint32, uint32, uint8, uint16), without the GIL."""
        cdef const uint32_t[::1] s = sources
        cdef const uint32_t[::1] t = targets
        cdef const uint8_t[::1] q = protocols
        cdef const uint16_t[::1] p = ports
        cdef Py_ssize_t i, j, n = s.shape[0]
        cdef uint32_t block
        cdef Point at[PAIRS]
        if t.shape[0] != n or q.shape[0] != n or p.shape[0] != n:
            raise ValidationError("arrays of unequal length")
        found = np.empty(n, np.uint32)
        cdef uint32_t[::1] out = found
        with nogil:
            if self.search_many == NULL:
                for i in range(n):
                    out[i] = self._match(s[i], t[i], q[i], p[i])
            else:
                i = 0
                while i < n:
                    block = <uint32_t> min(<Py_ssize_t> PAIRS, n - i)
                    for j in range(<Py_ssize_t> block):
                        at[j].source, at[j].target, at[j].port, at[j].protocol = s[i + j], t[i + j], p[i + j], q[i + j]
                    self.search_many(self.nodes, self.root, self.roots, self.levels, at, &out[i], block)
                    i += PAIRS
        return found


cdef void pack(Packing *to, uint32_t node, uint32_t begin, uint32_t end, int level, Item *bounds) noexcept nogil:
    """Put the rules from `begin` to `end` into a node and, where it is not a leaf, those below it."""
    cdef uint32_t cuts[17]
    cdef uint32_t least[16]
    cdef Item inner
    cdef uint32_t i, j, first, unit, n = 0
    cdef uint8_t order[16]
    clear_node(to.nodes + node)
    clear_item(bounds)
    if level == 0:
        sort_rules(to.items + begin, end - begin)
        for i in range(<uint32_t> (end - begin)):
            set_box(to.nodes + node, i, to.items + begin + i)
            merge(bounds, to.items + begin + i)
        return
    unit = 1 << 4 * level
    cuts[0] = begin
    divide(to.items, begin, end, unit, cuts, &n)
    for i in range(n):
        least[i] = NONE
        for j in range(cuts[i], cuts[i + 1]):
            least[i] = min(least[i], to.items[j].rule)
        j = i
        while j and least[order[j - 1]] > least[i]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = <uint8_t> i
    first = to.used
    to.used += n
    to.nodes[node].child = first
    for i in range(n):
        pack(to, first + i, cuts[order[i]], cuts[order[i] + 1], level - 1, &inner)
        set_box(to.nodes + node, i, &inner)
        merge(bounds, &inner)


cdef void sort_rules(Item *items, uint32_t n) noexcept nogil:
    """Put the few rules of a leaf in their order."""
    cdef uint32_t i, j
    cdef Item item
    for i in range(1, n):
        item = items[i]
        j = i
        while j and items[j - 1].rule > item.rule:
            items[j] = items[j - 1]
            j -= 1
        items[j] = item


cdef void divide(
    Item *items, uint32_t begin, uint32_t end, uint32_t unit, uint32_t *cuts, uint32_t *n
) noexcept nogil:
    """Cut rules into parts of `unit`, the last one of what is left over, and write down where the parts end."""
    cdef uint32_t middle
    if end - begin <= unit:
        n[0] += 1
        cuts[n[0]] = end
        return
    middle = halve(items + begin, end - begin, unit) + begin
    divide(items, begin, middle, unit, cuts, n)
    divide(items, middle, end, unit, cuts, n)


cdef uint32_t halve(Item *items, uint32_t n, uint32_t unit) noexcept nogil:
    """Order rules so that the first ones, a multiple of `unit`, share little space with the rest; how many these are.

    Tried are the middles on three axes, and the sizes on two: large boxes apart from small ones leave small nodes. What
    a cut costs is how likely a point lies in a part, by the part's volume, times the nodes in it.
    """
    cdef Item bins[5][8]
    cdef uint32_t counts[5][8]
    cdef uint32_t lows[5]
    cdef uint32_t highs[5]
    cdef uint64_t scales[5]
    cdef uint32_t i, found, below, step = max(n // SAMPLE, 1), most = (n - 1) // unit * unit
    cdef uint32_t best_below = 0, samples = (n + step - 1) // step
    cdef int key, bin, best_key = -1
    cdef double cost, least = 1e300
    cdef double rest[8]
    cdef Item side
    for key in range(KEYS):
        lows[key], highs[key] = NONE, 0
    i = 0
    while i < n:
        for key in range(KEYS):
            found = key_of(items + i, key)
            lows[key] = min(lows[key], found)
            highs[key] = max(highs[key], found)
        i += step
    for key in range(KEYS):
        scales[key] = (<uint64_t> BINS << 32) // (<uint64_t> highs[key] - lows[key] + 1)
        for bin in range(BINS):
            clear_item(&bins[key][bin])
            counts[key][bin] = 0
    i = 0
    while i < n:
        for key in range(KEYS):
            bin = <int> ((key_of(items + i, key) - lows[key]) * scales[key] >> 32)
            merge(&bins[key][bin], items + i)
            counts[key][bin] += 1
        i += step
    for key in range(KEYS):
        if lows[key] == highs[key]:
            continue
        clear_item(&side)
        below = 0
        for bin in range(BINS - 1, 0, -1):
            merge(&side, &bins[key][bin])
            below += counts[key][bin]
            rest[bin] = volume(&side) * ((<uint64_t> below * step + unit - 1) // unit) if below else -1.0
        clear_item(&side)
        below = 0
        for bin in range(1, BINS):
            merge(&side, &bins[key][bin - 1])
            below += counts[key][bin - 1]
            if below == 0 or rest[bin] < 0:
                continue
            cost = volume(&side) * ((<uint64_t> below * step + unit - 1) // unit) + rest[bin]
            if cost < least:
                least, best_key, best_below = cost, key, below
    if best_key < 0:
        return min(max(n // 2 // unit, 1) * unit, most)
    below = <uint32_t> (<uint64_t> best_below * n // samples)
    below = min(max((below + unit // 2) // unit, 1) * unit, most)
    select(items, n, below, best_key, lows[best_key], highs[best_key])
    return below


cdef void select(Item *items, uint32_t n, uint32_t wanted, int key, uint32_t low, uint32_t high) noexcept nogil:
    """Bring the `wanted` rules with the least keys, which lie from `low` to `high`, to the front.

    Quickselect, whose first pivots are where an even distribution would have them.
    """
    cdef uint32_t begin = 0, end = n, middle, pivot, a, b, c
    cdef int turn = 0
    while end - begin > 1:
        if turn < 2:
            pivot = low + <uint32_t> (<uint64_t> (high - low) * (wanted - begin) // (end - begin))
        else:
            a, b = key_of(items + begin, key), key_of(items + (begin + end) // 2, key)
            c = key_of(items + end - 1, key)
            pivot = max(min(a, b), min(max(a, b), c))
        turn += 1
        middle = part(items, begin, end, key, pivot)
        if middle > wanted:
            end, high = middle, pivot
        elif middle > begin and middle < wanted:
            begin, low = middle, pivot
        elif middle < wanted:
            # None is less than the pivot: those equal to it come first.
            if pivot == NONE:
                return
            begin, low = part(items, begin, end, key, pivot + 1), pivot + 1
            if begin >= wanted:
                return
        else:
            return


cdef inline uint32_t part(Item *items, uint32_t begin, uint32_t end, int key, uint32_t pivot) noexcept nogil:
    """Bring rules with keys less than the pivot before the others; where these begin."""
    while True:
        while begin < end and key_of(items + begin, key) < pivot:
            begin += 1
        while begin < end and key_of(items + end - 1, key) >= pivot:
            end -= 1
        if begin == end:
            return begin
        end -= 1
        items[begin], items[end] = items[end], items[begin]
        begin += 1


cdef inline uint32_t key_of(const Item *item, int key) noexcept nogil:
    """The middle on an axis, or how many bits the size on one has."""
    cdef uint32_t low, high
    if key < 3:
        return (item.edges[key] >> 1) + (~item.edges[AXES + key] >> 1)
    low, high = item.edges[key - 3], ~item.edges[AXES + key - 3]
    return 32 - leading_zeros(high - low) if high > low else 0


cdef inline double volume(const Item *item) noexcept nogil:
    """Over sources, targets and ports."""
    cdef double product = 1
    cdef int axis
    for axis in range(3):
        product *= <double> (~item.edges[AXES + axis] - item.edges[axis]) + 1
    return product


cdef inline void merge(Item *into, const Item *item) noexcept nogil:
    cdef int i
    for i in range(2 * AXES):
        into.edges[i] = min(into.edges[i], item.edges[i])
    into.rule = min(into.rule, item.rule)


cdef inline void clear_item(Item *item) noexcept nogil:
    memset(item, 0xFF, sizeof(Item))


cdef inline void clear_node(Node *node) noexcept nogil:
    """No point lies in any of its boxes: each begins behind its end."""
    memset(node, 0, sizeof(Node))
    memset(node.source_low, 0xFF, WIDTH * sizeof(uint32_t))
    memset(node.best, 0xFF, WIDTH * sizeof(uint32_t))


cdef inline void set_box(Node *node, uint32_t place, const Item *box) noexcept nogil:
    node.source_low[place], node.source_high[place] = box.edges[0], ~box.edges[4]
    node.target_low[place], node.target_high[place] = box.edges[1], ~box.edges[5]
    node.port_low[place], node.port_high[place] = <uint16_t> box.edges[2], <uint16_t> ~box.edges[6]
    node.protocol_low[place], node.protocol_high[place] = <uint8_t> box.edges[3], <uint8_t> ~box.edges[7]
    node.best[place] = box.rule

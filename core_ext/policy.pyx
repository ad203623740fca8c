"""Decisions from cells: may one node open this protocol and port of another?

Cells come as words from the policy engine: for each class of sources a row with one cell for each class of targets. A
cell is 0, the number of a port set, or a place in its chunk's pool where a list of port sets stands (length first). A
node has a class of identity and one of addresses; the union of the cells between both nodes' classes decides. Beside
the rows there is a cell for each class with what any source may at it, what it may at any target, and what it may at
devices of the same owner. What is denied stands in cells of its own, in the same shape; only what is allowed and not
denied may be.

Batches run without the GIL on the table they began with; changes go to a copy, except a node's place, which is three
aligned words written with the identity last.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

cimport numpy as cnp

from ghostwire.errors import ValidationError

cnp.import_array()

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void *) noexcept nogil

cdef uint32_t NOWHERE = 0xFFFFFFFF
cdef uint32_t NO_PLACE = 0xFFFFFFFE
cdef uint32_t LIST = 0x80000000
cdef int BLOCK = 32
cdef uint64_t WORN = 1 << 20
cdef uint32_t TCP = 1, UDP = 2, SCTP = 4, ICMP = 8, ICMP6 = 16
cdef uint32_t PORTED = 7
cdef uint32_t DETAILED = 0x80000000
cdef uint32_t MOST_NODES = 1 << 22


cdef const uint32_t *words(object array):
    return <const uint32_t *> cnp.PyArray_DATA(array)


cdef object column(object given, object kind):
    """An array of one dimension and a kind of numbers, its elements side by side."""
    if not isinstance(given, np.ndarray) or given.ndim != 1 or given.dtype != kind:
        found = f"{given.ndim} of {given.dtype}" if isinstance(given, np.ndarray) else type(given).__name__
        raise ValidationError(f"expected an array of one dimension of {np.dtype(kind)}, not {found}")
    return np.ascontiguousarray(given)


cdef object view(object buffer):
    """Words of a buffer, in place."""
    return np.frombuffer(buffer, dtype=np.uint32) if len(buffer) else np.zeros(1, np.uint32)


cdef inline Traffic traffic(uint8_t protocol, uint16_t port) noexcept nogil:
    cdef Traffic what
    what.protocol, what.port = protocol, port
    if protocol == 6:
        what.kind = TCP
    elif protocol == 17:
        what.kind = UDP
    elif protocol == 132:
        what.kind = SCTP
    elif protocol == 1:
        what.kind = ICMP
    else:
        what.kind = ICMP6 if protocol == 58 else 0
    return what


cdef size_t list_words(const uint32_t *cells, const uint32_t *pool, size_t count) noexcept nogil:
    """How many words the lists of cells take, each for itself."""
    cdef size_t found = 0, i
    for i in range(count):
        if cells[i] & LIST:
            found += pool[cells[i] & ~LIST] + 1
    return found


cdef Lists lists_of(const uint32_t *cells, const uint32_t *pool, uint32_t count) noexcept nogil:
    """Where in the pool the lists of one row are, which lie together."""
    cdef uint32_t first = LIST, last = 0, place, i
    cdef Lists found
    for i in range(count):
        # Without a branch: which cells are lists is as good as random. Those that are none come out as LIST or more.
        place = cells[i] ^ LIST
        first = min(first, place)
        last = max(last, place if place < LIST else 0)
    found.first = found.end = 0
    if first < LIST:
        found.first, found.end = first, last + pool[last] + 1
    return found


cdef inline uint32_t relisted(uint32_t cell, const uint32_t *pool, uint32_t *lists, size_t *at) noexcept nogil:
    """The same cell where its list, if it has one, stands among others."""
    cdef const uint32_t *entry = pool + (cell & ~LIST)
    cdef size_t place = at[0]
    if not cell & LIST:
        return cell
    memcpy(lists + place, entry, (entry[0] + 1) * sizeof(uint32_t))
    at[0] += entry[0] + 1
    return LIST | <uint32_t> place


@cython.final
cdef class Table:
    def __cinit__(self):
        self.places = NULL
        self.rows = NULL
        self.port_sets = NULL
        self.details = self.own = self.anyone = self.everywhere = self.side_pool = NULL
        self.chunks, self.patched = [], {}
        self.words = self.fresh_words = 0

    def __dealloc__(self):
        free(self.places)
        free(self.rows)

    cdef inline bint _is_in(self, uint32_t port_set, Traffic what) noexcept nogil:
        cdef PortSet found = self.port_sets[port_set]
        if found.kinds & what.kind:
            return not what.kind & PORTED or found.first <= what.port <= found.last
        return found.kinds == DETAILED and self._is_in_detail(self.details + found.first + (found.last << 16), what)

    cdef bint _is_in_detail(self, const uint32_t *detail, Traffic what) noexcept nogil:
        cdef const uint32_t *ranges = detail + 9
        cdef uint32_t place = 0, end = detail[8], middle
        if not (detail[what.protocol >> 5] >> (what.protocol & 31)) & 1:
            return False
        if not what.kind & PORTED:
            return True
        # They are in order and apart: there may be thousands.
        while place < end:
            middle = (place + end) >> 1
            if (ranges[middle] >> 16) < what.port:
                place = middle + 1
            else:
                end = middle
        return place < detail[8] and (ranges[place] & 0xFFFF) <= what.port

    cdef inline bint _allows(self, uint32_t cell, const uint32_t *pool, Traffic what) noexcept nogil:
        cdef const uint32_t *entry
        cdef uint32_t i
        if not cell & LIST:
            return self._is_in(cell, what)
        entry = pool + (cell & ~LIST)
        for i in range(entry[0]):
            if self._is_in(entry[1 + i], what):
                return True
        return False

    cdef inline bint _decide(self, uint32_t source, uint32_t target, Traffic what) noexcept nogil:
        cdef Place *a
        cdef Place *b
        cdef Row *row
        if source >= self.n_places or target >= self.n_places:
            return False
        a = self.places + source
        b = self.places + target
        if a.identity == NOWHERE or b.identity == NOWHERE:
            return False
        if self._allows(self.anyone[b.identity], self.side_pool, what):
            return True
        if self._allows(self.everywhere[a.identity], self.side_pool, what):
            return True
        if b.place != NO_PLACE and self._allows(self.anyone[b.place], self.side_pool, what):
            return True
        if a.place != NO_PLACE and self._allows(self.everywhere[a.place], self.side_pool, what):
            return True
        row = self.rows + a.identity
        if self._allows(row.cells[b.identity], row.pool, what):
            return True
        if b.place != NO_PLACE and self._allows(row.cells[b.place], row.pool, what):
            return True
        if a.place != NO_PLACE:
            row = self.rows + a.place
            if self._allows(row.cells[b.identity], row.pool, what):
                return True
            if b.place != NO_PLACE and self._allows(row.cells[b.place], row.pool, what):
                return True
        return a.owner != 0 and a.owner == b.owner and self._allows(
            self.own[a.identity], self.side_pool, what
        )

    cdef Table changed(
        self, bint full, uint32_t stride, list chunks, tuple sides, object port_sets, object details, object slots
    ):
        """The table after a change: this one, where only places are others."""
        cdef Table new
        places = view(slots) if len(slots) else None
        rows_stay = not full and not chunks and not len(sides[2]) and not len(port_sets)
        if rows_stay and places is not None and self._fits(places):
            self._place(places)
            return self
        new = Table()
        if not full:
            new.chunks, new.patched = list(self.chunks), dict(self.patched)
            new.words, new.fresh_words = self.words, self.fresh_words
        new.stride = stride
        self._copy(new, full, places)
        for rows, columns, cells, pool in chunks:
            if len(columns):
                new._patch(view(rows), view(columns), view(cells), view(pool))
            else:
                new._rows(view(rows), view(cells), view(pool))
        self._words(new, sides, port_sets, details)
        if full:
            new.fresh_words = new.words
        if places is not None:
            new._place(places)
        return new

    cdef bint is_worn(self):
        return self.words > self.fresh_words + self.fresh_words // 2 + WORN

    cdef bint _fits(self, object places):
        return len(places) == 0 or int(places[::4].max()) < self.n_places

    cdef _copy(self, Table new, bint full, object places):
        """Tables of the new sizes with what stays from the old one."""
        cdef uint32_t i
        cdef uint32_t highest = int(places[::4].max()) + 1 if places is not None else 0
        cdef const uint32_t *zeroes
        if highest > MOST_NODES:
            raise ValidationError(f"node ids are below {MOST_NODES}")
        new.n_places = max(highest + highest // 8 + 64, 0 if full else self.n_places)
        new.n_rows = new.stride
        new.places = <Place *> malloc(new.n_places * sizeof(Place))
        new.rows = <Row *> malloc(new.n_rows * sizeof(Row))
        if new.places == NULL or new.rows == NULL:
            raise MemoryError()
        memset(new.places, 0xFF, new.n_places * sizeof(Place))
        if not full:
            memcpy(new.places, self.places, self.n_places * sizeof(Place))
            memcpy(new.rows, self.rows, new.n_rows * sizeof(Row))
            return
        empty = np.zeros(new.stride, np.uint32)
        new.chunks.append(empty)
        zeroes = words(empty)
        for i in range(new.n_rows):
            new.rows[i].cells = zeroes
            new.rows[i].pool = zeroes

    cdef _rows(self, object ids, object cells, object pool):
        cdef Py_ssize_t i
        cdef const uint32_t *all_cells = words(cells)
        cdef const uint32_t *list_ids = words(ids)
        cdef const uint32_t *lists = words(pool)
        for i in range(len(cells) // self.stride):
            self.rows[list_ids[i]].cells = all_cells + i * <Py_ssize_t> self.stride
            self.rows[list_ids[i]].pool = lists
            self._keep_patch(list_ids[i], None)
        self.chunks.append((cells, pool))
        self.words += len(cells) + len(pool)

    cdef _patch(self, object ids, object columns, object cells, object pool):
        """Rows as they were but for some columns, each in memory of its own: its cells, then its lists.

        Lists to which no cell points any more are carried along.
        """
        cdef const uint32_t *id = words(ids)
        cdef const uint32_t *column = words(columns)
        cdef const uint32_t *given = words(cells)
        cdef const uint32_t *given_pool = words(pool)
        cdef size_t n_rows = len(ids), n_columns = len(columns), i, j, at
        cdef uint32_t *out
        cdef uint32_t *lists
        cdef Row *row
        cdef Lists old
        for i in range(n_rows):
            row = self.rows + id[i]
            old = lists_of(row.cells, row.pool, self.stride)
            at = old.end - old.first
            memory = np.empty(self.stride + at + list_words(given, given_pool, n_columns), np.uint32)
            out = <uint32_t *> words(memory)
            lists = out + self.stride
            for j in range(self.stride):
                out[j] = row.cells[j] - (old.first if row.cells[j] & LIST else 0)
            memcpy(lists, row.pool + old.first, at * sizeof(uint32_t))
            for j in range(n_columns):
                out[column[j]] = relisted(given[j], given_pool, lists, &at)
            row.cells, row.pool = out, lists
            self._keep_patch(id[i], memory)
            given += n_columns

    cdef _keep_patch(self, uint32_t row, object memory):
        """Hold on to the memory of a row of its own, if any, instead of that it had."""
        old = self.patched.pop(row, None)
        if old is not None:
            self.words -= len(old)
        if memory is not None:
            self.patched[row] = memory
            self.words += len(memory)

    cdef _words(self, Table new, tuple sides, object port_sets, object details):
        """Cells beside the rows, and port sets: those given, or the old ones."""
        new.sides, new.sets = self.sides, self.sets
        if len(sides[2]):
            cells, pool = view(sides[2]), view(sides[3])
            new.sides = cells, pool
            new.own, new.side_pool = words(cells), words(pool)
            new.anyone, new.everywhere = new.own + new.stride, new.own + 2 * <size_t> new.stride
        else:
            new.own, new.side_pool = self.own, self.side_pool
            new.anyone, new.everywhere = self.anyone, self.everywhere
        if len(port_sets):
            all_sets, all_details = view(port_sets), view(details)
            new.sets = all_sets, all_details
            new.port_sets, new.details = <const PortSet *> words(all_sets), words(all_details)
        else:
            new.port_sets, new.details = self.port_sets, self.details

    cdef _place(self, object slots):
        cdef const uint32_t *entry = words(slots)
        cdef Py_ssize_t i
        cdef Place *place
        for i in range(len(slots) // 4):
            place = self.places + entry[4 * i]
            place.identity = NOWHERE
            place.owner = entry[4 * i + 3]
            place.place = entry[4 * i + 2]
            place.identity = entry[4 * i + 1]


cdef class Decisions:
    """Answers from the cells that `load` was given. Unknown nodes are denied.

    Unless `current` is set, `refresh` is called before an answer: a subclass loads there what has changed.
    """

    def __cinit__(self):
        self.table = Table()
        self.current = False

    def refresh(self):
        """Bring the cells up to date."""
        self.current = True

    def load(
        self, bint full, uint32_t stride, list chunks, tuple sides, object port_sets, object details, object slots
    ):
        """Take in what changed: `full` forgets all that was known. Arguments are those of the engine's `sync`."""
        self.table = self.table.changed(full, stride, chunks, sides, port_sets, details, slots)

    def load_denials(
        self, bint full, uint32_t stride, list chunks, tuple sides, object port_sets, object details, object slots
    ):
        """The same for the cells of what is denied. Until this is called nothing is."""
        cdef Table old = Table() if self.denials is None else self.denials
        self.denials = old.changed(full, stride, chunks, sides, port_sets, details, slots)

    @property
    def is_worn(self):
        """Whether rows that were replaced hold more memory than those in use: time to load everything anew."""
        return self.table.is_worn() or (self.denials is not None and self.denials.is_worn())

    def decide(self, uint32_t src_id, uint32_t dst_id, uint8_t proto, uint16_t port):
        """Whether node `src_id` may open `proto` (IP number) to `port` of node `dst_id`. Unknown nodes may not."""
        cdef Traffic what = traffic(proto, port)
        if not self.current:
            self.refresh()
        warm(self.table, src_id, dst_id)
        return self.table._decide(src_id, dst_id, what) and not (
            self.denials is not None and self.denials._decide(src_id, dst_id, what)
        )

    def decide_many(self, object src_ids, object dst_ids, object protos, object ports):
        """Decide for arrays of equal length (uint32, uint32, uint8, uint16) at once, without the GIL.

        ValidationError for arrays that are others: numbers that do not fit would stand for nodes that nobody asked for.
        """
        cdef const uint32_t[::1] s
        cdef const uint32_t[::1] t
        cdef const uint8_t[::1] q
        cdef const uint16_t[::1] p
        try:
            s, t, q, p = src_ids, dst_ids, protos, ports
        except (TypeError, ValueError):
            s, t = column(src_ids, np.uint32), column(dst_ids, np.uint32)
            q, p = column(protos, np.uint8), column(ports, np.uint16)
        if s is None or t is None or q is None or p is None:
            raise ValidationError("expected arrays, not None")
        cdef Py_ssize_t n = s.shape[0], i, start, end
        if t.shape[0] != n or q.shape[0] != n or p.shape[0] != n:
            raise ValidationError("arrays of unequal length")
        if not self.current:
            self.refresh()
        cdef Table table = self.table
        cdef Table denials = self.denials
        cdef bint denying = denials is not None
        cdef Traffic what
        answers = np.empty(n, dtype=np.bool_)
        cdef uint8_t[::1] out = answers.view(np.uint8)
        with nogil:
            start = 0
            while start < n:
                end = min(start + BLOCK, n)
                for i in range(start, end):
                    warm(table, s[i], t[i])
                for i in range(start, end):
                    warm_list(table, s[i], t[i])
                for i in range(start, end):
                    what = traffic(q[i], p[i])
                    out[i] = table._decide(s[i], t[i], what) and not (
                        denying and denials._decide(s[i], t[i], what)
                    )
                start = end
        return answers


cdef inline void warm(Table table, uint32_t source, uint32_t target) noexcept nogil:
    """Fetch the cells that a decision will read."""
    cdef Place *a
    cdef Place *b
    if source >= table.n_places or target >= table.n_places:
        return
    a = table.places + source
    b = table.places + target
    if a.identity == NOWHERE or b.identity == NOWHERE:
        return
    prefetch(table.rows[a.identity].cells + b.identity)
    if b.place != NO_PLACE:
        prefetch(table.rows[a.identity].cells + b.place)
    if a.place != NO_PLACE:
        prefetch(table.rows[a.place].cells + b.identity)
        if b.place != NO_PLACE:
            prefetch(table.rows[a.place].cells + b.place)


cdef inline void warm_list(Table table, uint32_t source, uint32_t target) noexcept nogil:
    """Fetch what the cell between two identities points to."""
    cdef uint32_t cell
    cdef Row *row
    if source >= table.n_places or target >= table.n_places:
        return
    source = table.places[source].identity
    target = table.places[target].identity
    if source == NOWHERE or target == NOWHERE:
        return
    row = table.rows + source
    cell = row.cells[target]
    if cell & LIST:
        prefetch(row.pool + (cell & ~LIST))
    else:
        prefetch(table.port_sets + cell)

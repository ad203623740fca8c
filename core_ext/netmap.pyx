"""Encoded parts of a map by slot, with their hashes and owners, and whole pages of maps copied together from them.

A part is kept as the entry that it is in a page: its id as MessagePack, the head of a byte string, the bytes. Entries
are written one after another into blocks, as a log is; what is replaced or dropped leaves a gap, and where gaps are
more than a quarter of what lives, the block with most of them is emptied into the one that is written to. So memory
stays near what lives, and no call moves more than a block or, after a larger part, a few.

Slots are handed in as arrays of unsigned 32-bit integers. Ones without a part are passed over.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from ghostwire.errors import ValidationError

cdef enum:
    BLOCK = 1 << 16
    RECORD = 8                   # slot and size before each entry in a block
    LARGEST = 1 << 30
    MOST_SLOTS = 1 << 22
    HEAD = 14                    # a map's key and the head of its value, at most
    NO_BLOCK = 0xFFFFFFFF


cdef uint32_t write_integer(char *out, uint64_t value) noexcept nogil:
    """MessagePack of a non-negative integer, as short as can be; its length."""
    cdef int width, i
    if value < 128:
        out[0] = <char> value
        return 1
    width = 1 if value < 1 << 8 else 2 if value < 1 << 16 else 4 if value < <uint64_t> 1 << 32 else 8
    out[0] = <char> (0xCC if width == 1 else 0xCD if width == 2 else 0xCE if width == 4 else 0xCF)
    for i in range(width):
        out[1 + i] = <char> (value >> (8 * (width - 1 - i)) & 0xFF)
    return 1 + width


cdef uint32_t write_length(char *out, uint64_t value, int width, int mark) noexcept nogil:
    cdef int i
    out[0] = <char> mark
    for i in range(width):
        out[1 + i] = <char> (value >> (8 * (width - 1 - i)) & 0xFF)
    return 1 + width


cdef uint32_t write_bytes_head(char *out, uint64_t size) noexcept nogil:
    if size < 1 << 8:
        return write_length(out, size, 1, 0xC4)
    return write_length(out, size, 2, 0xC5) if size < 1 << 16 else write_length(out, size, 4, 0xC6)


cdef uint32_t write_map_head(char *out, uint64_t count) noexcept nogil:
    if count < 16:
        out[0] = <char> (0x80 | count)
        return 1
    return write_length(out, count, 2, 0xDE) if count < 1 << 16 else write_length(out, count, 4, 0xDF)


cdef uint64_t read_half(const unsigned char *digest) noexcept nogil:
    cdef uint64_t found = 0
    cdef int i
    for i in range(8):
        found = found << 8 | digest[i]
    return found


@cython.final
cdef class Arena:
    """Parts by slot. `live` is the bytes of all entries, `count` how many, `stamp` the number of the last change.

    `hash` makes the hash of a part of its node's id and the part.
    """

    def __cinit__(self, hash=None):
        self.hash = hash
        self.open = self.spare = -1

    def __dealloc__(self):
        cdef uint32_t block
        for block in range(self.n_blocks):
            free(self.blocks[block].bytes)
        free(self.blocks)
        free(self.entries)

    def __len__(self):
        return self.count

    def __contains__(self, uint32_t slot):
        return self._find(slot) != NULL

    @property
    def footprint(self):
        """Bytes of memory that all of it takes."""
        cdef uint32_t block
        cdef uint64_t found = self.capacity * sizeof(Entry) + self.n_blocks * sizeof(Block)
        for block in range(self.n_blocks):
            if self.blocks[block].bytes != NULL:
                found += self.blocks[block].size
        return found

    # Changes.

    def put(self, uint32_t slot, int64_t id, int64_t owner, bytes part not None, bytes digest=None):
        """Keep a part under the id of its node; whether it is another than before. `owner` 0 is none.

        `digest` is the part's hash, of which the first 16 bytes count; without it `hash` makes one when it is first
        wanted, which it may never be. Raises `ValidationError` for a slot or an id that cannot be, and for a part of
        more than 1 GiB.
        """
        cdef Entry *entry
        cdef char head[HEAD]
        cdef uint32_t key
        cdef char *at
        cdef uint64_t size = PyBytes_GET_SIZE(part)
        if slot >= MOST_SLOTS or id < 0 or size > LARGEST or (
            self.hash is None if digest is None else PyBytes_GET_SIZE(digest) < 16
        ):
            raise ValidationError("a part has a slot below 2^22, an id, at most 1 GiB and a hash")
        entry = self._find(slot)
        if entry != NULL and entry.id == id and entry.owner == owner and entry.size - entry.head == size and (
            memcmp(entry.at + entry.head, PyBytes_AS_STRING(part), size) == 0
        ):
            return False
        if slot >= self.capacity:
            self._grow(slot)
        key = write_integer(head, id)
        key += write_bytes_head(head + key, size)
        at = self._append(slot, key + <uint32_t> size)
        memcpy(at, head, key)
        memcpy(at + key, PyBytes_AS_STRING(part), size)
        self._release(slot)
        entry = self.entries + slot
        self.stamp += 1
        self.count += 1
        entry.at, entry.size, entry.head, entry.block = at, key + <uint32_t> size, key, <uint32_t> self.open
        entry.id, entry.owner, entry.stamp = id, owner, self.stamp
        entry.hashed = 0
        if digest is not None:
            self._take_hash(entry, digest)
        self._clean()
        return True

    def drop(self, uint32_t slot):
        """Forget a part; whether there was one."""
        if self._find(slot) == NULL:
            return False
        self._release(slot)
        self.stamp += 1
        self._clean()
        return True

    # Answers about one slot.

    def part(self, uint32_t slot):
        """The part in a slot, None where there is none."""
        cdef Entry *entry = self._find(slot)
        return None if entry == NULL else PyBytes_FromStringAndSize(entry.at + entry.head, entry.size - entry.head)

    def id(self, uint32_t slot):
        """The id of the node in a slot, 0 where there is none."""
        cdef Entry *entry = self._find(slot)
        return 0 if entry == NULL else entry.id

    def owner(self, uint32_t slot):
        """The owner of the node in a slot, 0 for none."""
        cdef Entry *entry = self._find(slot)
        return 0 if entry == NULL else entry.owner

    # Answers about many.

    def digest(self, const uint32_t[::1] slots):
        """The sum of the hashes of these parts, modulo 2^128."""
        cdef Py_ssize_t i
        cdef uint64_t high = 0, low = 0
        cdef Entry *entry
        for i in range(slots.shape[0]):
            entry = self._find(slots[i])
            if entry != NULL:
                if not entry.hashed:
                    self._make_hash(entry)
                low += entry.low
                high += entry.high + (1 if low < entry.low else 0)
        return (<object> high << 64) | low

    def owners(self, const uint32_t[::1] slots):
        """Who owns any of these."""
        cdef Py_ssize_t i
        cdef Entry *entry
        cdef int64_t last = 0
        found = set()
        for i in range(slots.shape[0]):
            entry = self._find(slots[i])
            if entry != NULL and entry.owner != last and entry.owner != 0:
                last = entry.owner
                found.add(last)
        return found

    def ids(self, const uint32_t[::1] slots):
        """The ids of these, in order of the slots."""
        cdef Py_ssize_t i
        cdef Entry *entry
        found = []
        for i in range(slots.shape[0]):
            entry = self._find(slots[i])
            if entry != NULL:
                found.append(entry.id)
        return found

    def among(self, const uint32_t[::1] slots, ids):
        """Those of these whose id is one of `ids`, a set, in order of the slots."""
        cdef Py_ssize_t i
        cdef Entry *entry
        found = []
        for i in range(slots.shape[0]):
            entry = self._find(slots[i])
            if entry != NULL and entry.id in ids:
                found.append(slots[i])
        return found

    def parts(self, const uint32_t[::1] slots):
        """These parts by id, in order of the slots."""
        cdef Py_ssize_t i
        cdef Entry *entry
        found = {}
        for i in range(slots.shape[0]):
            entry = self._find(slots[i])
            if entry != NULL:
                found[entry.id] = PyBytes_FromStringAndSize(entry.at + entry.head, entry.size - entry.head)
        return found

    def size(self, const uint32_t[::1] slots):
        """The bytes of these parts with their ids, as in a page."""
        cdef Py_ssize_t i
        cdef Entry *entry
        cdef uint64_t found = 0
        for i in range(slots.shape[0]):
            entry = self._find(slots[i])
            if entry != NULL:
                found += entry.size
        return found

    def cut(self, const uint32_t[::1] slots, Py_ssize_t first, uint32_t most, uint64_t room, uint64_t stamp):
        """Where a page ends that begins at index `first` of the slots, and the sum of its parts' hashes modulo 2^128.

        It has the parts that were set up to change `stamp`: at most `most`, and no further one once they take `room`
        bytes. The end is the index after the last slot that was looked at.
        """
        cdef Py_ssize_t i = first
        cdef Entry *entry
        cdef uint64_t size = 0, high = 0, low = 0
        cdef uint32_t count = 0
        if first < 0:
            raise ValidationError("pages begin at an index")
        while i < slots.shape[0] and count < most and size < room:
            entry = self._find(slots[i])
            if entry != NULL and entry.stamp <= stamp:
                count += 1
                size += entry.size
                if not entry.hashed:
                    self._make_hash(entry)
                low += entry.low
                high += entry.high + (1 if low < entry.low else 0)
            i += 1
        return i, (<object> high << 64) | low

    def splice(self, bytes head, const uint32_t[::1] slots, Py_ssize_t first, Py_ssize_t past, uint64_t stamp):
        """`head`, and after it the MessagePack map of ids to parts of the slots from index `first` to before `past`.

        Left out are parts that were set after change `stamp`.
        """
        cdef Py_ssize_t i
        cdef Entry *entry
        cdef uint64_t size = PyBytes_GET_SIZE(head)
        cdef uint32_t count = 0, start_size
        cdef char start[HEAD]
        cdef char *out
        if not 0 <= first <= past <= slots.shape[0]:
            raise ValidationError("a page lies within its slots")
        for i in range(first, past):
            entry = self._find(slots[i])
            if entry != NULL and entry.stamp <= stamp:
                count += 1
                size += entry.size
        start_size = write_map_head(start, count)
        page = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> (start_size + size))
        out = PyBytes_AS_STRING(page)
        memcpy(out, PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
        out += PyBytes_GET_SIZE(head)
        memcpy(out, start, start_size)
        out += start_size
        for i in range(first, past):
            entry = self._find(slots[i])
            if entry != NULL and entry.stamp <= stamp:
                memcpy(out, entry.at, entry.size)
                out += entry.size
        return page

    cdef int _make_hash(self, Entry *entry) except -1:
        part = PyBytes_FromStringAndSize(entry.at + entry.head, entry.size - entry.head)
        return self._take_hash(entry, self.hash(entry.id, part))

    cdef int _take_hash(self, Entry *entry, bytes digest) except -1:
        if digest is None or PyBytes_GET_SIZE(digest) < 16:
            raise ValidationError("a hash has 16 bytes or more")
        entry.high = read_half(<const unsigned char *> PyBytes_AS_STRING(digest))
        entry.low = read_half(<const unsigned char *> PyBytes_AS_STRING(digest) + 8)
        entry.hashed = 1
        return 0

    # Memory.

    cdef Entry *_find(self, uint32_t slot) noexcept nogil:
        cdef Entry *entry = self.entries + slot
        return NULL if slot >= self.capacity or entry.at == NULL else entry

    cdef int _grow(self, uint32_t slot) except -1:
        cdef uint32_t capacity = max(slot + 1, self.capacity + self.capacity // 4 + 64)
        cdef Entry *grown = <Entry *> realloc(self.entries, capacity * sizeof(Entry))
        if grown == NULL:
            raise MemoryError()
        memset(grown + self.capacity, 0, (capacity - self.capacity) * sizeof(Entry))
        self.entries, self.capacity = grown, capacity
        return 0

    cdef int _open(self, uint32_t size) except -1:
        """Begin a block in which a record of this size has room."""
        cdef uint32_t number
        cdef Block *grown
        cdef char *memory = <char *> malloc(max(<uint32_t> BLOCK, size))
        if memory == NULL:
            raise MemoryError()
        if self.spare >= 0:
            number = <uint32_t> self.spare
            self.spare = <int64_t> self.blocks[number].size - 1
        else:
            grown = <Block *> realloc(self.blocks, (self.n_blocks + 1) * sizeof(Block))
            if grown == NULL:
                free(memory)
                raise MemoryError()
            self.blocks = grown
            number = self.n_blocks
            self.n_blocks += 1
        self.blocks[number] = Block(memory, max(<uint32_t> BLOCK, size), 0, 0)
        if self.open >= 0 and self.blocks[self.open].live == 0:
            self._free(<uint32_t> self.open)
        self.open = number
        return 0

    cdef char *_append(self, uint32_t slot, uint32_t size) except NULL:
        """Room for an entry at the end of the open block."""
        cdef Block *block
        cdef uint32_t taken = RECORD + size
        cdef char *at
        if self.open < 0 or self.blocks[self.open].size - self.blocks[self.open].used < taken:
            self._open(taken)
        block = self.blocks + self.open
        at = block.bytes + block.used
        memcpy(at, &slot, 4)
        memcpy(at + 4, &size, 4)
        block.used += taken
        block.live += taken
        self.used += taken
        self.live += taken
        return at + RECORD

    cdef void _release(self, uint32_t slot) noexcept:
        """Forget the entry of a slot, if it has one."""
        cdef Entry *entry = self._find(slot)
        cdef Block *block
        if entry == NULL:
            return
        block = self.blocks + entry.block
        block.live -= RECORD + entry.size
        self.live -= RECORD + entry.size
        self.count -= 1
        entry.at = NULL
        if block.live == 0 and entry.block != self.open:
            self._free(entry.block)

    cdef void _free(self, uint32_t number) noexcept:
        cdef Block *block = self.blocks + number
        free(block.bytes)
        block.bytes = NULL
        self.used -= block.used
        block.size = <uint32_t> (self.spare + 1)
        self.spare = number

    cdef int _clean(self) except -1:
        """Empty blocks with gaps until gaps are few."""
        cdef uint32_t number, worst, at, slot, size
        cdef uint32_t gaps
        cdef Block *block
        cdef Entry *entry
        cdef char *fresh
        while self.used - self.live > self.live // 4 + 2 * BLOCK:
            worst, gaps = NO_BLOCK, 0
            for number in range(self.n_blocks):
                block = self.blocks + number
                if block.bytes != NULL and number != self.open and block.used - block.live > gaps:
                    worst, gaps = number, block.used - block.live
            if worst == NO_BLOCK:
                return 0
            at = 0
            while self.blocks[worst].bytes != NULL and at < self.blocks[worst].used:
                memcpy(&slot, self.blocks[worst].bytes + at, 4)
                memcpy(&size, self.blocks[worst].bytes + at + 4, 4)
                at += RECORD
                entry = self._find(slot)
                if entry != NULL and entry.at == self.blocks[worst].bytes + at:
                    fresh = self._append(slot, size)
                    memcpy(fresh, entry.at, size)
                    entry.at, entry.block = fresh, <uint32_t> self.open
                    self.blocks[worst].live -= RECORD + size
                    self.live -= RECORD + size
                at += size
            if self.blocks[worst].bytes != NULL and self.blocks[worst].live == 0:
                self._free(worst)
        return 0

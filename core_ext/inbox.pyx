"""What a client that stands for thousands of nodes does with each message: frames, the map's digest, and the time.

A process of the load client is told of one change again and again, once for each node that sees it. A `Change` is read
once, by the code that agents have; each `Inbox` then finds its frame, applies it to a `HeldMap` and counts how late it
came. A held map keeps hashes in place of parts: that is all its digest needs.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.stdlib cimport free as release_memory, malloc, realloc
from libc.string cimport memcmp, memmove

from ghostwire.errors import WireError

cdef enum:
    BINARY = 0x82


cdef sum128 number_of(bytes value) except? 0:
    """Sixteen bytes, big-endian."""
    cdef const unsigned char *raw = <const unsigned char *> PyBytes_AS_STRING(value)
    cdef sum128 found = 0
    cdef int place
    if PyBytes_GET_SIZE(value) != 16:
        raise ValueError("a part's hash has 16 bytes")
    for place in range(16):
        found = (found << 8) | raw[place]
    return found


cdef bytes bytes_of(sum128 number):
    """The other way round."""
    cdef unsigned char raw[16]
    cdef int place
    for place in range(15, -1, -1):
        raw[place] = <unsigned char> (number & 255)
        number >>= 8
    return PyBytes_FromStringAndSize(<char *> raw, 16)


@cython.final
cdef class HeldMap:
    """The parts of one node's map by number, as hashes; never one that is numbered `own`.

    `told` counts the changes that came, `position` is free.
    """

    def __dealloc__(self):
        release_memory(self.parts)

    def __len__(self):
        return self.count

    @property
    def digest(self):
        """The sum of all hashes modulo 2**128, as 16 bytes, big-endian."""
        return bytes_of(self.total)

    def items(self):
        """Number and hash of each part, in order of the numbers."""
        return [(self.parts[place].key, bytes_of(self.parts[place].value)) for place in range(self.count)]

    def clear(self):
        """Hold nothing."""
        self.count = 0
        self.total = 0

    def apply(self, Change change not None):
        """Drop what the change says is gone and take its parts but for `own`; the position is the change's."""
        cdef Py_ssize_t place
        for place in range(change.sets, change.count):
            self.drop(change.parts[place].key)
        for place in range(change.sets):
            if change.parts[place].key != self.own:
                self.put(change.parts[place])
        self.position = change.position

    cdef Py_ssize_t place_of(self, uint64_t key) noexcept nogil:
        """Where the part is, or would be."""
        cdef Py_ssize_t low = 0, high = self.count, middle
        while low < high:
            middle = (low + high) >> 1
            if self.parts[middle].key < key:
                low = middle + 1
            else:
                high = middle
        return low

    cdef int put(self, Part part) except -1:
        cdef Py_ssize_t place = self.place_of(part.key)
        cdef Part *grown
        if place < self.count and self.parts[place].key == part.key:
            self.total -= self.parts[place].value
        else:
            if self.count == self.room:
                self.room = max(8, self.room + self.room // 4)
                grown = <Part *> realloc(self.parts, self.room * sizeof(Part))
                if grown is NULL:
                    raise MemoryError
                self.parts = grown
            memmove(&self.parts[place + 1], &self.parts[place], (self.count - place) * sizeof(Part))
            self.count += 1
        self.parts[place] = part
        self.total += part.value
        return 0

    cdef void drop(self, uint64_t key) noexcept:
        cdef Py_ssize_t place = self.place_of(key)
        if place < self.count and self.parts[place].key == key:
            self.total -= self.parts[place].value
            self.count -= 1
            memmove(&self.parts[place], &self.parts[place + 1], (self.count - place) * sizeof(Part))


@cython.final
cdef class Change:
    """A change of a map as hashes: parts by number that are set, numbers that are gone.

    `moments` are when what it tells of was due, monotonic seconds. Raises ValueError for a hash that has not 16 bytes.
    """

    def __cinit__(self, position, list parts not None, list gone not None, list moments not None):
        cdef Py_ssize_t place
        self.position = position
        self.sets, self.count = len(parts), len(parts) + len(gone)
        self.stamped = len(moments)
        self.parts = <Part *> malloc(max(self.count, 1) * sizeof(Part))
        self.moments = <double *> malloc(max(self.stamped, 1) * sizeof(double))
        if self.parts is NULL or self.moments is NULL:
            raise MemoryError
        for place, (key, value) in enumerate(parts):
            self.parts[place].key = key
            self.parts[place].value = number_of(value)
        for place, key in enumerate(gone):
            self.parts[self.sets + place].key = key
            self.parts[self.sets + place].value = 0
        for place, moment in enumerate(moments):
            self.moments[place] = moment

    def __dealloc__(self):
        release_memory(self.parts)
        release_memory(self.moments)


@cython.final
cdef class Broadcasts:
    """What all inboxes of a process share: how a change is known and read, and what is counted.

    A message may be a change if `mark` follows its first byte, or if that byte is `packed`; `read` makes a `Change` of
    it, or None where it is something else. Moments before `since` do not count: they were told before. `count` and
    `last_at` are of deliveries, one a node and change.
    """

    def __cinit__(self, read, bytes mark not None, unsigned char packed, Histogram latencies not None):
        self.read, self.mark, self.packed, self.latencies = read, mark, packed, latencies


@cython.final
cdef class Frames:
    """WebSocket frames of a server out of the bytes of a connection. More than `limit` bytes in one are refused."""

    def __cinit__(self, uint64_t limit):
        self.limit = limit
        self.rest = b""

    def feed(self, bytes data not None):
        """First byte and payload of each frame that is whole now.

        Raises WireError for a frame that is masked or too long.
        """
        return self.cut(data)

    cdef list cut(self, bytes data):
        cdef bytes buffer = self.rest + data if self.rest else data
        cdef const unsigned char *raw = <const unsigned char *> PyBytes_AS_STRING(buffer)
        cdef Py_ssize_t have = PyBytes_GET_SIZE(buffer), begin = 0, start
        cdef uint64_t size
        cdef int place
        cdef list found = []
        while have - begin >= 2:
            size, start = raw[begin + 1], begin + 2
            if size > 127:
                raise WireError("a server does not mask its frames")
            if size >= 126:
                start += 2 if size == 126 else 8
                if have < start:
                    break
                size = 0
                for place in range(begin + 2, start):
                    size = (size << 8) | raw[place]
            if size > self.limit:
                raise WireError(f"a frame of {size} bytes came: no node takes that")
            if <uint64_t> (have - start) < size:
                break
            found.append((raw[begin], PyBytes_FromStringAndSize(<const char *> raw + start, <Py_ssize_t> size)))
            begin = start + <Py_ssize_t> size
        self.rest = buffer[begin:] if begin < have else b""
        return found


@cython.final
cdef class Inbox:
    """One connection's incoming bytes, after its upgrade.

    While `live`, changes are applied to `held` and counted here; every other frame is the caller's.
    """

    def __cinit__(self, Broadcasts broadcasts not None, HeldMap held not None, uint64_t limit):
        self.broadcasts, self.held = broadcasts, held
        self.frames = Frames(limit)

    def feed(self, bytes data not None, double at):
        """First byte and payload of each frame that is whole now and the caller's; `at` is when they came.

        Raises WireError for what `Frames` refuses, and what `read` raises.
        """
        cdef list found = self.frames.cut(data)
        if not self.live:
            return found
        cdef list left = []
        cdef int first
        for first, payload in found:
            if first != BINARY or not self.may_be_change(payload) or not self.take(payload, at):
                left.append((first, payload))
        return left

    cdef bint may_be_change(self, bytes payload) noexcept:
        cdef Broadcasts shared = self.broadcasts
        cdef const char *raw = PyBytes_AS_STRING(payload)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(shared.mark), have = PyBytes_GET_SIZE(payload)
        if have and <unsigned char> raw[0] == shared.packed:
            return True
        return have > size and memcmp(raw + 1, PyBytes_AS_STRING(shared.mark), size) == 0

    cdef int take(self, bytes payload, double at) except -1:
        """Apply and count what is a change; 0 where it is none."""
        cdef Broadcasts shared = self.broadcasts
        cdef Change change = shared.read(payload)
        cdef Py_ssize_t place
        if change is None:
            return 0
        self.held.apply(change)
        self.held.told += 1
        shared.count += 1
        shared.last_at = at
        for place in range(change.stamped):
            if change.moments[place] >= shared.since:
                shared.latencies.record(at - change.moments[place])
        return 1

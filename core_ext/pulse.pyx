"""The usual sign of life, answered out of tables: nothing to report, and a map that needs no word.

A worker of 12,500 nodes hears 400 a second, with other work between them: what counts is how much code and data one
touches. Whatever is not usual is left to the caller, who goes the general way with it.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memcpy

from core_ext.netmap cimport Arena, Entry

from ghostwire.model.position import Position

cdef enum:
    NAME = 16                    # bytes of a log's name, a run's name, a digest

cdef bytes BEGIN = b"\x83\xa4type\xa9heartbeat\xa8position\x94\xc4\x10"
cdef bytes BOOT = b"\xc4\x10"
cdef bytes DIGEST = b"\xa6digest\xc4\x10"
cdef bytes ACK = b"\x82\x21\x82\xa4type\xadheartbeat.ack\xa3utc\xcf"  # the frame's head, then MessagePack


cdef bint skip(const char **at, const char *end, bytes expected) noexcept:
    """Go past these bytes, if they are what comes."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(expected)
    if end - at[0] < size or memcmp(at[0], PyBytes_AS_STRING(expected), size) != 0:
        return False
    at[0] += size
    return True


cdef bint read_number(const char **at, const char *end, int64_t *number) noexcept:
    """A MessagePack integer of 0 to 2^62, in its shortest form."""
    cdef uint64_t found = 0
    cdef int width, place, kind
    if at[0] >= end:
        return False
    kind = <unsigned char> at[0][0]
    at[0] += 1
    if kind < 0x80:
        number[0] = kind
        return True
    if kind < 0xCC or kind > 0xCF:
        return False
    width = 1 << (kind - 0xCC)   # a byte from 2^7 on, and twice as many from 2^8, 2^16 and 2^32 on
    if end - at[0] < width:
        return False
    for place in range(width):
        found = found << 8 | <unsigned char> at[0][place]
    at[0] += width
    number[0] = <int64_t> found
    return (<uint64_t> 1 << 4 * width if width > 1 else 0x80) <= found <= <uint64_t> 1 << 62


@cython.final
cdef class Pulse:
    """Where maps stand, as far as the usual sign of life is concerned; nothing is known before `follow`."""

    def follow(self, Arena arena, tuple tables, dict late, running):
        """Compare with this from now on.

        `tables` are by slot: the number of the map's last change, the sum of its position, and rows of a kept digest
        (change, node, 0, and its two halves). `late` has by node which position it was behind with. `running` are log
        and run of the positions that can be compared; the sum from which on all changes of that run are known, and the
        number of its first; and the sum from which on a map need not move to a newer position. None: compare nothing.
        """
        if arena is None or running is None:
            self.arena = None
            return
        if self.tables is None or not (
            tables[0] is self.tables[0] and tables[1] is self.tables[1] and tables[2] is self.tables[2]
        ):
            self.tables = tables
            self.changed, self.reached, self.digests = tables
        self.late = late
        self.log, self.boot, self.base, self.first, self.near = running
        self.arena = arena

    def answer(self, bytes message not None, int64_t node, Py_ssize_t slot, uint64_t utc):
        """The frame that answers a sign of life of a node, given at `utc` ns; None where it is no usual one.

        Usual is a heartbeat that says nothing but position and digest, of a map that is right as it is or, for the
        first time, behind with what is on its way.
        """
        cdef Held held
        cdef Entry *entry
        cdef int64_t sum
        if self.arena is None or utc >> 32 == 0 or not self.read(message, &held):
            return None
        if slot >= self.changed.shape[0] or slot >= self.reached.shape[0]:
            return None
        entry = self.arena._find(<unsigned int> slot)
        if entry == NULL or entry.id != node:
            return None
        sum = held.seq + held.vseq
        if sum < self.base:
            return None
        if self.changed[slot] < self.first or self.reached[slot] <= sum:
            if sum < self.near or not self.is_digest(slot, held.digest):
                return None
            self.late.pop(node, None)
            return acknowledged(utc)
        position = Position(self.log, held.seq, self.boot, held.vseq)
        if self.late.get(node) == position:
            return None
        self.late[node] = position
        return acknowledged(utc)

    cdef bint read(self, bytes message, Held *held) noexcept:
        """Whether it is a heartbeat of position and digest alone, with a position of the run that is under way."""
        cdef const char *at = PyBytes_AS_STRING(message)
        cdef const char *end = at + PyBytes_GET_SIZE(message)
        if not (skip(&at, end, BEGIN) and skip(&at, end, self.log) and read_number(&at, end, &held.seq)):
            return False
        if not (skip(&at, end, BOOT) and skip(&at, end, self.boot) and read_number(&at, end, &held.vseq)):
            return False
        if not skip(&at, end, DIGEST) or end - at != NAME:
            return False
        held.digest = at
        return True

    cdef bint is_digest(self, Py_ssize_t slot, const char *digest) noexcept:
        """Whether the kept digest of the map as it is equals this one."""
        cdef uint64_t high = 0, low = 0
        cdef int place
        if slot >= self.digests.shape[0] or self.digests[slot, 0] != <uint64_t> self.changed[slot]:
            return False
        if self.digests[slot, 1] != <uint64_t> self.arena._find(<unsigned int> slot).id or self.digests[slot, 2] != 0:
            return False
        for place in range(8):
            high = high << 8 | <unsigned char> digest[place]
            low = low << 8 | <unsigned char> digest[place + 8]
        return self.digests[slot, 3] == high and self.digests[slot, 4] == low


cdef bytes acknowledged(uint64_t utc):
    """The frame of a `heartbeat.ack` without a position."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(ACK)
    cdef bytes found = PyBytes_FromStringAndSize(NULL, size + 8)
    cdef unsigned char *out = <unsigned char *> PyBytes_AS_STRING(found)
    cdef int place
    memcpy(out, PyBytes_AS_STRING(ACK), size)
    for place in range(8):
        out[size + place] = <unsigned char> (utc >> (56 - 8 * place) & 0xFF)
    return found

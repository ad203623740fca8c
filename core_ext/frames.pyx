"""WebSocket frames (RFC 6455) as a server reads and writes them: no extensions, binary messages only.

Opcodes are plain numbers here (section 5.2).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from ghostwire.errors import ResourceExhaustedError, WireError

cdef enum:
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PONG = 0xA
    FINAL = 0x80
    RESERVED = 0x70
    MASKED = 0x80
    MOST_CONTROL = 125           # bytes that the payload of a control frame may have (section 5.5)


def frame(bytes payload not None, int opcode=BINARY):
    """One unmasked, final frame."""
    cdef uint64_t size = PyBytes_GET_SIZE(payload)
    cdef int width = 0 if size < 126 else 2 if size < 1 << 16 else 8, i
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, 2 + width + <Py_ssize_t> size)
    cdef unsigned char *out = <unsigned char *> PyBytes_AS_STRING(whole)
    out[0] = <unsigned char> (FINAL | opcode)
    out[1] = <unsigned char> (size if width == 0 else 126 if width == 2 else 127)
    for i in range(width):
        out[2 + i] = <unsigned char> (size >> (8 * (width - 1 - i)) & 0xFF)
    memcpy(out + 2 + width, PyBytes_AS_STRING(payload), size)
    return whole


cdef bytes unmasked(const unsigned char *masked, uint64_t size, const unsigned char *mask):
    """A payload without the client's masking (section 5.3)."""
    cdef bytes payload = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> size)
    cdef unsigned char *out = <unsigned char *> PyBytes_AS_STRING(payload)
    cdef unsigned char twice[8]
    cdef uint64_t pad, word, i, whole = size & ~<uint64_t> 7
    memcpy(twice, mask, 4)
    memcpy(twice + 4, mask, 4)
    memcpy(&pad, twice, 8)
    for i in range(0, whole, 8):
        memcpy(&word, masked + i, 8)
        word ^= pad
        memcpy(out + i, &word, 8)
    for i in range(whole, size):
        out[i] = masked[i] ^ mask[i & 3]
    return payload


@cython.final
cdef class Reader:
    """Bytes in, messages and control frames out. It holds at most one message of `limit` bytes and one frame head."""

    def __cinit__(self, uint64_t limit):
        self.limit = limit
        self.buffer = b""

    def feed(self, bytes data not None):
        """Take bytes from the connection; `poll` reads them."""
        self.buffer = self.buffer[self.at:] + data if self.at < PyBytes_GET_SIZE(self.buffer) else data
        self.at = 0

    def whole(self, bytes data not None):
        """The binary message that these bytes are, where nothing came before that waits; else None, and `feed` is next.

        What most connections bring each time.
        """
        cdef const unsigned char *raw = <const unsigned char *> PyBytes_AS_STRING(data)
        cdef Py_ssize_t have = PyBytes_GET_SIZE(data), start
        cdef uint64_t size
        if have < 6 or PyBytes_GET_SIZE(self.buffer) or self.message is not None or raw[0] != FINAL | BINARY:
            return None
        if raw[1] < MASKED or raw[1] > MASKED + 126:
            return None
        size, start = raw[1] & 0x7F, 2
        if size == 126:
            size, start = raw[2] << 8 | raw[3], 4
        if size > self.limit or have != start + 4 + <Py_ssize_t> size:
            return None
        return unmasked(raw + start + 4, size, raw + start)

    def poll(self):
        """Opcode and payload of the next whole message (binary) or control frame; None until more bytes have come.

        Raises `WireError` for what the protocol forbids and `ResourceExhaustedError` for what is too long.
        """
        cdef bytes payload
        cdef int opcode
        while (payload := self.next()) is not None:
            opcode = self.first & 0x0F
            if opcode >= CLOSE:
                return opcode, payload
            if opcode == CONTINUATION:
                if self.message is None:
                    raise WireError("a continuation came without a message to continue")
                if not payload and not self.first & FINAL:
                    raise WireError("a fragment carries nothing, and more are to come")
                self.message += payload
                if <uint64_t> len(self.message) > self.limit:
                    raise ResourceExhaustedError(f"a message of more than {self.limit} bytes")
                if self.first & FINAL:
                    payload, self.message = bytes(self.message), None
                    return BINARY, payload
            elif self.message is not None:
                raise WireError("a new message began inside another")
            elif self.first & FINAL:
                return BINARY, payload
            else:
                self.message = bytearray(payload)
        return None

    cdef bytes next(self):
        """The payload of the next frame, whose first byte is `first` then; None until it is whole."""
        cdef const unsigned char *raw = <const unsigned char *> PyBytes_AS_STRING(self.buffer) + self.at
        cdef Py_ssize_t have = PyBytes_GET_SIZE(self.buffer) - self.at, start = 2, i
        cdef uint64_t size
        cdef bytes payload
        if have < 2:
            return None
        self.check(raw[0], raw[1])
        size = raw[1] & 0x7F
        if size >= 126:
            start += 2 if size == 126 else 8
            if have < start:
                return None
            size = 0
            for i in range(2, start):
                size = size << 8 | raw[i]
        if size > self.limit:
            raise ResourceExhaustedError(f"a frame of {size} bytes: at most {self.limit} are taken")
        if have < start + 4 or <uint64_t> (have - start - 4) < size:
            return None
        self.first = raw[0]
        payload = unmasked(raw + start + 4, size, raw + start)
        self.at += start + 4 + <Py_ssize_t> size
        if self.at == PyBytes_GET_SIZE(self.buffer):
            self.buffer, self.at = b"", 0
        return payload

    cdef int check(self, int first, int second) except -1:
        """Refuse a head that a client may not send."""
        cdef int opcode = first & 0x0F
        if first & RESERVED:
            raise WireError("reserved bits are set, and no extension was agreed on")
        if BINARY < opcode < CLOSE or opcode > PONG:
            raise WireError(f"opcode {opcode} is reserved")
        if opcode == TEXT:
            raise WireError("messages are binary here")
        if not second & MASKED:
            raise WireError("a client masks its frames")
        if opcode >= CLOSE and (not first & FINAL or (second & 0x7F) > MOST_CONTROL):
            raise WireError("a control frame is short and in one piece")
        return 0

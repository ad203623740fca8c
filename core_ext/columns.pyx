"""The parts of many peers field by field, and back: what MessagePack maps with text for keys hold, one column a key.

Parts with the same keys in the same order have one shape. A column of 32-byte strings loses their heads, a column of
integers becomes their differences, any other one is an array of the values as they were encoded.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

from ghostwire.errors import WireError

cdef enum:
    AS_THEY_ARE = 0
    DIFFERENCES = 1
    KEYS = 2
    KEY_BYTES = 32
    MOST_SHAPES = 256
    MOST_COLUMNS = 256
    MOST_DEPTH = 32

cdef int64_t WIDEST = (<int64_t> 1) << 61     # integers beyond it are not subtracted from each other


cdef object broken():
    return WireError("a part is no MessagePack map with text for keys")


cdef object unlike():
    return WireError("a page of columns is not what its shapes say")


@cython.final
cdef class Column:
    """The values of one key: as they were encoded, and their differences while all of them are integers."""

    def __cinit__(self, bytes key not None):
        self.key = key
        self.all_keys = self.all_numbers = True

    def __dealloc__(self):
        free(self.plain.at)
        free(self.differences.at)

    cdef int take(self, const uint8_t *value, Py_ssize_t size) except -1:
        cdef int64_t number = 0
        self.count += 1
        append(&self.plain, value, size)
        self.all_keys = self.all_keys and size == KEY_BYTES + 2 and value[0] == 0xC4 and value[1] == KEY_BYTES
        if self.all_numbers:
            self.all_numbers = read_integer(value, size, &number)
            if self.all_numbers:
                write_integer(&self.differences, number - self.last)
                self.last = number
        return 0

    cdef tuple gathered(self):
        """Kind and data, which is not compressed yet."""
        cdef bytes data
        cdef char *out
        cdef uint8_t *value = self.plain.at + 2
        if self.all_keys:
            data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> self.count * KEY_BYTES)
            out = PyBytes_AS_STRING(data)
            for _ in range(self.count):
                memcpy(out, value, KEY_BYTES)
                out += KEY_BYTES
                value += KEY_BYTES + 2
            return KEYS, data
        if self.all_numbers:
            return DIFFERENCES, array_of(self.count, &self.differences)
        return AS_THEY_ARE, array_of(self.count, &self.plain)


cdef bytes array_of(uint32_t count, const Buffer *values):
    """A MessagePack array of values that are encoded already."""
    cdef uint8_t head[5]
    cdef int width = 1 if count < 16 else 3 if count < 1 << 16 else 5, i
    cdef bytes found = PyBytes_FromStringAndSize(NULL, width + values.size)
    cdef char *out = PyBytes_AS_STRING(found)
    head[0] = <uint8_t> (0x90 | count if width == 1 else 0xDC if width == 3 else 0xDD)
    for i in range(1, width):
        head[i] = <uint8_t> (count >> (8 * (width - 1 - i)) & 0xFF)
    memcpy(out, head, width)
    memcpy(out + width, values.at, values.size)
    return found


cdef int append(Buffer *buffer, const uint8_t *data, Py_ssize_t size) except -1:
    cdef uint8_t *grown
    if buffer.size + size > buffer.room:
        grown = <uint8_t *> realloc(buffer.at, 2 * (buffer.size + size))
        if grown == NULL:
            raise MemoryError()
        buffer.at, buffer.room = grown, 2 * (buffer.size + size)
    memcpy(buffer.at + buffer.size, data, size)
    buffer.size += size
    return 0


cdef uint64_t read_number(const uint8_t *raw, int width) noexcept nogil:
    cdef uint64_t found = 0
    cdef int i
    for i in range(width):
        found = found << 8 | raw[i]
    return found


cdef bint read_integer(const uint8_t *raw, Py_ssize_t size, int64_t *number) noexcept nogil:
    """Whether a value is an integer, not too large, in as few bytes as it can be."""
    cdef uint8_t first = raw[0]
    cdef int width
    cdef uint64_t found
    if first < 0x80:
        number[0] = first
        return True
    if first >= 0xE0:
        number[0] = <int64_t> first - 256
        return True
    if not 0xCC <= first <= 0xD3:
        return False
    width = 1 << ((first - 0xCC) & 3)
    found = read_number(raw + 1, width)
    if first <= 0xCF:
        number[0] = <int64_t> found
        return found < <uint64_t> WIDEST and (found >= 128 if width == 1 else found >> (4 * width) != 0)
    # As many bytes as the number has: the sign stands in the highest bit.
    number[0] = <int64_t> (found << (64 - 8 * width)) >> (64 - 8 * width)
    if number[0] < -WIDEST or number[0] >= 0:
        return False
    return number[0] < (-32 if width == 1 else -128 if width == 2 else -32768 if width == 4 else -2147483648)


cdef int power(int width) noexcept nogil:
    """Which power of two it is."""
    return 0 if width == 1 else 1 if width == 2 else 2 if width == 4 else 3


cdef int write_integer(Buffer *buffer, int64_t value) except -1:
    """An integer in as few bytes as it can be."""
    cdef uint8_t out[9]
    cdef int width = 0, i
    if value >= 0:
        width = 0 if value < 128 else 1 if value < 1 << 8 else 2 if value < 1 << 16 else 4
        if value >= <int64_t> 1 << 32:
            width = 8
        out[0] = <uint8_t> (value if width == 0 else 0xCC + power(width))
    else:
        width = 0 if value >= -32 else 1 if value >= -128 else 2 if value >= -32768 else 4
        if value < -2147483648:
            width = 8
        out[0] = <uint8_t> (value & 0xFF if width == 0 else 0xD0 + power(width))
    for i in range(width):
        out[1 + i] = <uint8_t> ((<uint64_t> value) >> (8 * (width - 1 - i)) & 0xFF)
    return append(buffer, out, 1 + width)


cdef Py_ssize_t past(const uint8_t *raw, Py_ssize_t at, Py_ssize_t end, int depth) except -1:
    """Where the value that begins at `at` ends."""
    cdef uint8_t first
    cdef int width
    cdef uint64_t size
    if at >= end or depth > MOST_DEPTH:
        raise broken()
    first = raw[at]
    at += 1
    if first < 0x80 or first >= 0xE0 or first in (0xC0, 0xC2, 0xC3):
        return at
    if first < 0xA0:
        return past_many(raw, at, end, (first & 0x0F) * (2 if first < 0x90 else 1), depth)
    if first < 0xC0:
        size = first & 0x1F
    elif 0xCA <= first <= 0xCB:
        size = 4 if first == 0xCA else 8
    elif 0xCC <= first <= 0xD3:
        size = <uint64_t> 1 << ((first - 0xCC) & 3)
    elif 0xD4 <= first <= 0xD8:
        size = 1 + (<uint64_t> 1 << (first - 0xD4))
    elif first == 0xC1:
        raise broken()
    else:
        if first <= 0xC9:
            width = 1 << ((first - 0xC4) % 3)
        elif first <= 0xDB:
            width = 1 << (first - 0xD9)
        else:
            width = 2 if first in (0xDC, 0xDE) else 4
        if end - at < width:
            raise broken()
        size = read_number(raw + at, width)
        at += width
        if first >= 0xDC:
            return past_many(raw, at, end, size * (2 if first >= 0xDE else 1), depth)
        if 0xC7 <= first <= 0xC9:
            size += 1
    if <uint64_t> (end - at) < size:
        raise broken()
    return at + <Py_ssize_t> size


cdef Py_ssize_t past_many(const uint8_t *raw, Py_ssize_t at, Py_ssize_t end, uint64_t count, int depth) except -1:
    if count > <uint64_t> (end - at):
        raise broken()
    for _ in range(count):
        at = past(raw, at, end, depth + 1)
    return at


cdef uint64_t fields_of(const uint8_t *raw, Py_ssize_t *at, Py_ssize_t end) except? 0:
    """How many fields a part has."""
    cdef int width
    if end < 1:
        raise broken()
    at[0] = 1
    if 0x80 <= raw[0] < 0x90:
        return raw[0] & 0x0F
    if raw[0] != 0xDE and raw[0] != 0xDF:
        raise broken()
    width = 2 if raw[0] == 0xDE else 4
    if end < 1 + width:
        raise broken()
    at[0] = 1 + width
    return read_number(raw + 1, width)


cdef Py_ssize_t past_key(const uint8_t *raw, Py_ssize_t at, Py_ssize_t end) except -1:
    """Where a key ends, which is text of at most 255 bytes."""
    if at >= end or not (0xA0 <= raw[at] < 0xC0 or raw[at] == 0xD9):
        raise broken()
    return past(raw, at, end, 0)


def gather(parts):
    """The keys of each shape, a byte with its shape's number for each part, and kind and data of each column by key.

    None where the parts have more than 256 shapes, or more than 256 keys. Raises `WireError` for what is no part.
    """
    cdef list columns = [], shapes = []
    cdef dict by_key = {}, by_shape = {}
    cdef bytearray peers = bytearray()
    cdef bytes part, name
    cdef const uint8_t *raw
    cdef Py_ssize_t at, end, key
    cdef uint8_t shape[MOST_COLUMNS]
    cdef uint8_t last[MOST_COLUMNS]
    cdef uint64_t count, i, held = MOST_COLUMNS + 1
    cdef int number = 0
    cdef Column column
    for part in parts:
        raw, at, end = <const uint8_t *> PyBytes_AS_STRING(part), 0, PyBytes_GET_SIZE(part)
        count = fields_of(raw, &at, end)
        if count > MOST_COLUMNS:
            return None
        for i in range(count):
            key, at = at, past_key(raw, at, end)
            column = None
            if i < held <= MOST_COLUMNS:
                column = <Column> columns[last[i]]
                name = column.key
                if PyBytes_GET_SIZE(name) != at - key or memcmp(PyBytes_AS_STRING(name), raw + key, at - key):
                    column = None
            if column is None:
                name = PyBytes_FromStringAndSize(<const char *> raw + key, at - key)
                column = by_key.get(name)
                if column is None:
                    if len(columns) == MOST_COLUMNS:
                        return None
                    column = by_key[name] = Column(name)
                    column.place = <uint8_t> len(columns)
                    columns.append(column)
            shape[i] = column.place
            key, at = at, past(raw, at, end, 0)
            column.take(raw + key, at - key)
        if at != end:
            raise broken()
        if held != count or memcmp(shape, last, count):
            name = PyBytes_FromStringAndSize(<const char *> shape, <Py_ssize_t> count)
            number = by_shape.setdefault(name, len(shapes))
            if number == MOST_SHAPES:
                return None
            if number == len(shapes):
                words = tuple([text(<Column> columns[shape[i]]) for i in range(count)])
                if len(set(words)) != len(words):
                    raise broken()
                shapes.append(words)
            memcpy(last, shape, count)
            held = count
        peers.append(number)
    return shapes, bytes(peers), {text(column): column.gathered() for column in columns}


cdef str text(Column column):
    try:
        return column.key[2 if column.key[0] == 0xD9 else 1:].decode()
    except UnicodeDecodeError:
        raise broken() from None


@cython.final
cdef class Values:
    """A column as it is read: one value after the other, in the bytes that it has in its part."""

    def __cinit__(self, str key not None, int kind, bytes data not None):
        cdef bytes text = key.encode()
        self.key = text_head(PyBytes_GET_SIZE(text)) + text
        self.kind, self.data = kind, data
        self.raw, self.end = <const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
        if kind == KEYS:
            self.left = self.end // KEY_BYTES
            if self.end % KEY_BYTES:
                raise WireError("a column of keys ends within one")
        elif kind == DIFFERENCES or kind == AS_THEY_ARE:
            self.left = self.counted()
        else:
            raise WireError(f"there are no columns of kind {kind}")

    cdef uint64_t counted(self) except? 0:
        """How many values the array has whose head stands here."""
        cdef uint8_t first = self.raw[0] if self.end else 0
        cdef int width = 2 if first == 0xDC else 4 if first == 0xDD else 0
        self.at = 1 + width
        if self.at > self.end or not (width or 0x90 <= first < 0xA0):
            raise unlike()
        return read_number(self.raw + 1, width) if width else first & 0x0F

    cdef int hand(self, Buffer *out) except -1:
        """Append the next value."""
        cdef Py_ssize_t begin = self.at
        cdef uint8_t head[2]
        cdef int64_t step = 0
        if not self.left:
            raise unlike()
        self.left -= 1
        if self.kind == KEYS:
            head[0], head[1] = 0xC4, KEY_BYTES
            append(out, head, 2)
            self.at += KEY_BYTES
            return append(out, self.raw + begin, KEY_BYTES)
        self.at = past(self.raw, begin, self.end, 0)
        if self.kind == AS_THEY_ARE:
            return append(out, self.raw + begin, self.at - begin)
        if read_any_integer(self.raw + begin, &step):
            self.last += step
        elif self.raw[begin] == 0xCF:
            self.last += read_number(self.raw + begin + 1, 8)
        else:
            raise unlike()
        return write_wide(out, self.last)

    cdef bint over(self) noexcept:
        """Whether every value was read, and nothing stands behind the last one."""
        return not self.left and self.at == self.end


cdef bytes text_head(Py_ssize_t size):
    """What stands before text of so many bytes."""
    if size < 32:
        return bytes([0xA0 | size])
    if size < 1 << 8:
        return bytes([0xD9, size])
    return b"\xda" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xdb" + size.to_bytes(4, "big")


cdef object identity_of(const uint8_t *raw):
    """The id that a whole value is."""
    cdef int64_t number = 0
    if read_any_integer(raw, &number):
        return number
    if raw[0] == 0xCF:
        return read_number(raw + 1, 8)
    raise unlike()


cdef int write_wide(Buffer *out, int128 value) except -1:
    """An integer with or without a sign, in as few bytes as it can be; refused where 64 bits do not hold it."""
    cdef uint8_t raw[9]
    cdef uint64_t number = <uint64_t> value
    cdef int i
    if value >> 63 == 0 or value >> 63 == -1:
        return write_integer(out, <int64_t> value)
    if value >> 63 != 1:
        raise unlike()
    raw[0] = 0xCF
    for i in range(8):
        raw[1 + i] = <uint8_t> (number >> (56 - 8 * i) & 0xFF)
    return append(out, raw, 9)


cdef bint read_any_integer(const uint8_t *raw, int64_t *number) noexcept nogil:
    """Whether a whole value is an integer that 64 bits with a sign hold, in however many bytes."""
    cdef uint8_t first = raw[0]
    cdef int width
    cdef uint64_t found
    if first < 0x80 or first >= 0xE0:
        number[0] = first if first < 0x80 else <int64_t> first - 256
        return True
    if not 0xCC <= first <= 0xD3:
        return False
    width = 1 << ((first - 0xCC) & 3)
    found = read_number(raw + 1, width)
    if first <= 0xCF:
        number[0] = <int64_t> found
        return number[0] >= 0
    number[0] = <int64_t> (found << (64 - 8 * width)) >> (64 - 8 * width)
    return True


@cython.final
cdef class Shape:
    """The fields of parts that have the same ones in the same order; `identity` is the place of the id among them."""

    def __cinit__(self, tuple keys not None, dict by_key not None):
        cdef Py_ssize_t count = len(keys)
        if count > MOST_COLUMNS or len(set(keys)) != count or "id" not in keys:
            raise unlike()
        self.head = bytes([0x80 | count]) if count < 16 else bytes([0xDE]) + count.to_bytes(2, "big")
        self.identity = keys.index("id")
        try:
            self.fields = [by_key[key] for key in keys]
        except KeyError:
            raise unlike() from None


def scatter(shapes, bytes peers not None, columns, Py_ssize_t most):
    """The parts by the id in each, in order: what `gather` was given.

    Raises `WireError` where columns have other values than the shapes say, or parts more than `most` bytes in all.
    """
    cdef dict by_key = {key: Values(key, kind, data) for key, (kind, data) in columns.items()}
    cdef list known = [None] * len(shapes)
    cdef dict found = {}
    cdef Values values
    cdef Shape shape
    cdef Buffer out
    cdef Py_ssize_t place, begin, size = 0, total = len(shapes)
    cdef object identity = None
    cdef unsigned char number
    out.at, out.size, out.room = NULL, 0, 0
    try:
        for number in peers:
            if number >= total:
                raise unlike()
            if known[number] is None:
                known[number] = Shape(shapes[number], by_key)
            shape = <Shape> known[number]
            out.size = 0
            append(&out, <const uint8_t *> PyBytes_AS_STRING(shape.head), PyBytes_GET_SIZE(shape.head))
            place = 0
            for field in shape.fields:
                values = <Values> field
                append(&out, <const uint8_t *> PyBytes_AS_STRING(values.key), PyBytes_GET_SIZE(values.key))
                begin = out.size
                values.hand(&out)
                if place == shape.identity:
                    identity = identity_of(out.at + begin)
                place += 1
            size += out.size
            if size > most:
                raise WireError(f"a page of columns holds more than {most} bytes of peers")
            found[identity] = PyBytes_FromStringAndSize(<const char *> out.at, out.size)
    finally:
        free(out.at)
    for field in by_key.values():
        if not (<Values> field).over():
            raise WireError("a page of columns has more values than peers")
    return found

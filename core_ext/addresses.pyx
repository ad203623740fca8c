"""Addresses as texts: how a node's are written, and whether an endpoint is written as nearly all are.

A text is the one that RFC 4291 and RFC 5952 give: small letters, no zeros in front, the first longest run of two groups
of zeros or more left out.
"""

from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    static inline const unsigned char *ascii_of(PyObject *text, Py_ssize_t *size) {
        *size = PyUnicode_GET_LENGTH(text);
        return PyUnicode_IS_COMPACT_ASCII(text) ? (const unsigned char *)PyUnicode_DATA(text) : NULL;
    }
    """
    const uint8_t *ascii_of(str text, Py_ssize_t *size)

cdef enum:
    LONGEST4 = 15
    LONGEST6 = 39
    GROUPS = 8


def text4(uint32_t address):
    """An IPv4 address, given as a number."""
    cdef char out[LONGEST4]
    cdef Py_ssize_t size = 0
    cdef int place
    for place in range(4):
        if place:
            out[size] = c"."
            size += 1
        size += write_byte(out + size, address >> (24 - 8 * place) & 255)
    return PyUnicode_DecodeASCII(out, size, NULL)


def text6(uint64_t high, uint64_t low):
    """An IPv6 address, given as the numbers that its halves are."""
    cdef uint16_t groups[GROUPS]
    cdef char out[LONGEST6]
    cdef Py_ssize_t size = 0
    cdef int place, first = 0, count = 1, run = 0
    for place in range(GROUPS):
        groups[place] = <uint16_t> ((high if place < 4 else low) >> (48 - 16 * (place & 3)) & 0xFFFF)
        run = run + 1 if groups[place] == 0 else 0
        if run > count:
            first, count = place - run + 1, run
    if count == 1:
        first = GROUPS
    place = 0
    while place < GROUPS:
        if place == first:
            out[size] = out[size + 1] = c":"
            size += 2
            place += count
            continue
        if place and place != first + count:
            out[size] = c":"
            size += 1
        size += write_group(out + size, groups[place])
        place += 1
    return PyUnicode_DecodeASCII(out, size, NULL)


def is_endpoint4(str text not None):
    """Whether it is an IPv4 address that one host may have, a colon and a port, written in the one way that is kept."""
    cdef Py_ssize_t size, at = 0
    cdef const uint8_t *said = ascii_of(text, &size)
    cdef uint32_t number = 0, address = 0
    cdef int place
    if said == NULL:
        return False
    for place in range(5):
        if not read_number(said, &at, size, 65535 if place == 4 else 255, &number):
            return False
        if place == 4:
            break
        address = address << 8 | number
        if at >= size or said[at] != (c":" if place == 3 else c"."):
            return False
        at += 1
    return at == size and number != 0 and address != 0 and address >> 28 != 14


cdef bint read_number(const uint8_t *text, Py_ssize_t *at, Py_ssize_t end, uint32_t most, uint32_t *number) noexcept:
    """Read a decimal number of at most `most`, without zeros in front."""
    cdef Py_ssize_t first = at[0]
    number[0] = 0
    while at[0] < end and c"0" <= text[at[0]] <= c"9" and number[0] <= most:
        number[0] = 10 * number[0] + text[at[0]] - c"0"
        at[0] += 1
    return at[0] > first and number[0] <= most and (text[first] != c"0" or at[0] == first + 1)


cdef int write_byte(char *out, uint8_t number) noexcept:
    """Decimal; its length."""
    cdef int size = 0
    if number >= 100:
        out[0] = <char> (c"0" + number // 100)
        size = 1
    if number >= 10:
        out[size] = <char> (c"0" + number // 10 % 10)
        size += 1
    out[size] = <char> (c"0" + number % 10)
    return size + 1


cdef int write_group(char *out, uint16_t number) noexcept:
    """Hexadecimal; its length."""
    cdef int size = 0, shift
    cdef uint16_t digit
    for shift in (12, 8, 4, 0):
        digit = number >> shift & 15
        if digit or size or shift == 0:
            out[size] = <char> (digit + (c"0" if digit < 10 else c"a" - 10))
            size += 1
    return size

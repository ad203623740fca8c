"""Addresses as texts; see addresses.pyx."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef bint read_number(const uint8_t *text, Py_ssize_t *at, Py_ssize_t end, uint32_t most, uint32_t *number) noexcept
cdef int write_byte(char *out, uint8_t number) noexcept
cdef int write_group(char *out, uint16_t number) noexcept

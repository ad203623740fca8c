"""Marks by slot; see marks.pyx."""

from libc.stdint cimport uint32_t


cdef Py_ssize_t run_end(const uint32_t *slots, Py_ssize_t first, Py_ssize_t count) noexcept nogil

"""Marks by slot: which change was the last one, and the position that it led to, noted for all its slots at once.

Slots of one view mostly lie side by side: runs of them are looked for in ever longer steps and filled as a whole.
"""

from libc.stdint cimport int64_t, uint32_t

from ghostwire.errors import ValidationError


def mark(int64_t[::1] changed, int64_t[::1] reached, const uint32_t[::1] slots, int64_t number, int64_t position):
    """Note a change and its position for these slots, which ascend.

    Raises `ValidationError` where there is no room for one of them; others may be noted then.
    """
    cdef Py_ssize_t room = min(changed.shape[0], reached.shape[0]), count = slots.shape[0], at = 0, past
    while at < count:
        past = run_end(&slots[0], at, count)
        if slots[past - 1] >= room or slots[past - 1] < slots[at]:
            raise ValidationError("there is no room for a mark at one of the slots")
        changed[slots[at]:slots[past - 1] + 1] = number
        reached[slots[at]:slots[past - 1] + 1] = position
        at = past


cdef Py_ssize_t run_end(const uint32_t *slots, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """The index after a run of slots that lie side by side from index `first` on; the next ones may go on with it."""
    cdef Py_ssize_t length = 1, step = 1
    while first + length + step <= count and slots[first + length + step - 1] - slots[first] == length + step - 1:
        length += step
        step *= 2
    return first + length

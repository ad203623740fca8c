"""What is said to one connection, or to thousands at once: handed to the kernel, without a call of Python for each.

A transport of the event loop keeps what is written until the turn of the loop ends. An `Outlet` hands it to the kernel
at once, and only what the kernel does not take to the transport, with all that follows until that is written.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free as release_memory, realloc
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int descriptor, const void *data, size_t size, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL

cdef enum:
    LOOK_EVERY = 8               # sends between two looks at the clock: about 50 us of them


cdef double seconds() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


@cython.final
cdef class Outlet:
    """One connection's way out: its transport, and its socket's descriptor, or -1 where only the transport may write.

    The descriptor must stay open until `close`. What is said to many passes over an outlet that is `held`.
    """

    def __cinit__(self, transport, int descriptor):
        self.transport, self.descriptor = transport, descriptor

    def write(self, bytes data not None):
        """Send bytes, behind all that was written before."""
        if self.is_clear():
            self.hand_over(data)
        else:
            self.transport.write(data)

    def close(self):
        """The descriptor is not this connection's any more, or soon will not be."""
        self.descriptor = -1

    cdef bint is_clear(self) except -1:
        """Whether bytes may go to the kernel now: nothing waits before them."""
        if self.descriptor < 0:
            return False
        if self.waits:
            self.waits = self.transport.get_write_buffer_size() > 0
        return not self.waits

    cdef int hand_over(self, bytes data) except -1:
        """Have the kernel take what it does; a connection that is broken is the transport's to find out."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef ssize_t taken = send(self.descriptor, PyBytes_AS_STRING(data), size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if taken < size:
            self.waits = True
            self.transport.write(data[max(taken, 0):])
        return 0


@cython.final
cdef class Audience:
    """Outlets by slot, each with the number of the first thing that it is told, and whether it takes packed bytes."""

    def __cinit__(self):
        self.outlets = {}

    def __dealloc__(self):
        release_memory(self.places)

    @property
    def packs(self):
        """Whether anyone takes packed bytes."""
        return self.packing > 0

    def put(self, Py_ssize_t slot, Outlet outlet not None, long long since, bint packs):
        """Speak to the one in this slot from number `since` on."""
        cdef Py_ssize_t room
        cdef Place *grown
        if slot >= self.room:
            room = slot + slot // 4 + 64
            grown = <Place *> realloc(self.places, room * sizeof(Place))
            if grown is NULL:
                raise MemoryError
            memset(grown + self.room, 0, (room - self.room) * sizeof(Place))
            self.places, self.room = grown, room
        self.drop(slot)
        self.outlets[slot] = outlet
        self.packing += packs
        self.places[slot].outlet, self.places[slot].since, self.places[slot].packs = <void *> outlet, since, packs

    def drop(self, Py_ssize_t slot):
        """Say nothing more to whoever is in this slot."""
        if slot < self.room and self.places[slot].outlet is not NULL:
            self.packing -= self.places[slot].packs
            self.places[slot].outlet = NULL
            del self.outlets[slot]

    def tell(self, const unsigned int[::1] slots, Py_ssize_t at, long long number, bytes plain not None,
             bytes packed not None, double most_s, Py_ssize_t most_left):
        """Send to those of `slots` from place `at` on: the place to go on from, how many were told, who is left.

        It stops after `most_s` seconds, or when so many slots are left to the caller because their outlets are held or
        not clear. Slots without an outlet, or with one from a later number on, are passed over.
        """
        cdef Py_ssize_t count = slots.shape[0], told = 0
        cdef double until = seconds() + most_s
        cdef Outlet outlet
        cdef Place *place
        cdef list left = []
        while at < count and len(left) < most_left:
            if told and told % LOOK_EVERY == 0 and seconds() >= until:
                break
            at += 1
            if slots[at - 1] >= self.room:
                continue
            place = &self.places[slots[at - 1]]
            if place.outlet is NULL or place.since > number:
                continue
            outlet = <Outlet> place.outlet
            if outlet.held or not outlet.is_clear():
                left.append(slots[at - 1])
                continue
            outlet.hand_over(packed if place.packs else plain)
            told += 1
        return at, told, left

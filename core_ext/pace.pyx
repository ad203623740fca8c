"""How fast one connection may ask: a bucket that fills at a steady rate, looked at for each message."""

cimport cython

from ghostwire.errors import ResourceExhaustedError, WireError

cdef enum:
    FORGIVEN = 50                # questions beyond the rate that are refused one by one; then there is no more patience


cdef double take(Tokens *tokens, double now) noexcept:
    """Take one: 0 when there was one, else the seconds until there is."""
    tokens.left = min(tokens.burst, tokens.left + (now - tokens.at) * tokens.rate)
    tokens.at = now
    if tokens.left >= 1.0:
        tokens.left -= 1.0
        return 0.0
    return (1.0 - tokens.left) / tokens.rate


@cython.final
cdef class Bucket:
    """`rate` tokens a second, at most `burst` of them."""

    def __cinit__(self, double rate, double burst, double now):
        self.tokens = Tokens(rate, burst, burst, now)

    def take(self, double now):
        """Take one token: 0 when there was one, else the seconds until there is."""
        return take(&self.tokens, now)

    def charge(self, double tokens):
        """Take tokens for what was dearer than it looked. They may be more than there are: then the next ones wait."""
        self.tokens.left -= tokens


@cython.final
cdef class Pace:
    """A bucket whose owner refuses what is asked too fast."""

    def __cinit__(self, double rate, double burst, double now):
        self.tokens = Tokens(rate, burst, burst, now)

    def take(self, double now):
        """Count one question. Raises `ResourceExhaustedError` beyond the rate, `WireError` when that goes on."""
        cdef double wait = take(&self.tokens, now)
        if wait == 0.0:
            return
        self.excess += 1
        if self.excess > FORGIVEN:
            raise WireError("far too many messages a second")
        raise ResourceExhaustedError("too many messages a second: slow down", retry_after=wait)

    def charge(self, double tokens):
        """Count an answer that was dearer than its question looked."""
        self.tokens.left -= tokens

"""How fast one connection may ask: a bucket that fills at a steady rate, looked at for each message."""

cimport cython

cdef enum:
    TOGETHER = 10                # frames let in at a time from whoever sent too many: each time costs the server a turn


cdef void fill(Tokens *tokens, double now) noexcept:
    """Add what has come since it was last filled."""
    tokens.left = min(tokens.burst, tokens.left + (now - tokens.at) * tokens.rate)
    tokens.at = now


@cython.final
cdef class Bucket:
    """`rate` tokens a second, at most `burst` of them."""

    def __cinit__(self, double rate, double burst, double now):
        self.tokens = Tokens(rate, burst, burst, now)

    def take(self, double now):
        """Take one token: 0 when there was one, else the seconds until there is."""
        fill(&self.tokens, now)
        if self.tokens.left >= 1.0:
            self.tokens.left -= 1.0
            return 0.0
        return (1.0 - self.tokens.left) / self.tokens.rate

    def charge(self, double tokens):
        """Take tokens for what was dearer than it looked. They may be more than there are: then the next ones wait."""
        self.tokens.left -= tokens


@cython.final
cdef class Pace:
    """A bucket whose owner lets in what has come, and then takes no more until a few more may come."""

    def __cinit__(self, double rate, double burst, double now):
        self.tokens = Tokens(rate, burst, burst, now)
        self.few = min(burst, <double> TOGETHER)

    def take(self, double now):
        """Count one frame: 0 while another may follow it at once, else the seconds for which none may."""
        fill(&self.tokens, now)
        self.tokens.left -= 1.0
        return 0.0 if self.tokens.left >= 1.0 else (self.few - self.tokens.left) / self.tokens.rate

    def charge(self, double tokens):
        """Count an answer that was dearer than its question looked."""
        self.tokens.left -= tokens

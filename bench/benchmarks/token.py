"""Session tokens among 50,000 live ones: decode, MAC, look-up, expiry."""

import random
from timeit import repeat

from ghostwire._native import token

LIVE = 50_000
ROUNDS = 9
CALLS = 20_000


class Check:
    """One token that is known and live."""

    gate_calls = 5000

    def setup(self) -> None:
        draw = random.Random(1)
        self.key, self.raw = draw.randbytes(32), draw.randbytes(32)
        self.text = token.encode(self.raw)
        self.table = token.TokenTable(self.key)
        for subject in range(LIVE):
            self.table.insert(draw.randbytes(32), subject, 1 << 62)
        self.table.insert(self.table.mac(self.text), 1, 1 << 62)

    def time_check(self) -> None:
        self.table.check(self.text, 1)

    def track_check_over_blake3(self) -> float:
        """The check's time over that of the blake3 package's keyed hash of the raw token alone, each at its best."""
        from blake3 import blake3

        check, text, raw, key = self.table.check, self.text, self.raw, self.key
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours += repeat(lambda: check(text, 1), number=CALLS, repeat=1)
            theirs += repeat(lambda: blake3(raw, key=key).digest(), number=CALLS, repeat=1)
        return min(ours) / min(theirs)

    track_check_over_blake3.unit = "ratio"

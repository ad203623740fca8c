"""The address bitmap: claims in an empty pool, and in the default pool's four million when it is 99.9 % full."""

import random

from ghostwire._native import ipam

POOL = 1 << 22


class Empty:
    """The largest pool with nothing taken."""

    gate_calls = 5000

    def setup(self) -> None:
        self.pool = ipam.Bitmap(ipam.MAX_SIZE)

    def time_claim_next_and_release(self) -> None:
        self.pool.release(self.pool.claim_next())


class AlmostFull:
    """One address in a thousand is free."""

    gate_calls = 5000

    def setup(self) -> None:
        draw = random.Random(1)
        self.pool = ipam.Bitmap(POOL)
        for first in range(0, POOL - 999, 1000):
            self.pool.reserve(first, 999)
        self.draws = [draw.getrandbits(64) for _ in range(1024)]
        self.turn = 0

    def time_claim_random_and_release(self) -> None:
        self.turn = (self.turn + 1) & 1023
        self.pool.release(self.pool.claim_random(self.draws[self.turn]))

    def time_claim_next_and_release(self) -> None:
        self.turn = (self.turn + 1) & 1023
        self.pool.release(self.pool.claim_next(self.draws[self.turn] % POOL))

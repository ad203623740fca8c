"""The slow twin of core_ext.ipam: a set of free indices."""

from ghostwire.errors import ValidationError

MAX_SIZE = 1 << 24


class Bitmap:
    def __init__(self, size: int) -> None:
        if not 1 <= size <= MAX_SIZE:
            raise ValidationError("size")
        self.size = size
        self._free = set(range(size))
        self._reserved: set[int] = set()

    @property
    def free(self) -> int:
        return len(self._free)

    def claim_next(self, start: int = 0) -> int:
        self._check(start)
        if not self._free:
            return -1
        later = [index for index in self._free if index >= start]
        return self._take(min(later or self._free))

    def claim_random(self, draw: int) -> int:
        if not self._free:
            return -1
        return self._take(sorted(self._free)[draw % len(self._free)])

    def claim(self, index: int) -> bool:
        self._check(index)
        if index not in self._free:
            return False
        self._take(index)
        return True

    def release(self, index: int) -> bool:
        self._check(index)
        if index in self._free or index in self._reserved:
            return False
        self._free.add(index)
        return True

    def reserve(self, first: int, count: int = 1) -> int:
        wanted = set(range(first, first + count))
        if count < 1 or not wanted <= set(range(self.size)):
            raise ValidationError("range")
        before = self.free
        self._reserved |= wanted
        self._free -= wanted
        return before - self.free

    def is_claimed(self, index: int) -> bool:
        self._check(index)
        return index not in self._free

    def is_reserved(self, index: int) -> bool:
        self._check(index)
        return index in self._reserved

    def _take(self, index: int) -> int:
        self._free.remove(index)
        return index

    def _check(self, index: int) -> None:
        if not 0 <= index < self.size:
            raise ValidationError("index")

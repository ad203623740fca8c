"""The slow twin of the fragment arena: a dictionary of parts, and pages that msgspec encodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

import msgspec

MODULUS = 1 << 128


class Arena:
    def __init__(self, hash: Callable[[int, bytes], bytes] | None = None) -> None:
        self.hash = hash
        self.kept: dict[int, tuple[int, int, bytes, int, int]] = {}
        self.stamp = 0

    def __len__(self) -> int:
        return len(self.kept)

    def __contains__(self, slot: int) -> bool:
        return slot in self.kept

    def put(self, slot: int, id: int, owner: int, part: bytes, digest: bytes | None = None) -> bool:
        if digest is None:
            assert self.hash is not None
            digest = self.hash(id, part)
        if slot in self.kept and self.kept[slot][:3] == (id, owner, part):
            return False
        self.stamp += 1
        self.kept[slot] = (id, owner, part, int.from_bytes(digest[:16], "big"), self.stamp)
        return True

    def drop(self, slot: int) -> bool:
        if self.kept.pop(slot, None) is None:
            return False
        self.stamp += 1
        return True

    def part(self, slot: int) -> bytes | None:
        return self.kept[slot][2] if slot in self.kept else None

    def id(self, slot: int) -> int:
        return self.kept[slot][0] if slot in self.kept else 0

    def owner(self, slot: int) -> int:
        return self.kept[slot][1] if slot in self.kept else 0

    def digest(self, slots: Iterable[int]) -> int:
        return sum(self.kept[slot][3] for slot in slots if slot in self.kept) % MODULUS

    def owners(self, slots: Iterable[int]) -> set[int]:
        return {self.owner(slot) for slot in slots} - {0}

    def ids(self, slots: Iterable[int]) -> list[int]:
        return [self.id(slot) for slot in slots if slot in self.kept]

    def among(self, slots: Iterable[int], ids: Set[int]) -> list[int]:
        return [slot for slot in slots if slot in self.kept and self.id(slot) in ids]

    def parts(self, slots: Iterable[int]) -> dict[int, bytes]:
        return {self.kept[slot][0]: self.kept[slot][2] for slot in slots if slot in self.kept}

    def size(self, slots: Iterable[int]) -> int:
        return sum(_size(*self.kept[slot][:3]) for slot in slots if slot in self.kept)

    def cut(self, slots: list[int], first: int, most: int, room: int, stamp: int) -> tuple[int, int]:
        count = size = total = 0
        while first < len(slots) and count < most and size < room:
            found = self.kept.get(slots[first])
            if found is not None and found[4] <= stamp:
                count += 1
                size += _size(*found[:3])
                total += found[3]
            first += 1
        return first, total % MODULUS

    def splice(self, head: bytes, slots: list[int], first: int, past: int, stamp: int) -> bytes:
        kept = [self.kept[slot] for slot in slots[first:past] if slot in self.kept and self.kept[slot][4] <= stamp]
        return head + msgspec.msgpack.encode({found[0]: found[2] for found in kept})


def _size(id: int, owner: int, part: bytes) -> int:
    return len(msgspec.msgpack.encode(id)) + len(msgspec.msgpack.encode(part))

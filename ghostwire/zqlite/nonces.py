"""How often each column key has been used. Random 96-bit nonces allow a key of AES-GCM 2^32 uses (NIST SP 800-38D).

Uses are reserved in the file in lots, before they happen: after a crash or a restart all that was reserved counts as
used. A reservation is written by the transaction that comes into the last half of a lot. Only a single transaction of
more values than that outruns what is on the disk, and its crash could forget them; hence keys are changed at half of
the bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ghostwire.errors import ResourceExhaustedError

if TYPE_CHECKING:
    from collections.abc import Mapping

LOT: Final = 1 << 16
CHANGE_AT: Final = 1 << 31
MOST: Final = 1 << 32

_PREFIX: Final = "uses "

Key = tuple[bytes, int]
"""A column's id and the version of its key."""


class Ledger:
    """The uses of every key, for the one thread that seals.

    `short`: a reservation has to be written with this transaction. `worn`: a key is due to be changed.
    """

    def __init__(self, kept: Mapping[str, int]) -> None:
        """`kept`: the reservations in the file, as `due` named them; other names are passed over."""
        self._reserved = {_key(name): count for name, count in kept.items() if name.startswith(_PREFIX)}
        self._used = dict(self._reserved)
        self.short = False
        self.worn = False

    def spend(self, key: Key) -> None:
        """One more use. Raises ResourceExhaustedError when there is none left."""
        used = self._used.get(key, 0) + 1
        if used >= CHANGE_AT:
            self.worn = True
            if used >= MOST:
                raise ResourceExhaustedError("this column's key is used up: rotate the store's keys, then try again")
        self._used[key] = used
        if used > self._reserved.get(key, 0) - LOT // 2:
            self.short = True

    def due(self) -> list[tuple[str, int]]:
        """The reservations to write now: a name for each key, and how many uses it may have had from then on."""
        self.short = False
        short = {key: used + LOT for key, used in self._used.items() if used > self._reserved.get(key, 0) - LOT // 2}
        self._reserved.update(short)
        return [(f"{_PREFIX}{column.hex()} {version}", count) for (column, version), count in short.items()]

    def rolled_back(self) -> None:
        """What was reserved by the transaction is gone; what it has used counts all the same."""
        self._reserved.clear()
        self.short = bool(self._used)

    def used(self, key: Key) -> int:
        """How often a key has been used, or may have been."""
        return self._used.get(key, 0)


def _key(name: str) -> Key:
    column, _, version = name.removeprefix(_PREFIX).partition(" ")
    return bytes.fromhex(column), int(version)

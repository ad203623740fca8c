"""Where in the history a map stands."""

from __future__ import annotations

import msgspec


class Position(msgspec.Struct, frozen=True, array_like=True):
    """What a map has seen: durable changes up to `seq` of `log`, volatile ones up to `vseq` of `boot`.

    `log` names a change log (16 bytes, new with every restore), `boot` one run of a coordinator (16 bytes).
    """

    log: bytes
    seq: int
    boot: bytes
    vseq: int

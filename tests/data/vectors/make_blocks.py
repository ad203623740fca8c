"""Writes blocks.json: sealed blocks as this release makes them, which every later one must open.

`python -m tests.data.vectors.make_blocks` adds what is missing and changes nothing that stands.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ghostwire._native import blocks

FILE = Path(__file__).parent / "blocks.json"
DATABASE, SECRET, SERIES = b"golden database", bytes(range(32)), b"golden series"
CIPHERS: tuple[Any, ...] = ("aes256gcm", "chacha20")

TABLES: dict[str, tuple[str, list[list[Any]]]] = {
    "no rows": ("iftb", [[], [], [], []]),
    "clock": ("i", [[1_700_000_000_000_000_000 + at * 30_000_000_000 + at % 7 * 1_000_000 for at in range(300)]]),
    "counter": ("i", [[at * at * 100 for at in range(300)]]),
    "states": ("i", [[at // 50 % 3 for at in range(300)]]),
    "scattered": ("i", [[at * 7919 % 1000 for at in range(300)]]),
    "ends": ("i", [[-(1 << 63), (1 << 63) - 1, 0, -1]]),
    "decimals": ("f", [[at * 37 % 1000 / 10 for at in range(300)]]),
    "exceptions": ("f", [[0.5, 1.5, -0.0, 1e300] + [at / 4 for at in range(60)]]),
    "bits": ("f", [[1 / (at + 3) for at in range(50)]]),
    "texts": ("tb", [["tcp", "udp", "", "tcp"], [b"\x00", b"\xff", b"", b"\x00"]]),
    "bursts": ("i", [[310 if at % 5 else at * 7919 % 16384 for at in range(300)]]),
}


def made(kinds: str, columns: list[list[Any]]) -> blocks.Block:
    """A block of plain lists."""
    types = {"i": np.int64, "f": np.float64}
    return blocks.Block.of(
        kinds, [np.array(c, types[kind]) if kind in types else c for kind, c in zip(kinds, columns, strict=True)]
    )


def main() -> None:
    """Write the file."""
    known: dict[str, str] = json.loads(FILE.read_text()) if FILE.exists() else {}
    for number, (name, (kinds, columns)) in enumerate(TABLES.items()):
        for cipher in CIPHERS:
            sealer = blocks.Sealer(DATABASE, SECRET, cipher)
            nonce = number.to_bytes(12)
            sealed = sealer.seal(made(kinds, columns), SERIES, number, 1, nonce)
            known.setdefault(f"{name}/{cipher}", sealed.hex())
    FILE.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Values of COMPRESSED columns as zstd frames, packed with a dictionary that was trained on the column's own values.

Dictionaries are numbered per column from 1 on and never change; a frame is stored with the number of its own, 0 for
none. Frames have no magic number, checksum or dictionary id: what stores them knows. `zq_dictionary(column_id, number,
ratio, data)` is a logged table, so that any moment of the past has the dictionaries its values need; `ratio` is packed
over plain bytes on values that the training had not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import apsw

TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS zq_dictionary(column_id BLOB NOT NULL, number INTEGER NOT NULL, ratio REAL NOT NULL,"
    " data BLOB NOT NULL, PRIMARY KEY (column_id, number)) WITHOUT ROWID"
)
FIRST_VALUES: Final = 256
"""A column without a dictionary gets one after so many values that came in."""
WINDOW: Final = 1024
"""How many values say whether a dictionary still pays."""
WORSE: Final = 1.1
"""A new one is due when values pack so much worse than when the dictionary was trained."""
BETTER: Final = 0.95
"""A new one is kept only where it packs values that it has not seen into so much less."""
MOST_NUMBER: Final = (1 << 16) - 1
SAMPLE_VALUES: Final = 4000
SAMPLE_BYTES: Final = 2 << 20

_MOST_BYTES: Final = 1 << 30
_DICTIONARY_BYTES: Final = 8192
"""16 KiB and 110 KiB pack peer metadata no better."""
_LEVEL: Final = 3
_LONGEST_SAMPLE: Final = 16384
_HELD_OUT: Final = 4
"""Every fourth value of a sample is kept from the training and judges it."""


@dataclass(slots=True)
class Tally:
    """What the values of a column came to since its dictionary was last looked at."""

    values: int = 0
    plain: int = 0
    packed: int = 0


@dataclass(frozen=True, slots=True)
class _Packer:
    number: int
    ratio: float
    compressor: zstandard.ZstdCompressor


class Codec:
    """Packs and unpacks for one connection, which one thread uses at a time.

    `reveal(column, number, data)` opens what the table holds of a dictionary.
    """

    def __init__(self, connection: apsw.Connection, reveal: Callable[[bytes, int, bytes], bytes]) -> None:
        self.due: set[bytes] = set()
        self._connection = connection
        self._reveal = reveal
        self._packers: dict[bytes, _Packer] = {}
        self._unpackers: dict[tuple[bytes, int], zstandard.ZstdDecompressor] = {}
        self._tallies: dict[bytes, Tally] = {}

    def pack(self, column: bytes, data: bytes) -> tuple[int, bytes]:
        """A frame and the number of its dictionary."""
        packer = self._packers.get(column) or self._load(column)
        frame = packer.compressor.compress(data)
        tally = self._tallies.setdefault(column, Tally())
        tally.values += 1
        tally.plain += len(data)
        tally.packed += len(frame)
        if tally.values >= (WINDOW if packer.number else FIRST_VALUES):
            self._judge(column, packer, tally)
        return packer.number, frame

    def unpack(self, column: bytes, number: int, frame: bytes) -> bytes:
        """The reverse of `pack`. Raises zstandard.ZstdError for what is no frame of that dictionary."""
        unpacker = self._unpackers.get((column, number))
        if unpacker is None:
            trained = zstandard.ZstdCompressionDict(self._dictionary(column, number)) if number else None
            unpacker = zstandard.ZstdDecompressor(dict_data=trained, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
            self._unpackers[column, number] = unpacker
        return unpacker.decompress(frame, max_output_size=_MOST_BYTES)

    def current(self, column: bytes) -> int:
        """The number of the dictionary that values are packed with now, 0 for none."""
        return (self._packers.get(column) or self._load(column)).number

    def present(self, column: bytes) -> bytes:
        """The dictionary that values are packed with now, empty for none."""
        number = self.current(column)
        return self._dictionary(column, number) if number else b""

    def forget(self) -> None:
        """Look again which dictionaries there are: one was added, or its transaction was rolled back."""
        self._packers.clear()
        self._unpackers.clear()
        self._tallies.clear()

    def _judge(self, column: bytes, packer: _Packer, tally: Tally) -> None:
        if packer.number == 0 or tally.packed / tally.plain > packer.ratio * WORSE:
            self.due.add(column)
        self._tallies[column] = Tally()

    def _load(self, column: bytes) -> _Packer:
        found: list[Any] = self._connection.execute(
            "SELECT number, ratio FROM zq_dictionary WHERE column_id = ? ORDER BY number DESC LIMIT 1", (column,)
        ).fetchall()
        number, ratio = found[0] if found else (0, 1.0)
        packer = _Packer(number, ratio, _compressor(self._dictionary(column, number) if number else b""))
        self._packers[column] = packer
        return packer

    def _dictionary(self, column: bytes, number: int) -> bytes:
        found: list[Any] = self._connection.execute(
            "SELECT data FROM zq_dictionary WHERE column_id = ? AND number = ?", (column, number)
        ).fetchall()
        if not found:
            raise zstandard.ZstdError(f"there is no dictionary {number}")
        return self._reveal(column, number, found[0][0])


def train(sample: Sequence[bytes], present: bytes) -> tuple[bytes, float] | None:
    """A dictionary for values like these, and what it makes of them; None where it is not worth having.

    `present` is the one in use, empty where there is none.
    """
    short = [value[:_LONGEST_SAMPLE] for value in sample]
    unseen = short[::_HELD_OUT]
    seen: list[bytes | bytearray | memoryview] = [value for at, value in enumerate(short) if at % _HELD_OUT]
    if len(seen) < FIRST_VALUES // 2:
        return None
    try:
        trained = zstandard.train_dictionary(_DICTIONARY_BYTES, seen, level=_LEVEL).as_bytes()
    except zstandard.ZstdError:  # the values have nothing in common, or are too few bytes
        return None
    before, after = _packed(unseen, present), _packed(unseen, trained)
    if after > before * BETTER:
        return None
    return trained, after / max(1, sum(map(len, unseen)))


def _packed(values: Sequence[bytes], dictionary: bytes) -> int:
    compress = _compressor(dictionary).compress
    return sum(len(compress(value)) for value in values)


def _compressor(dictionary: bytes) -> zstandard.ZstdCompressor:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=True,
        write_checksum=False,
        write_dict_id=False,
    )
    if not dictionary:
        return zstandard.ZstdCompressor(compression_params=parameters)
    trained = zstandard.ZstdCompressionDict(dictionary)
    trained.precompute_compress(compression_params=parameters)
    return zstandard.ZstdCompressor(dict_data=trained, compression_params=parameters)

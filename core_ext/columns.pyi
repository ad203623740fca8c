from collections.abc import Iterable, Mapping, Sequence
from typing import final

@final
class Column:
    def __new__(cls, key: bytes) -> Column: ...

@final
class Values:
    def __new__(cls, key: str, kind: int, data: bytes) -> Values: ...

@final
class Shape:
    def __new__(cls, keys: tuple[str, ...], by_key: dict[str, Values]) -> Shape: ...

def gather(
    parts: Iterable[bytes],
) -> tuple[list[tuple[str, ...]], bytes, dict[str, tuple[int, bytes]]] | None: ...
def scatter(
    shapes: Sequence[tuple[str, ...]], peers: bytes, columns: Mapping[str, tuple[int, bytes]], most: int
) -> dict[int, bytes]: ...

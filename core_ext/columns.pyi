from collections.abc import Iterable
from typing import final

@final
class Column:
    def __new__(cls, key: bytes) -> Column: ...

def gather(
    parts: Iterable[bytes],
) -> tuple[list[tuple[str, ...]], bytes, dict[str, tuple[int, bytes]]] | None: ...

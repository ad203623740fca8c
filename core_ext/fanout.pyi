from array import array
from typing import Protocol, final

class _Transport(Protocol):
    def write(self, data: bytes, /) -> None: ...
    def get_write_buffer_size(self) -> int: ...

@final
class Outlet:
    held: bool
    def __new__(cls, transport: _Transport, descriptor: int) -> Outlet: ...
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...

@final
class Audience:
    @property
    def packs(self) -> bool: ...
    def put(self, slot: int, outlet: Outlet, since: int, packs: bool) -> None: ...
    def drop(self, slot: int) -> None: ...
    def tell(
        self,
        slots: array[int],
        at: int,
        number: int,
        plain: bytes,
        packed: bytes,
        most_s: float,
        most_left: int,
    ) -> tuple[int, int, list[int]]: ...

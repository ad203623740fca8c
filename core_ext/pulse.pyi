from typing import final

import numpy as np
from numpy.typing import NDArray

from core_ext.netmap import Arena
from ghostwire.model.position import Position

@final
class Pulse:
    def follow(
        self,
        arena: Arena | None,
        tables: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]],
        late: dict[int, Position],
        running: tuple[bytes, bytes, int, int, int] | None,
    ) -> None: ...
    def answer(self, message: bytes, node: int, slot: int, utc: int) -> bytes | None: ...

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

@final
class Table: ...

@final
class Decisions:
    """Answers from the cells that `load` was given. Unknown nodes are denied."""

    def __new__(cls) -> Decisions: ...
    @property
    def chunks(self) -> int: ...
    def load(
        self, full: bool, stride: int, chunks: list[Any], own: tuple[Any, ...], heads: Any, ranges: Any, slots: Any
    ) -> None: ...
    def load_denials(
        self, full: bool, stride: int, chunks: list[Any], own: tuple[Any, ...], heads: Any, ranges: Any, slots: Any
    ) -> None: ...
    def decide(self, source: int, target: int, protocol: int, port: int) -> bool: ...
    def decide_many(
        self,
        sources: NDArray[np.uint32],
        targets: NDArray[np.uint32],
        protocols: NDArray[np.uint8],
        ports: NDArray[np.uint16],
    ) -> NDArray[np.bool_]: ...

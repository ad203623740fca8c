from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

@final
class Table: ...

@disjoint_base
class Decisions:
    """Answers from the cells that `load` was given. Unknown nodes are denied.

    Unless `current` is set, `refresh` is called before an answer: a subclass loads there what has changed.
    """

    current: bool
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @property
    def is_worn(self) -> bool: ...
    def refresh(self) -> None: ...
    def load(
        self,
        full: bool,
        stride: int,
        chunks: list[Any],
        sides: tuple[Any, ...],
        port_sets: Any,
        details: Any,
        slots: Any,
    ) -> None: ...
    def load_denials(
        self,
        full: bool,
        stride: int,
        chunks: list[Any],
        sides: tuple[Any, ...],
        port_sets: Any,
        details: Any,
        slots: Any,
    ) -> None: ...
    def decide(self, src_id: int, dst_id: int, proto: int, port: int) -> bool: ...
    def decide_many(
        self,
        src_ids: NDArray[np.uint32],
        dst_ids: NDArray[np.uint32],
        protos: NDArray[np.uint8],
        ports: NDArray[np.uint16],
    ) -> NDArray[np.bool_]: ...

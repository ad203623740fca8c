from typing import Final, final

import numpy as np
from numpy.typing import NDArray

NOTHING: Final[int]

@final
class Rules:
    def __new__(cls, spans: NDArray[np.uint32], vectors: int = 512) -> Rules: ...
    @property
    def count(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def vectors(self) -> int: ...
    def match(self, source: int, target: int, protocol: int, port: int) -> int: ...
    def match_many(
        self,
        sources: NDArray[np.uint32],
        targets: NDArray[np.uint32],
        protocols: NDArray[np.uint8],
        ports: NDArray[np.uint16],
    ) -> NDArray[np.uint32]: ...

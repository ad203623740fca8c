from array import array

import numpy as np
from numpy.typing import NDArray

def mark(
    changed: NDArray[np.int64], reached: NDArray[np.int64], slots: array[int], number: int, position: int
) -> None: ...

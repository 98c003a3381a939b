"""What each primitive becomes on the cpu executor.

LIBRARY: primitives with a kernel of their own, made for concrete shapes. A row takes the node's
attributes and the shapes and dtypes of its operands, and returns a function from contiguous
arrays (not to be written to) to the result, or None where it has no kernel for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Kernel = Callable[[Sequence[np.ndarray]], np.ndarray]
Prepare = Callable[[dict[str, Any], Sequence[tuple[int, ...]], Sequence[np.dtype]], "Kernel | None"]

LIBRARY: dict[str, Prepare] = {}

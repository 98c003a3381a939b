"""One parser at a time: the lock of all that makes Python's syntax trees, in whatever thread.

CPython 3.11 counts the depth of a syntax tree in one place for all threads (gh-106905). Where the
garbage collector lets another thread in halfway, `ast.parse`, `ast.literal_eval` and the header of
an .npy file, which is a literal, may raise "SystemError: AST constructor recursion depth mismatch".
Pipelines read in threads while AutoGraph converts: they take turns.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

lock = threading.RLock()


def read_array(file: Any) -> np.ndarray[Any, Any]:
    """Returns the next array of a file in NumPy's format; never unpickles.

    Raises:
      ValueError: if there is no such array, or not all of it.
    """
    with lock:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

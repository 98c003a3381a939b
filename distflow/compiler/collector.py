"""Python's collector of cycles, paused while programs are made.

Traces, graphs and plans are many small objects that stay, and the collector would walk through all
of them again and again: a tenth of a first call.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_depth = 0
_was_on = False


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """In the block no cycles are collected; blocks may nest, and several threads may be in one."""
    global _depth, _was_on
    with _lock:
        if not _depth:
            _was_on = gc.isenabled()
            gc.disable()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth and _was_on:
                gc.enable()

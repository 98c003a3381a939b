"""Threads that hold up nobody's end: a pool for servers that serve until their process ends.

A pool of Python's own takes no call any more as soon as its process begins to end, and a gRPC
server that gets one then dies half-way, and lets the process hang.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any


class DaemonThreads(futures.ThreadPoolExecutor):
    """A daemon thread per call.

    Args:
      most: so many of them run at the same time, the others wait; None for any number.
    """

    def __init__(self, most: int | None = None) -> None:
        super().__init__(max_workers=1)  # never used: `submit` starts threads of its own
        self._turns = None if most is None else threading.Semaphore(most)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """Runs the call in a thread of its own."""
        future: futures.Future[Any] = futures.Future()

        def run() -> None:
            try:
                if self._turns is None:
                    future.set_result(fn(*args, **kwargs))
                    return
                with self._turns:
                    future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  the future carries it
                future.set_exception(error)

        threading.Thread(target=run, name="distflow-grpc", daemon=True).start()
        return future

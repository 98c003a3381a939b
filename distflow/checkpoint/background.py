"""Writing in a thread: the training loop goes on while a checkpoint is hashed and written."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable

_NICE = 10


class Background:
    """Runs one piece of work at a time in a thread; its error comes at the next call.

    The thread is no daemon: the interpreter waits for it, so the last checkpoint is whole.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Starts the work after the one before has ended.

        Raises:
          Whatever the work before has raised; then this work is not started.
        """
        self.wait()
        self._thread = threading.Thread(
            target=self._run, args=(work,), name="distflow-checkpoint", daemon=False
        )
        self._thread.start()

    def wait(self) -> None:
        """Returns when the work has ended.

        Raises:
          What it has raised, once.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        _yield_to_training()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised by the next call
            self._error = error


def _yield_to_training() -> None:
    """Lets this thread have what the threads that train leave, where the system can do that."""
    with contextlib.suppress(AttributeError, OSError):
        if sys.platform == "linux":  # elsewhere it would be the whole process
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)

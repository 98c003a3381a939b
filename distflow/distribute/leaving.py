"""Ending a job of fixed size on request: all workers stop after the same step.

SIGTERM (or SIGUSR1, which mpirun hands on to its ranks) comes to workers at different moments, and
some may have begun the next step, which needs them all. So they ask each other after each step,
where the launcher has set DISTFLOW_LEAVE: one collective of a byte. An elastic job over gRPC has
its own way (`elastic_job`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import Any

import numpy as np

from distflow.base import flags, log

LEFT_EXIT_CODE = 128 + signal.SIGTERM
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

_open: Leaving | None = None  # that hears the signals now


class Leaving:
    """Hears whether this worker is asked to end, from `listen` to `close`.

    Attributes:
      is_asked: whether it was.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._before: dict[int, Any] = {}
        self._timer: threading.Timer | None = None

    def agreed(self, strategy: Any) -> bool:
        """Whether any worker was asked to end; every worker must call it after the same step."""
        if strategy.num_workers == 1:
            return self.is_asked
        mine = np.array([self.is_asked], np.uint8)
        gathered = strategy.communicator.all_gather(
            {replica: [mine] for replica in strategy.local_replicas}, name="who is asked to end"
        )
        return any(bool(parts[0][0]) for parts in gathered if parts is not None)

    def close(self) -> None:
        """Gives the signals back; who was asked to end and has not may go on."""
        global _open
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            with contextlib.suppress(ValueError):  # by now in another thread
                signal.signal(number, handler)
        self._before = {}
        if _open is self:
            _open = None

    def _listen(self) -> None:
        def ask(number: int, frame: Any) -> None:
            if self._timer is None:
                self._timer = end_in_time(flags.get("DISTFLOW_GRACE"))
            self.is_asked = True

        for number in SIGNALS:
            self._before[number] = signal.signal(number, ask)


def listen() -> Leaving | None:
    """Returns what hears the request; None where the launcher says nothing of it.

    None as well in an elastic job, and outside of the main thread, which alone hears signals.
    """
    if not flags.get("DISTFLOW_LEAVE") or flags.get("DISTFLOW_ELASTIC"):
        return None
    if threading.current_thread() is not threading.main_thread():
        return None
    global _open
    leaving = Leaving()
    if _open is not None:
        # Nobody has closed it, as its `fit` failed: its handlers must not be what is given back.
        leaving.is_asked = _open.is_asked
        _open.close()
    leaving._listen()
    _open = leaving
    return leaving


def end_in_time(grace_seconds: float) -> threading.Timer:
    """Ends this process while there is some grace left, whatever it does; unless cancelled."""
    timer = threading.Timer(0.8 * grace_seconds, _exit_now)
    timer.daemon = True
    timer.start()
    return timer


def _exit_now() -> None:
    log.get_logger().warning("asked to end: the step has not come to its end in time")
    sys.stderr.flush()
    # Only the main thread, which may hang, could let SIGTERM do it.
    os._exit(LEFT_EXIT_CODE)

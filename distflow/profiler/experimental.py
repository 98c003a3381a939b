"""tf.profiler.experimental: a timeline of what runs, as a file for chrome://tracing."""

from __future__ import annotations

import os
import time
from typing import Any

from distflow.base import errors, missing
from distflow.compiler.trace import Tracer

__all__ = ["Profile", "Trace", "start", "stop"]

__getattr__ = missing.lookup(
    "tf.profiler.experimental", "distflow.profiler.experimental", "ProfilerOptions client server"
)

_running: tuple[Tracer, Any] | None = None


def start(logdir: str | os.PathLike[str], options: None = None) -> None:
    """Starts to note what compiled functions do.

    Args:
      logdir: folder for the trace that `stop` writes, in Chrome's trace event format.
      options: there are none; TF's say how much of its own runtime is traced.

    Raises:
      AlreadyExistsError: if it was started already.
      InvalidArgumentError: if options are given.
    """
    global _running
    if options is not None:
        raise errors.invalid("profiler.experimental.start", "options must be None", repr(options))
    if _running is not None:
        raise errors.AlreadyExistsError(
            "profiler.experimental.start: expected no profiler that runs; received one."
        )
    _running = Tracer(), logdir
    _running[0].__enter__()


def stop(save: bool = True) -> None:
    """Stops, and writes the trace if `save`.

    Raises:
      UnavailableError: if nothing was started.
    """
    global _running
    if _running is None:
        raise errors.UnavailableError(
            "profiler.experimental.stop: expected a profiler that runs; received none."
        )
    (tracer, logdir), _running = _running, None
    tracer.__exit__()
    if save:
        tracer.save(logdir)


class Profile:
    """Notes what compiled functions do while it is entered: `with Profile(logdir): ...`.

    Args:
      logdir, options: as for `start`.
    """

    def __init__(self, logdir: str | os.PathLike[str], options: None = None):
        self._logdir, self._options = logdir, options

    def __enter__(self) -> None:
        start(self._logdir, self._options)

    def __exit__(self, *exception: object) -> None:
        stop()


class Trace:
    """Names a part of the program in the trace: `with Trace("train", step_num=i): ...`.

    Args:
      name: shown in the timeline.
      **kwargs: shown with it; `step_num` and `_r` are what TF's tools look for.
    """

    def __init__(self, name: str, **kwargs: Any):
        self._name, self._values, self._start = name, kwargs, 0.0

    def __enter__(self) -> Trace:
        self._start = time.perf_counter()
        return self

    def set_metadata(self, **kwargs: Any) -> None:
        """Adds values that are shown with it."""
        self._values.update(kwargs)

    def __exit__(self, *exception: object) -> None:
        if _running is not None:
            _running[0].note(self._name, self._start, self._values)

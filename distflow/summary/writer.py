"""SummaryWriter: where summaries go, and the writer, step and condition in force."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core import context, convert
from distflow.core.tensor import Tensor
from distflow.ops.prims import host
from distflow.summary.event_file import EventFile


class _State(threading.local):
    writer: Any = None
    step: Any = None
    records: Any = True


_state = _State()


class SummaryWriter:
    """Writes summaries to a file while it is the default writer (made by `create_file_writer`)."""

    def __init__(self, file: EventFile | None):
        self._file = file
        self._before: list[tuple[Any, Any]] = []

    def set_as_default(self, step: Any = None) -> None:
        """Makes it the writer of this thread; with `step`, also that the step in force."""
        self._check()
        _state.writer = self
        if step is not None:
            _state.step = step

    @contextlib.contextmanager
    def as_default(self, step: Any = None) -> Iterator[SummaryWriter]:
        """Makes it the writer for the block, and flushes it at its end."""
        self._check()
        before = _state.writer, _state.step
        self.set_as_default(step)
        try:
            yield self
        finally:
            _state.writer = before[0]
            if step is not None:
                _state.step = before[1]
            self.flush()

    def init(self) -> None:
        """Does nothing: the file is made with the first summary."""
        self._check()

    def flush(self) -> None:
        """Puts what was written into the file; nothing is left to do once it is closed."""
        if not self._closed:
            self.run(lambda file: file.flush())

    def close(self) -> None:
        """Ends the file, once; the writer can write no more."""
        if self._closed:
            return
        self.run(lambda file: file.close())
        if context.executing_eagerly():
            self._file = None if self._file is None else _Closed(self._file.folder)

    def run(self, action: Callable[..., None], *tensors: Any) -> Any:
        """Calls action(file, *arrays): now, or whenever the function that is traced runs."""
        self._check()
        file = self._file
        if file is None:
            return convert.constant(np.asarray(False))

        def call(*arrays: Any) -> tuple[Any, ...]:
            action(file, *arrays)
            return ()

        if context.executing_eagerly():
            call(*[np.asarray(tensor) for tensor in tensors])
        else:
            host.host_call(*map(convert.convert_to_tensor, tensors), fn=call, dtypes=(), shapes=())
        return convert.constant(np.asarray(True))

    @property
    def _closed(self) -> bool:
        return isinstance(self._file, _Closed)

    def _check(self) -> None:
        if isinstance(self._file, _Closed):
            raise RuntimeError(f"SummaryWriter of {self._file.folder} is already closed")


class _Closed(EventFile):
    """The file of a writer that was closed."""


def create_file_writer(
    logdir: str | os.PathLike[str], max_queue: int | None = None, flush_millis: int | None = None,
    filename_suffix: str | None = None, name: str | None = None,
    experimental_trackable: bool = False, experimental_mesh: Any = None,
) -> SummaryWriter:  # fmt: skip
    """Returns a writer to a new event file in a folder, for TensorBoard.

    Args:
      logdir: the folder.
      max_queue: summaries that are kept back before they are written; 10.
      flush_millis: and for how long at most; two minutes.
      filename_suffix: end of the file's name; ".v2".
      name, experimental_trackable, experimental_mesh: accepted as in TF.

    Raises:
      ValueError: for an empty folder name.
    """
    if isinstance(logdir, Tensor):
        logdir = logdir.numpy().decode()
    if not os.fspath(logdir):
        raise ValueError("create_file_writer: expected a logdir; received an empty one.")
    return SummaryWriter(EventFile(
        logdir, 10 if max_queue is None else int(max_queue),
        120.0 if flush_millis is None else int(flush_millis) / 1e3,
        ".v2" if filename_suffix is None else str(filename_suffix),
    ))  # fmt: skip


def create_noop_writer() -> SummaryWriter:
    """Returns a writer that drops all: summaries return False."""
    return SummaryWriter(None)


def default_writer() -> SummaryWriter | None:
    """Returns the writer in force in this thread, None without one."""
    writer: SummaryWriter | None = _state.writer
    return writer


def flush(writer: SummaryWriter | None = None, name: str | None = None) -> None:
    """Puts what a writer (the default one) was given into its file."""
    writer = writer or _state.writer
    if writer is not None:
        writer.flush()


@contextlib.contextmanager
def record_if(condition: Any) -> Iterator[None]:
    """Writes the summaries of the block if `condition` (a bool, tensor or function) is true."""
    before, _state.records = _state.records, condition
    try:
        yield
    finally:
        _state.records = before


def should_record_summaries() -> Any:
    """Returns whether summaries are written now: there is a writer, and `record_if` lets them."""
    if _state.writer is None or _state.writer._file is None:
        return convert.constant(np.asarray(False))
    return convert.convert_to_tensor(_condition())


def get_step() -> Any:
    """Returns the step in force, None without one."""
    return _state.step


def set_step(step: Any) -> None:
    """Sets the step of summaries that are given none, for this thread."""
    _state.step = step


def _condition() -> Any:
    return _state.records() if callable(_state.records) else _state.records


def step_or_default(step: Any) -> Any:
    """Returns the step of a summary.

    Raises:
      ValueError: if there is none.
    """
    step = _state.step if step is None else step
    if step is None:
        raise ValueError(
            "No step set. Please specify one either through the `step` argument or through "
            "tf.summary.experimental.set_step()"
        )
    return step


def record(action: Callable[..., None], step: Any, *tensors: Any) -> Any:
    """Calls action(file, step, *arrays) if summaries are recorded; returns whether it did.

    Args:
      action: gets the file, the step as an int, and the arrays of the tensors.
      step: None: the one in force.
      *tensors: what is written.
    """
    writer = _state.writer
    if writer is None:
        return convert.constant(np.asarray(False))
    step, condition = step_or_default(step), _condition()

    def guarded(file: EventFile, now: Any, allowed: Any, *arrays: Any) -> None:
        if bool(allowed):
            if np.ndim(now):
                raise errors.invalid("summary", "a scalar step", str(np.shape(now)))
            action(file, int(now), *arrays)

    written = writer.run(guarded, np.asarray(step) if isinstance(step, int) else step,
                         np.asarray(condition) if isinstance(condition, bool) else condition,
                         *tensors)  # fmt: skip
    if isinstance(condition, bool):
        return written if condition else convert.constant(np.asarray(False))
    return convert.convert_to_tensor(condition)

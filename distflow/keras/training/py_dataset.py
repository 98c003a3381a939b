"""PyDataset: batches by number, made by workers while the model trains."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
import multiprocessing
from collections.abc import Iterator
from typing import Any

from distflow.base import errors


class PyDataset:
    """A data set that a user defines by `__getitem__(index)` -> batch and `__len__` or num_batches.

    Args:
      workers: threads (or processes) that make batches ahead; 1 makes them in the calling thread.
      use_multiprocessing: whether the workers are processes; the data set and its batches are
        then sent by Python's own means, and nothing in it may be tied to a process.
      max_queue_size: how many batches may wait.

    `on_epoch_begin` and `on_epoch_end` are called around each pass. `fit(shuffle=True)` shuffles
    the order of the batches.
    """

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ):
        for name, value in (("workers", workers), ("max_queue_size", max_queue_size)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise errors.invalid("PyDataset", f"{name} must be an int >= 1", repr(value))
        self._workers, self._use_multiprocessing = workers, bool(use_multiprocessing)
        self._max_queue_size = max_queue_size

    # A subclass may not call super().__init__; then it has the defaults.
    @property
    def workers(self) -> int:
        """How many workers make batches."""
        return getattr(self, "_workers", 1)

    @workers.setter
    def workers(self, value: int) -> None:
        self._workers = value

    @property
    def use_multiprocessing(self) -> bool:
        """Whether the workers are processes."""
        return getattr(self, "_use_multiprocessing", False)

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: bool) -> None:
        self._use_multiprocessing = value

    @property
    def max_queue_size(self) -> int:
        """How many batches may wait."""
        return getattr(self, "_max_queue_size", 10)

    @max_queue_size.setter
    def max_queue_size(self, value: int) -> None:
        self._max_queue_size = value

    def __getitem__(self, index: int) -> Any:
        """Returns batch `index`: x, (x, y) or (x, y, sample_weight)."""
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(self, index).")

    @property
    def num_batches(self) -> int | None:
        """The number of batches; None for an endless data set."""
        if not hasattr(self, "__len__"):
            raise NotImplementedError(
                "You need to implement the `num_batches` property:\n\n@property\ndef "
                "num_batches(self):\n  return ..."
            )
        return len(self)

    def on_epoch_begin(self) -> None:
        """Is called before each pass."""

    def on_epoch_end(self) -> None:
        """Is called after each pass."""


def made_batches(dataset: PyDataset, order: Iterator[int]) -> Iterator[Any]:
    """Yields batches by their numbers, made ahead by the data set's workers."""
    if dataset.workers <= 1 and not dataset.use_multiprocessing:
        for index in order:
            yield dataset[index]
        return
    with _pool(dataset) as pool:
        waiting: collections.deque[Any] = collections.deque()
        try:
            for index in itertools.islice(order, dataset.max_queue_size):
                waiting.append(pool.submit(_get, dataset, index))
            while waiting:
                batch = waiting.popleft().result()
                for index in itertools.islice(order, 1):
                    waiting.append(pool.submit(_get, dataset, index))
                yield batch
        finally:
            for future in waiting:
                future.cancel()


def _pool(dataset: PyDataset) -> concurrent.futures.Executor:
    if dataset.use_multiprocessing:
        # Forked children of a process with threads may hang.
        context = multiprocessing.get_context("spawn")
        return concurrent.futures.ProcessPoolExecutor(dataset.workers, mp_context=context)
    return concurrent.futures.ThreadPoolExecutor(dataset.workers, "PyDataset")


def _get(dataset: PyDataset, index: int) -> Any:
    return dataset[index]

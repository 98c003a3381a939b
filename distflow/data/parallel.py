"""Threads for pipelines: ordered and unordered maps over a pool, and reading ahead.

Generators own their threads: closing or dropping one stops them. An exception of the source or
of the function comes out where its element would have come.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

# How long closing waits for a producer that is inside user code; it is a daemon thread anyway.
_JOIN_SECONDS = 5.0


def ordered_map(
    function: Callable[[Any], Any], items: Iterator[Any], workers: int
) -> Iterator[Any]:
    """Yields function(item) in the order of the items, up to `workers` at work at once."""
    waiting: collections.deque[Any] = collections.deque()
    with _Pool(workers) as pool:
        for future in _submitted(pool, function, items):
            waiting.append(future)
            if len(waiting) == workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def unordered_map(
    function: Callable[[Any], Any], items: Iterator[Any], workers: int
) -> Iterator[Any]:
    """Yields function(item) in the order of completion."""
    waiting: set[Any] = set()
    with _Pool(workers) as pool:
        for future in _submitted(pool, function, items):
            waiting.add(future)
            if len(waiting) == workers:
                done, waiting = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
                for ready in done:
                    yield ready.result()
        while waiting:
            done, waiting = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
            for ready in done:
                yield ready.result()


def chosen_map(step: bool | None, pipeline: bool | None) -> Callable[..., Iterator[Any]]:
    """Returns the ordered map, unless the step or else the pipeline's options say False."""
    deterministic = pipeline if step is None else step
    return unordered_map if deterministic is False else ordered_map


class _Pool:
    """An executor that does not wait for user code when a generator is dropped."""

    def __init__(self, workers: int):
        self._executor = futures.ThreadPoolExecutor(workers, thread_name_prefix="distflow-data")

    def __enter__(self) -> futures.ThreadPoolExecutor:
        return self._executor

    def __exit__(self, *_: Any) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _submitted(
    pool: futures.ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterator[Any]
) -> Iterator[futures.Future[Any]]:
    """Yields a future an item; an error of the source becomes the last future."""
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 (it is raised where its element would come)
            failed: futures.Future[Any] = futures.Future()
            failed.set_exception(error)
            yield failed
            return
        yield pool.submit(function, item)


def background(start: Callable[[], Iterator[Any]], size: int) -> Iterator[Any]:
    """Yields the items of `start()`, which a thread of its own reads up to `size` ahead."""
    channel = _Channel(size)
    thread = threading.Thread(
        target=_produce, args=(start, channel), name="distflow-prefetch", daemon=True
    )
    thread.start()
    try:
        while True:
            item, error = channel.get()
            if item is _END:
                if error is not None:
                    raise error
                return
            yield item
    finally:
        channel.close()
        if thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)


_END = object()


class _Channel:
    """A bounded queue whose reader can go away."""

    def __init__(self, size: int):
        self._size = size
        self._items: collections.deque[tuple[Any, Exception | None]] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Any, error: Exception | None = None) -> bool:
        """Adds an item when there is room; False if the reader is gone."""
        with self._changed:
            while len(self._items) >= self._size and not self._closed:
                self._changed.wait()
            if not self._closed:
                self._items.append((item, error))
                self._changed.notify_all()
            return not self._closed

    def get(self) -> tuple[Any, Exception | None]:
        """Takes the next item; the producer always ends with _END, so this ends."""
        with self._changed:
            while not self._items:
                self._changed.wait()
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Lets the producer stop at its next item."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()


def _produce(start: Callable[[], Iterator[Any]], channel: _Channel) -> None:
    failure = None
    try:
        items = start()
        try:
            for item in items:
                if not channel.put(item):
                    break
        finally:
            # Here, not where the reader is: a generator must be closed by the thread it runs in.
            close = getattr(items, "close", None)
            if close is not None:
                close()
    except Exception as error:  # noqa: BLE001 (the reader raises it)
        failure = error
    channel.put(_END, failure)

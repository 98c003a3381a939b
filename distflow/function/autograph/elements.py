"""The elements of a data set one after another inside a graph: host calls around an iterator."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from distflow.base import dtypes, nest
from distflow.base.specs import TensorSpec
from distflow.core import convert
from distflow.ops.prims import host

# Iterators of loops that are running, by number. A run of a graph in another thread has its own.
_running: dict[int, _Running] = {}
_numbers = itertools.count()


def is_dataset(x: Any) -> bool:
    """Whether a value iterates over structures of tensors whose types it knows."""
    spec = getattr(x, "element_spec", None)
    if spec is None or not hasattr(x, "__iter__"):
        return False
    leaves = nest.flatten(spec)
    return bool(leaves) and all(
        isinstance(leaf, TensorSpec) and leaf.shape.rank is not None for leaf in leaves
    )


class Elements:
    """Writes the operations that fetch a data set's elements when the graph runs."""

    def __init__(self, dataset: Any):
        self._dataset = dataset
        self._structure = dataset.element_spec
        self._specs = nest.flatten(self._structure)

    def start(self) -> Any:
        """Returns the number of a new iterator, an int64 scalar."""

        def begin() -> Any:
            number = next(_numbers)
            _running[number] = _Running(iter(self._dataset))
            return np.asarray(number, np.int64)

        (number,) = host.host_call(fn=begin, dtypes=(dtypes.int64,), shapes=((),))
        return number

    def more(self, number: Any) -> Any:
        """Returns whether there is a further element, a bool scalar; asking does not take it."""

        def look(number: Any) -> Any:
            running = _running[int(number)]
            running.ahead = next(running.iterator, _END) if running.ahead is None else running.ahead
            return np.asarray(running.ahead is not _END)

        (more,) = host.host_call(number, fn=look, dtypes=(dtypes.bool_,), shapes=((),))
        return more

    def take(self, number: Any) -> Any:
        """Returns the element that `more` has found."""

        def hand_out(number: Any) -> Any:
            running = _running[int(number)]
            element, running.ahead = running.ahead, None
            leaves = [convert.convert_to_tensor(leaf) for leaf in nest.flatten(element)]
            return tuple([leaf.array for leaf in leaves])  # type: ignore[attr-defined]

        found = host.host_call(
            number, fn=hand_out, dtypes=tuple(s.dtype for s in self._specs),
            shapes=tuple(tuple(s.shape) for s in self._specs),
        )  # fmt: skip
        return nest.pack_sequence_as(self._structure, found)

    def stop(self, number: Any) -> None:
        """Forgets the iterator."""

        def end(number: Any) -> tuple[()]:
            _running.pop(int(number), None)
            return ()

        host.host_call(number, fn=end, dtypes=(), shapes=())


class _Running:
    """An iterator and the element that was looked at, but not handed out yet."""

    def __init__(self, iterator: Any):
        self.iterator = iterator
        self.ahead: Any = None


_END = object()

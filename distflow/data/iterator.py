"""Iterator: one pass over a data set."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator as PythonIterator
from typing import Any

from distflow.base import errors, nest
from distflow.data import position
from distflow.data.optional import Optional, next_of


class Iterator:
    """What `iter(dataset)` returns; dropping it frees its threads and files.

    `tf.train.Checkpoint(iterator=iterator)` keeps its position: restoring starts the same pass and
    drops as many elements.
    """

    def __init__(self, start: Callable[[], PythonIterator[Any]], dataset: Any):
        self._start = start
        self._dataset = dataset
        self._begin()

    def _begin(self) -> None:
        self._before = position.state(self._dataset.node)
        self._taken = 0
        self._elements = self._start()

    @property
    def element_spec(self) -> Any:
        """The structure of specs of an element."""
        return self._dataset.element_spec

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        element = next(self._elements)
        self._taken += 1
        return element

    def get_next(self) -> Any:
        """Returns the next element.

        Raises:
          OutOfRangeError: at the end, where `next` raises StopIteration.
        """
        try:
            return next(self)
        except StopIteration as end:
            raise errors.OutOfRangeError("Iterator: end of sequence.") from end

    def get_next_as_optional(self) -> Optional:
        """Returns the next element as an Optional, which at the end has no value."""
        return next_of(self.__next__, self.element_spec)

    def close(self) -> None:
        """Ends the pass now: threads stop, files close."""
        close = getattr(self._elements, "close", None)
        self._elements = iter(())
        if close is not None:
            close()

    def _checkpoint_state(self) -> dict[str, Any]:
        return {"steps": self._before, "taken": self._taken}

    def _restore_checkpoint_state(self, state: dict[str, Any]) -> None:
        self.close()
        position.set_state(self._dataset.node, state["steps"])
        self._begin()
        while self._taken < state["taken"]:
            next(self)


class NumpyIterator:
    """What `dataset.as_numpy_iterator()` returns: elements with NumPy leaves."""

    def __init__(self, elements: PythonIterator[Any]):
        self._elements = elements

    def __iter__(self) -> NumpyIterator:
        return self

    def __next__(self) -> Any:
        return nest.map_structure(_numpy, next(self._elements))


def _numpy(leaf: Any) -> Any:
    if getattr(leaf, "is_dataset", False):
        return leaf.as_numpy_iterator()
    return leaf.numpy()

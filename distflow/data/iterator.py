"""Iterator: one pass over a data set."""

from __future__ import annotations

from collections.abc import Iterator as PythonIterator
from typing import Any

from distflow.base import errors, nest


class Iterator:
    """What `iter(dataset)` returns; dropping it frees its threads and files."""

    def __init__(self, elements: PythonIterator[Any], dataset: Any):
        self._elements = elements
        self._dataset = dataset

    @property
    def element_spec(self) -> Any:
        """The structure of specs of an element."""
        return self._dataset.element_spec

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        return next(self._elements)

    def get_next(self) -> Any:
        """Returns the next element.

        Raises:
          OutOfRangeError: at the end, where `next` raises StopIteration.
        """
        try:
            return next(self._elements)
        except StopIteration as end:
            raise errors.OutOfRangeError("Iterator: end of sequence.") from end

    def close(self) -> None:
        """Ends the pass now: threads stop, files close."""
        close = getattr(self._elements, "close", None)
        self._elements = iter(())
        if close is not None:
            close()


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

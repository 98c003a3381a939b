"""ArraySource: rows of equally long arrays, read by blocks of positions.

The fast path of `from_tensor_slices(...).shuffle(...).batch(...)` and of `fit` on arrays: the
pipeline moves row numbers, and each batch is gathered at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import errors, nest, shapes
from distflow.base.specs import TensorSpec
from distflow.core.tensor import EagerTensor
from distflow.data import structure


class ArraySource:
    """Arrays that share their first dimension, arranged in a structure.

    Args:
      tensors: structure (tuples, dicts) of tensors or what becomes one; shapes [n, ...].

    Raises:
      InvalidArgumentError: for a scalar, no arrays, or first dimensions that differ.
    """

    def __init__(self, tensors: Any):
        self._template = structure.element(tensors)
        named = nest.flatten_with_paths(self._template)
        if not named:
            raise errors.invalid("from_tensor_slices", "at least one array is needed", "none")
        self._arrays = [leaf.array for _, leaf in named]
        self._pack = structure.packer(self._template)
        self.length = _first_dimension(named)

    def __len__(self) -> int:
        return self.length

    @property
    def spec(self) -> Any:
        """The spec of one row."""
        return structure.map_spec(
            lambda leaf: TensorSpec(leaf.shape[1:], leaf.dtype), self._template
        )

    def row(self, position: int) -> Any:
        """Returns one row as a structure of tensors, without a copy."""
        return self._pack([EagerTensor(a[position, ...]) for a in self._arrays])

    def take(self, positions: Any) -> Any:
        """Returns the rows at an array of positions as one structure of tensors [k, ...]."""
        return self._pack([EagerTensor(np.take(a, positions, 0)) for a in self._arrays])


@dataclass(frozen=True)
class Rows:
    """A stream of row numbers of one ArraySource: what a data set is, before any copy."""

    source: ArraySource
    positions: Iterator[int]


def _first_dimension(named: list[tuple[tuple[Any, ...], Any]]) -> int:
    for path, leaf in named:
        if not leaf.shape:
            raise errors.invalid(
                "from_tensor_slices", "arrays must have at least one dimension",
                f"a scalar{_place(path)}", "from_tensors makes one element of a value.",
            )  # fmt: skip
    first_path, first = named[0]
    for path, leaf in named[1:]:
        if leaf.shape[0] != first.shape[0]:
            raise errors.invalid(
                "from_tensor_slices", "all arrays must have the same first dimension",
                f"{shapes.text(first.shape)}{_place(first_path)} and "
                f"{shapes.text(leaf.shape)}{_place(path)}",
            )  # fmt: skip
    return int(first.shape[0])


def _place(path: tuple[Any, ...]) -> str:
    return "" if not path else " at " + "".join(f"[{key!r}]" for key in path)

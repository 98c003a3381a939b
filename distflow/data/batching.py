"""batch, padded_batch, unbatch and window: elements together, and apart again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, nest, shapes
from distflow.base.specs import TensorSpec
from distflow.core import convert
from distflow.core.tensor import EagerTensor
from distflow.data import parallel, structure
from distflow.data.arrays import Rows
from distflow.data.node import UNKNOWN, Node, Run, scaled
from distflow.data.options import worker_count
from distflow.data.sources import Elements


@dataclass(frozen=True, eq=False)
class Batch(Node):
    """Elements stacked by `size`; rows of arrays are gathered block by block."""

    source: Node
    size: int
    drop_remainder: bool
    parallel_calls: int = 0
    deterministic: bool | None = None

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields batches."""
        rows = self.source.rows(run)
        if rows is not None:
            return self._gathered(rows)
        groups = chunks(self.source.elements(run), self.size, self.drop_remainder)
        if self.parallel_calls == 0 or run.peek:
            return map(self._stack, groups)
        over = parallel.chosen_map(self.deterministic, run.options.deterministic)
        return over(self._stack, groups, worker_count(self.parallel_calls, run.options))

    def _stack(self, elements: list[Any]) -> Any:
        return structure.stack("batch", elements)

    def _gathered(self, rows: Rows) -> Iterator[Any]:
        while True:
            block = np.fromiter(itertools.islice(rows.positions, self.size), np.int64)
            if len(block) == 0 or (self.drop_remainder and len(block) < self.size):
                return
            yield rows.source.take(block)

    def _spec(self) -> Any:
        size = self.size if self.drop_remainder else None
        return structure.map_spec(
            lambda leaf: TensorSpec((size, *leaf.shape), leaf.dtype), self.source.spec
        )

    @property
    def cardinality(self) -> int:
        """The number of batches."""
        return scaled(self.source.cardinality, lambda n: _pieces(n, self.size, self.drop_remainder))


def chunks(items: Iterator[Any], size: int, drop_remainder: bool) -> Iterator[list[Any]]:
    """Yields lists of `size` items; the last may be shorter, or is left out."""
    while True:
        group = list(itertools.islice(items, size))
        if not group or (drop_remainder and len(group) < size):
            return
        yield group


def _pieces(n: int, size: int, drop_remainder: bool) -> int:
    return n // size if drop_remainder else -(-n // size)


@dataclass(frozen=True, eq=False)
class PaddedBatch(Node):
    """Elements stacked by `size` after padding them to one shape.

    Args of the record:
      padded_shapes: structure of shapes as the spec's; None dimensions grow to the longest of the
        batch. None: the spec's own shapes.
      padding_values: structure of scalars, or one for all; None: zeros, empty strings, False.
    """

    source: Node
    size: int
    drop_remainder: bool
    padded_shapes: Any
    padding_values: Any

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields batches."""
        targets = self._targets()
        fills = self._fills()

        def pad(columns: list[list[Any]]) -> list[list[Any]]:
            return [_padded(c, t, f) for c, t, f in zip(columns, targets, fills)]

        for group in chunks(self.source.elements(run), self.size, self.drop_remainder):
            yield structure.stack("padded_batch", group, pad)

    def _targets(self) -> list[Any]:
        leaves = nest.flatten(self.source.spec)
        if self.padded_shapes is None:
            given = [leaf.shape for leaf in leaves]
        else:
            given = _like(self.source.spec, self.padded_shapes)
        targets = [shapes.TensorShape(_dims(shape)) for shape in given]
        for leaf, target in zip(leaves, targets):
            if target.rank is None or (
                leaf.shape.rank is not None and len(leaf.shape) != len(target)
            ):
                raise errors.invalid(
                    "padded_batch", f"padded_shapes must have the rank of {leaf!r}", str(target)
                )
        return targets

    def _fills(self) -> list[Any]:
        leaves = nest.flatten(self.source.spec)
        if self.padding_values is None or not nest.is_nested(self.padding_values):
            given = [self.padding_values] * len(leaves)
        else:
            given = _like(self.source.spec, self.padding_values)
        return [_fill(leaf.dtype, value) for leaf, value in zip(leaves, given)]

    def _spec(self) -> Any:
        size = self.size if self.drop_remainder else None
        leaves = [
            TensorSpec((size, *target), leaf.dtype)
            for leaf, target in zip(nest.flatten(self.source.spec), self._targets())
        ]
        return nest.pack_sequence_as(self.source.spec, leaves)

    @property
    def cardinality(self) -> int:
        """The number of batches."""
        return scaled(self.source.cardinality, lambda n: _pieces(n, self.size, self.drop_remainder))


def _like(spec: Any, given: Any) -> list[Any]:
    """Returns the parts of `given` that stand where `spec` has leaves (shapes are lists, too)."""
    if not nest.is_nested(spec):
        return [given]
    if type(given) is not type(spec) or len(given) != len(spec):
        raise errors.invalid("padded_batch", f"a structure like {spec!r}", repr(given))
    pairs = zip(nest.children(spec), nest.children(given))
    return [leaf for part, other in pairs for leaf in _like(part, other)]


def _dims(shape: Any) -> Any:
    return shape.array.tolist() if isinstance(shape, EagerTensor) else shape


def _fill(dtype: dtypes.DType, value: Any) -> Any:
    if value is None:
        return b"" if dtype is dtypes.string else np.zeros((), dtype.numpy)[()]
    array = value.array if isinstance(value, EagerTensor) else convert.to_array(value, dtype)
    if array.ndim or dtypes.of_array(array) is not dtype:
        raise errors.invalid(
            "padded_batch", f"padding values must be {dtype.name} scalars", repr(value)
        )
    return array[()]


def _padded(arrays: list[Any], target: Any, fill: Any) -> list[Any]:
    longest = [max(sizes) for sizes in zip(*(a.shape for a in arrays))]
    full = tuple(own if dim is None else dim for own, dim in zip(longest, target))
    result = []
    for array in arrays:
        if any(own > dim for own, dim in zip(array.shape, full)):
            raise errors.DataLossError(
                f"padded_batch: expected elements within {shapes.text(full)}; "
                f"received one of shape {shapes.text(array.shape)}."
            )
        padded = np.full(full, fill, array.dtype)
        padded[tuple(slice(own) for own in array.shape)] = array
        result.append(padded)
    return result


@dataclass(frozen=True, eq=False)
class Unbatch(Node):
    """The rows of every element, one by one."""

    source: Node

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields rows; they are views of their batch."""
        for value in self.source.elements(run):
            leaves = nest.flatten(value)
            _check_rows(leaves)
            pack = structure.packer(value)
            for i in range(leaves[0].shape[0]):
                yield pack([EagerTensor(leaf.array[i, ...]) for leaf in leaves])

    def _spec(self) -> Any:
        return structure.map_spec(
            lambda leaf: TensorSpec(leaf.shape[1:], leaf.dtype), self.source.spec
        )

    @property
    def cardinality(self) -> int:
        """Known where every batch has the same known size."""
        sizes = {leaf.shape[0] for leaf in nest.flatten(self.source.spec) if leaf.shape}
        if len(sizes) != 1 or None in sizes:
            return UNKNOWN
        return scaled(self.source.cardinality, lambda n: n * next(iter(sizes)))


def _check_rows(leaves: list[Any]) -> None:
    sizes = {leaf.shape[0] if leaf.shape else None for leaf in leaves}
    if len(sizes) != 1 or None in sizes:
        raise errors.invalid(
            "unbatch", "all parts of an element must have the same first dimension",
            " and ".join(shapes.text(leaf.shape) for leaf in leaves),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Window(Node):
    """Data sets of up to `size` elements, taken every `stride`, beginning every `shift`.

    Each part of an element becomes a data set of its own: a dict gives a dict of data sets.
    """

    source: Node
    size: int
    shift: int
    stride: int
    drop_remainder: bool
    wrap: Callable[[Node], Any]

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields structures of data sets."""
        items = self.source.elements(run)
        reach = (self.size - 1) * self.stride + 1
        buffer: list[Any] = []
        while True:
            buffer.extend(itertools.islice(items, max(0, reach - len(buffer))))
            chosen = buffer[: reach : self.stride]
            if not chosen or (self.drop_remainder and len(chosen) < self.size):
                return
            yield self._datasets(chosen)
            missing = self.shift - len(buffer)
            del buffer[: self.shift]
            # Shifts beyond the window skip elements of the source.
            for _ in itertools.islice(items, max(0, missing)):
                pass

    def _datasets(self, chosen: list[Any]) -> Any:
        columns = zip(*(nest.flatten(value) for value in chosen))
        specs = nest.flatten(self.source.spec)
        parts = [self.wrap(Elements(tuple(c), s)) for c, s in zip(columns, specs)]
        return nest.pack_sequence_as(chosen[0], parts)

    def _spec(self) -> Any:
        return structure.map_spec(
            lambda leaf: structure.DatasetSpec(leaf, lambda: self.wrap(Elements((), leaf))),
            self.source.spec,
        )

    @property
    def cardinality(self) -> int:
        """The number of windows."""
        return scaled(self.source.cardinality, self._count)

    def _count(self, n: int) -> int:
        reach = (self.size - 1) * self.stride + 1 if self.drop_remainder else 1
        return max(0, (n - reach) // self.shift + 1) if n >= reach else 0

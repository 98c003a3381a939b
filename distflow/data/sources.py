"""Where elements come from: tensors, ranges, Python generators, and several data sets at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, nest, shapes
from distflow.base.specs import TensorSpec
from distflow.core import convert
from distflow.core.tensor import EagerTensor
from distflow.data import structure
from distflow.data.arrays import ArraySource, Rows
from distflow.data.node import INFINITE, UNKNOWN, Node, Run


@dataclass(frozen=True, eq=False)
class TensorSlices(Node):
    """The rows of arrays."""

    arrays: ArraySource

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields row by row."""
        return (self.arrays.row(i) for i in range(len(self.arrays)))

    def rows(self, run: Run) -> Rows | None:
        """Returns all row numbers in order."""
        return Rows(self.arrays, iter(range(len(self.arrays))))

    def _spec(self) -> Any:
        return self.arrays.spec

    @property
    def cardinality(self) -> int:
        """The first dimension."""
        return len(self.arrays)


@dataclass(frozen=True, eq=False)
class Elements(Node):
    """Elements at hand: `from_tensors`, and the parts that `window` makes."""

    values: tuple[Any, ...]
    element_spec: Any

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the elements."""
        return iter(self.values)

    def sources(self) -> list[Node]:
        """Returns nothing: values are values."""
        return []

    def _with_sources(self, change: Any) -> Node:
        return self

    def _spec(self) -> Any:
        return self.element_spec

    @property
    def cardinality(self) -> int:
        """How many there are."""
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Range(Node):
    """Integers (or floats) from start to stop by step."""

    start: int
    stop: int
    step: int
    dtype: dtypes.DType

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields scalars."""
        kind = self.dtype.numpy
        numbers = range(self.start, self.stop, self.step)
        return (EagerTensor(np.asarray(i, kind)) for i in numbers)

    def _spec(self) -> Any:
        return TensorSpec((), self.dtype)

    @property
    def cardinality(self) -> int:
        """The length of Python's range."""
        return len(range(self.start, self.stop, self.step))


@dataclass(frozen=True, eq=False)
class Generator(Node):
    """What a Python generator yields, checked against a signature."""

    make: Callable[..., Any]
    arguments: tuple[Any, ...]
    signature: Any

    def elements(self, run: Run) -> Iterator[Any]:
        """Starts the generator anew and yields its elements."""
        made = structure.eagerly(self.make, *self.arguments)
        items = iter(made)
        try:
            for value in items:
                yield self._checked(value)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _checked(self, value: Any) -> Any:
        signature = self.signature
        if isinstance(signature, TensorSpec):
            return _leaf(value, signature)
        if type(value) is not type(signature) or not _same_nesting(signature, value):
            raise errors.invalid(
                "from_generator", f"elements must match the structure {_outline(signature)}",
                f"{value!r:.120}",
            )  # fmt: skip
        parts = zip(_paired(signature, value), nest.flatten(signature))
        return nest.pack_sequence_as(signature, [_leaf(v, s) for v, s in parts])

    def _spec(self) -> Any:
        return self.signature

    @property
    def cardinality(self) -> int:
        """Nobody knows."""
        return UNKNOWN


def _leaf(value: Any, spec: TensorSpec) -> EagerTensor:
    try:
        array = value.array if isinstance(value, EagerTensor) else convert.to_array(value)
        if dtypes.of_array(array) is not spec.dtype:
            array = convert.to_array(value, spec.dtype)
    except errors.InvalidArgumentError as error:
        raise errors.DtypeMismatchError(
            f"from_generator: expected a value for {spec!r}; received {value!r:.120}."
        ) from error
    if not spec.shape.is_compatible_with(array.shape):
        raise errors.invalid(
            "from_generator", f"elements must fit {spec!r}",
            f"a value of shape {shapes.text(array.shape)}",
        )  # fmt: skip
    return EagerTensor(array)


def _same_nesting(signature: Any, value: Any) -> bool:
    """Whether the value nests as the signature does; below a spec anything may be."""
    if isinstance(signature, TensorSpec):
        return True
    if not nest.is_nested(value) or type(value) is not type(signature):
        return False
    if isinstance(signature, dict) and set(signature) != set(value):
        return False
    parts, others = nest.children(signature), nest.children(value)
    return len(parts) == len(others) and all(map(_same_nesting, parts, others))


def _paired(signature: Any, value: Any) -> list[Any]:
    """Returns the parts of the value that stand where the signature has specs."""
    if isinstance(signature, TensorSpec):
        return [value]
    pairs = zip(nest.children(signature), nest.children(value))
    return [leaf for part, other in pairs for leaf in _paired(part, other)]


def _outline(signature: Any) -> str:
    return str(structure.map_spec(lambda s: f"{s.dtype.name}{shapes.text(s.shape)}", signature))


@dataclass(frozen=True, eq=False)
class Zip(Node):
    """Elements of several data sets side by side, until the shortest ends."""

    parts: Any

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields structures of elements."""
        streams = [node.elements(run) for node in nest.flatten(self.parts)]
        pack = structure.packer(self.parts)
        for row in zip(*streams):
            yield pack(list(row))

    def _spec(self) -> Any:
        return nest.pack_sequence_as(self.parts, [n.spec for n in nest.flatten(self.parts)])

    @property
    def cardinality(self) -> int:
        """That of the shortest."""
        sizes = [node.cardinality for node in nest.flatten(self.parts)]
        finite = [n for n in sizes if n != INFINITE]
        if not finite:
            return INFINITE
        return UNKNOWN if UNKNOWN in finite else min(finite)


@dataclass(frozen=True, eq=False)
class Concatenate(Node):
    """The elements of one data set, then those of another."""

    first: Node
    second: Node

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields both in order."""
        yield from self.first.elements(run)
        yield from self.second.elements(run)

    def _spec(self) -> Any:
        return structure.common_spec("concatenate", self.first.spec, self.second.spec)

    @property
    def cardinality(self) -> int:
        """The sum."""
        sizes = self.first.cardinality, self.second.cardinality
        if INFINITE in sizes:
            return INFINITE
        return UNKNOWN if UNKNOWN in sizes else sum(sizes)

"""Shape arithmetic on tuples whose unknown dimensions are None.

The rank of a tensor is always known; a dimension may be None while a function is traced.
`TensorShape` is the public face: a tuple with TensorFlow's methods.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from distflow.base import errors

Dim = int | None
Shape = tuple[Dim, ...]


class TensorShape(tuple[Any, ...]):
    """A tensor's shape: a tuple of int or None. `TensorShape(None)` has an unknown rank."""

    _unknown_rank = False

    def __new__(cls, dims: Any = None) -> TensorShape:
        """Accepts None (unknown rank), an int, or an iterable of int, None or -1."""
        if dims is None:
            shape = super().__new__(cls, ())
            shape._unknown_rank = True
            return shape
        if isinstance(dims, TensorShape):
            return dims
        if isinstance(dims, int):
            dims = (dims,)
        return super().__new__(cls, tuple(_dim(d) for d in dims))

    @classmethod
    def of(cls, dims: tuple[Dim, ...]) -> TensorShape:
        """Returns the shape of dimensions known to be valid (the fast way)."""
        return super().__new__(cls, dims)

    @property
    def rank(self) -> int | None:
        """Number of dimensions, or None if unknown."""
        return None if self._unknown_rank else len(self)

    @property
    def ndims(self) -> int | None:
        """The same as `rank`."""
        return self.rank

    @property
    def dims(self) -> list[Dim] | None:
        """The dimensions as a list, or None if the rank is unknown."""
        return None if self._unknown_rank else list(self)

    def as_list(self) -> list[Dim]:
        """Returns the dimensions as a list.

        Raises:
          InvalidArgumentError: if the rank is unknown.
        """
        if self._unknown_rank:
            raise errors.invalid("TensorShape.as_list", "the rank must be known", "unknown rank")
        return list(self)

    def is_fully_defined(self) -> bool:
        """Whether rank and every dimension are known."""
        return not self._unknown_rank and all(d is not None for d in self)

    def num_elements(self) -> int | None:
        """Product of the dimensions, or None if one is unknown."""
        return math.prod(self) if self.is_fully_defined() else None

    def is_compatible_with(self, other: Any) -> bool:
        """Whether some concrete shape matches both."""
        other = TensorShape(other)
        if self._unknown_rank or other._unknown_rank:
            return True
        return len(self) == len(other) and all(
            a is None or b is None or a == b for a, b in zip(self, other)
        )

    def assert_is_compatible_with(self, other: Any) -> None:
        """Raises InvalidArgumentError unless the shapes are compatible."""
        if not self.is_compatible_with(other):
            raise errors.invalid(
                "TensorShape", f"shapes must be compatible with {self}", str(other)
            )

    def assert_has_rank(self, rank: int) -> None:
        """Raises InvalidArgumentError unless the rank is `rank` or unknown."""
        if self.rank not in (None, rank):
            raise errors.invalid("TensorShape", f"rank must be {rank}", str(self))

    def with_rank(self, rank: int) -> TensorShape:
        """Returns this shape with the given rank; unknown rank becomes unknown dimensions."""
        if self._unknown_rank:
            return TensorShape([None] * rank)
        self.assert_has_rank(rank)
        return self

    def with_rank_at_least(self, rank: int) -> TensorShape:
        """Returns this shape; raises InvalidArgumentError if its rank is known and smaller."""
        if self.rank is not None and self.rank < rank:
            raise errors.invalid("TensorShape", f"rank must be at least {rank}", str(self))
        return self

    def with_rank_at_most(self, rank: int) -> TensorShape:
        """Returns this shape; raises InvalidArgumentError if its rank is known and larger."""
        if self.rank is not None and self.rank > rank:
            raise errors.invalid("TensorShape", f"rank must be at most {rank}", str(self))
        return self

    def most_specific_compatible_shape(self, other: Any) -> TensorShape:
        """Returns the shape that covers both: dimensions that differ are unknown."""
        other = TensorShape(other)
        if self.rank != other.rank or self.rank is None:
            return TensorShape(None)
        return TensorShape(a if a == b else None for a, b in zip(self, other))

    def merge_with(self, other: Any) -> TensorShape:
        """Returns the shape that holds what both know."""
        other = TensorShape(other)
        self.assert_is_compatible_with(other)
        if self._unknown_rank:
            return other
        if other._unknown_rank:
            return self
        return TensorShape(b if a is None else a for a, b in zip(self, other))

    def concatenate(self, other: Any) -> TensorShape:
        """Returns the shape of both after one another."""
        other = TensorShape(other)
        if self._unknown_rank or other._unknown_rank:
            return TensorShape(None)
        return TensorShape((*self, *other))

    def __add__(self, other: Any) -> TensorShape:
        return self.concatenate(other)

    def __radd__(self, other: Any) -> TensorShape:
        return TensorShape(other).concatenate(self)

    def __getitem__(self, index: Any) -> Any:
        if self._unknown_rank:
            return TensorShape(None) if isinstance(index, slice) else None
        item = super().__getitem__(index)
        return TensorShape(item) if isinstance(index, slice) else item

    def __eq__(self, other: object) -> bool:
        if other is None:
            return self._unknown_rank
        if isinstance(other, TensorShape) and (self._unknown_rank or other._unknown_rank):
            return self._unknown_rank and other._unknown_rank
        return isinstance(other, list | tuple) and tuple(self) == tuple(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((tuple(self), self._unknown_rank))

    def __repr__(self) -> str:
        return f"TensorShape({'None' if self._unknown_rank else list(self)})"

    def __str__(self) -> str:
        if self._unknown_rank:
            return "<unknown>"
        return f"({', '.join(map(str, self))}{',' if len(self) == 1 else ''})"

    def __reduce__(self) -> Any:
        return TensorShape, (None if self._unknown_rank else tuple(self),)


def _dim(dim: Any) -> Dim:
    if dim is None:
        return None
    try:
        value = operator.index(dim)
    except TypeError as error:
        raise errors.DtypeMismatchError(
            f"TensorShape: expected integers or None as dimensions; received {dim!r}."
        ) from error
    if value < -1:
        raise errors.invalid("TensorShape", "dimensions must be None, -1 or >= 0", str(dim))
    return None if value == -1 else value


def broadcast(where: str, *shapes: Sequence[Dim]) -> Shape:
    """Returns the NumPy broadcast of shapes; an unknown dimension beside n > 1 gives n.

    Raises:
      InvalidArgumentError: if two known dimensions differ and neither is 1.
    """
    rank = max((len(s) for s in shapes), default=0)
    result: list[Dim] = []
    for position in range(rank):
        dim: Dim = 1
        for shape in shapes:
            offset = position - (rank - len(shape))
            if offset < 0:
                continue
            other = shape[offset]
            if dim == 1:
                dim = other
            elif other == 1 or other == dim:
                continue
            elif dim is None or other is None:
                dim = other if dim is None else dim
            else:
                raise errors.invalid(
                    where,
                    "shapes must broadcast to one another",
                    " and ".join(text(s) for s in shapes),
                )
        result.append(dim)
    return tuple(result)


def merge(where: str, a: Sequence[Dim], b: Sequence[Dim]) -> Shape:
    """Returns what both shapes know; raises InvalidArgumentError if they disagree."""
    if len(a) != len(b) or any(x is not None and y is not None and x != y for x, y in zip(a, b)):
        raise errors.invalid(where, f"shape must be {text(a)}", text(b))
    return tuple(y if x is None else x for x, y in zip(a, b))


def size(shape: Iterable[Dim]) -> Dim:
    """Returns the number of elements, or None if a dimension is unknown."""
    dims = list(shape)
    if 0 in dims:
        return 0
    return None if None in dims else math.prod(d for d in dims if d is not None)


def axis(where: str, value: int, rank: int) -> int:
    """Returns a non-negative axis; raises InvalidArgumentError if it is out of range."""
    if not -rank <= value < rank:
        raise errors.invalid(where, f"axis must be in [{-rank}, {rank})", f"axis={value}")
    return value % rank


def axes(where: str, values: Any, rank: int) -> tuple[int, ...]:
    """Returns sorted distinct non-negative axes; None means all of them."""
    if values is None:
        return tuple(range(rank))
    if isinstance(values, int) or not hasattr(values, "__iter__"):
        values = [int(values)]
    result = sorted(axis(where, int(v), rank) for v in values)
    if len(set(result)) != len(result):
        raise errors.invalid(where, "axes must be distinct", str(list(values)))
    return tuple(result)


def is_static(shape: Iterable[Dim]) -> bool:
    """Whether every dimension is known."""
    return None not in tuple(shape)


def text(shape: Iterable[Dim]) -> str:
    """Returns a shape as it stands in messages: [32, ?, 10]."""
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"

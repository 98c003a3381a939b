"""Layers of several inputs: sums, products, extrema, concatenation and dot products."""

from __future__ import annotations

import functools
from typing import Any

from distflow.base import dtypes, errors, shapes
from distflow.keras.engine.layer import Layer
from distflow.keras.ops.dtype_rules import promoted
from distflow.ops import array, math
from distflow.ops.creation import ones_like
from distflow.ops.normalization import l2_normalize
from distflow.ops.prims.contraction import dot_general
from distflow.ops.reduce import reduce_any


class _Merge(Layer):
    """Combines a list of inputs whose shapes broadcast, element by element.

    Inputs of lower rank get dimensions of size 1 behind the batch.
    """

    _least = 2

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Checks the shapes."""
        listed = _shapes(type(self).__name__, input_shape, self._least)
        batches = {s[0] for s in listed if s and s[0] is not None}
        if len(batches) > 1:
            raise errors.invalid(
                type(self).__name__, "inputs must have one batch size", f"input_shape={listed}"
            )
        self._broadcast(listed)

    def _broadcast(self, listed: list[Any]) -> Any:
        rank = max(map(len, listed))
        spread = [(*s[:1], *[1] * (rank - len(s)), *s[1:]) for s in listed]
        try:
            return shapes.broadcast(type(self).__name__, *spread)
        except errors.InvalidArgumentError as error:
            raise errors.invalid(
                type(self).__name__, "Inputs have incompatible shapes",
                f"shapes {' and '.join(str(tuple(s)) for s in listed)}",
            ) from error  # fmt: skip

    def _combine(self, inputs: list[Any]) -> Any:
        raise AssertionError("subclasses define _combine")

    def call(self, inputs: Any) -> Any:
        """Returns the combination of all inputs."""
        if not isinstance(inputs, list | tuple):
            raise _not_a_list(type(self).__name__, inputs)
        rank = max(x.ndim for x in inputs)
        spread = []
        for x in inputs:
            for _ in range(rank - x.ndim):
                x = array.expand_dims(x, 1)
            spread.append(x)
        return self._combine(spread)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns where any input's mask is true; None if an input has none."""
        if mask is None:
            return None
        if not isinstance(mask, list | tuple) or len(mask) != len(inputs):
            raise errors.invalid(
                type(self).__name__, "The lists `inputs` and `mask` should have the same length",
                f"{len(inputs)} inputs, mask={mask}",
            )  # fmt: skip
        if any(m is None for m in mask):
            return None
        return functools.reduce(math.logical_or, mask)


def _shapes(where: str, input_shape: Any, least: int) -> list[Any]:
    if not isinstance(input_shape, list | tuple) or not all(
        isinstance(s, list | tuple) for s in input_shape
    ):
        raise _not_a_list(where, input_shape)
    if len(input_shape) < least:
        raise errors.invalid(
            where, f"A merge layer should be called on a list of at least {least} inputs",
            f"input_shape={input_shape} (not a list of shapes)",
        )  # fmt: skip
    return list(input_shape)


def _not_a_list(where: str, given: Any) -> Exception:
    return errors.invalid(
        where, "A merge layer should be called on a list of inputs",
        f"{getattr(given, 'shape', given)} (not a list)",
    )  # fmt: skip


class Add(_Merge):
    """The sum of all inputs."""

    _least = 1

    def _combine(self, inputs: list[Any]) -> Any:
        return functools.reduce(math.add, inputs)


class Subtract(_Merge):
    """The first of two inputs minus the second."""

    def build(self, input_shape: Any) -> None:
        """Checks the shapes."""
        if len(_shapes("Subtract", input_shape, 1)) != 2:
            raise errors.invalid(
                "Subtract", "A `Subtract` layer should be called on exactly 2 inputs",
                f"input_shape={input_shape}",
            )  # fmt: skip
        super().build(input_shape)

    def _combine(self, inputs: list[Any]) -> Any:
        return inputs[0] - inputs[1]


class Multiply(_Merge):
    """The product of all inputs."""

    _least = 1

    def _combine(self, inputs: list[Any]) -> Any:
        return functools.reduce(math.multiply, inputs)


class Average(_Merge):
    """The mean of all inputs."""

    _least = 1

    def _combine(self, inputs: list[Any]) -> Any:
        return functools.reduce(math.add, inputs) / len(inputs)


class Maximum(_Merge):
    """The largest of all inputs, element by element."""

    _least = 1

    def _combine(self, inputs: list[Any]) -> Any:
        return functools.reduce(math.maximum, inputs)


class Minimum(_Merge):
    """The smallest of all inputs, element by element."""

    _least = 1

    def _combine(self, inputs: list[Any]) -> Any:
        return functools.reduce(math.minimum, inputs)


class Concatenate(_Merge):
    """All inputs one after another along an axis."""

    _least = 1

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        """Checks the shapes."""
        _check_joins(_shapes("Concatenate", input_shape, 1), self.axis)

    def call(self, inputs: Any) -> Any:
        """Returns the concatenation."""
        if not isinstance(inputs, list | tuple):
            raise _not_a_list("Concatenate", inputs)
        return array.concat(promoted(*inputs), self.axis)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns the concatenation of the masks; an input without one is all true."""
        if mask is None or all(m is None for m in mask):
            return None
        masks = []
        for x, m in zip(inputs, mask):
            if m is None:
                m = math.cast(ones_like(x), dtypes.bool_)
            while m.ndim < x.ndim:
                m = array.expand_dims(m, -1)
            masks.append(math.logical_and(m, math.cast(ones_like(x), dtypes.bool_)))
        return reduce_any(array.concat(masks, self.axis), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"axis": self.axis}


def _check_joins(listed: list[Any], axis: int) -> None:
    rank = len(listed[0])
    at = shapes.axis("Concatenate", axis, rank)
    for shape in listed:
        same = len(shape) == rank and all(
            i == at or None in (a, b) or a == b for i, (a, b) in enumerate(zip(listed[0], shape))
        )
        if not same:
            raise errors.invalid(
                "Concatenate", "A `Concatenate` layer requires inputs with matching shapes "
                "except for the concatenation axis", f"input_shape={listed}",
            )  # fmt: skip


class Dot(_Merge):
    """The product of two inputs summed over one axis of each, example by example.

    Args:
      axes: an int for both, or a pair.
      normalize: give both the norm 1 along the axis first: the cosine of their angle.
    """

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        valid = isinstance(axes, int) or (
            isinstance(axes, list | tuple) and len(axes) == 2
            and all(isinstance(a, int) for a in axes)
        )  # fmt: skip
        if not valid:
            raise errors.DtypeMismatchError(
                f"Dot: expected `axes` to be an int or a pair of ints; received axes={axes}."
            )
        self.axes = axes
        self.normalize = normalize
        self.supports_masking = True

    def _pair(self, first: Any, second: Any) -> tuple[int, int]:
        given = (self.axes, self.axes) if isinstance(self.axes, int) else tuple(self.axes)
        at = tuple(shapes.axis("Dot", a, len(shape)) for a, shape in zip(given, (first, second)))
        if 0 in at:
            raise errors.invalid("Dot", "axes must not be the batch's", f"axes={self.axes}")
        return at  # type: ignore[return-value]

    def build(self, input_shape: Any) -> None:
        """Checks the shapes."""
        if not isinstance(input_shape, list | tuple) or len(input_shape) != 2:
            raise errors.invalid(
                "Dot", "A `Dot` layer should be called on a list of 2 inputs",
                f"input_shape={input_shape}",
            )  # fmt: skip
        first, second = input_shape
        i, j = self._pair(first, second)
        if None not in (first[i], second[j]) and first[i] != second[j]:
            raise errors.invalid(
                "Dot", f"Incompatible input shapes: axis values {first[i]} (at axis {i}) != "
                f"{second[j]} (at axis {j})", f"{tuple(first)}, {tuple(second)}",
            )  # fmt: skip

    def call(self, inputs: Any) -> Any:
        """Returns the product, of rank 2 at least."""
        x, y = inputs
        i, j = self._pair(x.shape, y.shape)
        if self.normalize:
            x, y = l2_normalize(x, axis=i), l2_normalize(y, axis=j)
        product = dot_general(x, y, contract=((i,), (j,)), batch=((0,), (0,)))
        return array.expand_dims(product, 1) if product.ndim == 1 else product

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The product has no mask."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"axes": self.axes, "normalize": self.normalize}


def add(inputs: Any, **kwargs: Any) -> Any:
    """Returns the sum of a list of inputs."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """Returns the first of two inputs minus the second."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """Returns the product of a list of inputs."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """Returns the mean of a list of inputs."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """Returns the largest of a list of inputs, element by element."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """Returns the smallest of a list of inputs, element by element."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """Returns a list of inputs one after another."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """Returns the product of two inputs summed over one axis of each."""
    return Dot(axes=axes, **kwargs)(inputs)

"""Reductions over axes: sum, mean, extrema, any and all, logsumexp, moments, norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.prims import elementwise as p
from distflow.ops.prims import reduction


def _axes(where: str, axis: Any, rank: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(rank))
    values = dims.known(axis)
    if values is None:
        raise errors.invalid(where, "axis must be known while tracing", repr(axis))
    return shapes.axes(where, [int(a) for a in np.reshape(values, -1)], rank)


def keep(y: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Returns a reduction of x with the reduced dimensions back, of size 1."""
    return dims.reshape(y, [1 if i in axes else d for i, d in enumerate(dims.of(x))])


def drop(y: Any, axes: tuple[int, ...]) -> Any:
    """Returns y without some dimensions of size 1."""
    return dims.reshape(y, [d for i, d in enumerate(dims.of(y)) if i not in axes])


def _reduce(primitive: Any, x: Any, axis: Any, keepdims: Any) -> Any:
    x = convert_to_tensor(x)
    axes = _axes(primitive.name, axis, x.ndim)
    y = primitive(x, axes=axes)
    return keep(y, x, axes) if keepdims else y


def reduce_sum(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns the sum over axes (default: all); 0 over nothing."""
    return _reduce(reduction.reduce_sum, input_tensor, axis, keepdims)


def reduce_prod(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns the product over axes (default: all); 1 over nothing."""
    return _reduce(reduction.reduce_prod, input_tensor, axis, keepdims)


def reduce_max(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns the maximum over axes (default: all); the lowest value over nothing."""
    return _reduce(reduction.reduce_max, input_tensor, axis, keepdims)


def reduce_min(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns the minimum over axes (default: all); the highest value over nothing."""
    return _reduce(reduction.reduce_min, input_tensor, axis, keepdims)


def reduce_mean(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns the mean over axes (default: all): the sum divided by the count.

    Integers are divided as C does; 16-bit floats are summed and divided in float32. The mean of
    nothing is NaN.
    """
    x = convert_to_tensor(input_tensor)
    axes = _axes("reduce_mean", axis, x.ndim)
    wide = dtypes.float32 if x.dtype.is_floating and x.dtype.size == 2 else x.dtype
    total = reduction.reduce_sum(m.cast(x, wide), axes=axes)
    mean = m.cast(p.div(total, _as(dims.count(x, axes), wide)), x.dtype)
    return keep(mean, x, axes) if keepdims else mean


def _as(number: Any, dtype: dtypes.DType) -> Any:
    """A count (an int, or an int32 tensor) as a scalar of a dtype."""
    if isinstance(number, int):
        return EagerTensor(np.asarray(number, dtype.numpy))
    return m.cast(number, dtype)


def _logical(where: str, primitive: Any, x: Any, axis: Any, keepdims: Any) -> Any:
    x = convert_to_tensor(x)
    if x.dtype is not dtypes.bool_:
        raise errors.DtypeMismatchError(f"{where}: expected bool; received {x.dtype.name}.")
    axes = _axes(where, axis, x.ndim)
    y = p.cast(primitive(p.cast(x, dtype=dtypes.uint8), axes=axes), dtype=dtypes.bool_)
    return keep(y, x, axes) if keepdims else y


def reduce_any(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns whether any element along axes is true; False over nothing."""
    return _logical("reduce_any", reduction.reduce_max, input_tensor, axis, keepdims)


def reduce_all(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns whether all elements along axes are true; True over nothing."""
    return _logical("reduce_all", reduction.reduce_min, input_tensor, axis, keepdims)


def reduce_logsumexp(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns log(sum(exp(x))) over axes, with the maximum taken out so nothing overflows."""
    x = convert_to_tensor(input_tensor)
    axes = _axes("reduce_logsumexp", axis, x.ndim)
    high = p.stop_gradient(reduction.reduce_max(x, axes=axes))
    high = p.select(m.is_finite(high), high, _zero(x))
    total = reduction.reduce_sum(p.exp(p.sub(x, keep(high, x, axes))), axes=axes)
    y = p.add(p.log(total), high)
    return keep(y, x, axes) if keepdims else y


def _zero(x: Any) -> EagerTensor:
    return EagerTensor(np.zeros((), x.dtype.numpy))


def reduce_variance(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns the mean of |x - mean|^2 over axes (divided by n, not by n - 1)."""
    x = convert_to_tensor(input_tensor)
    if not (x.dtype.is_floating or x.dtype.is_complex):
        raise errors.DtypeMismatchError(
            f"reduce_variance: expected a floating or complex dtype; received {x.dtype.name}."
        )
    deviation = p.sub(x, reduce_mean(x, axis, keepdims=True))
    if x.dtype.is_complex:
        real, imag = p.real(deviation), p.imag(deviation)
        return reduce_mean(real * real + imag * imag, axis, keepdims)
    return reduce_mean(p.mul(deviation, deviation), axis, keepdims)


def reduce_std(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns the square root of the variance over axes."""
    return p.sqrt(reduce_variance(input_tensor, axis, keepdims))


def _position(primitive: Any, x: Any, axis: Any, output_type: Any) -> Any:
    x = convert_to_tensor(x)
    (at,) = _axes(primitive.name, 0 if axis is None else axis, x.ndim)
    return primitive(x, axis=at, dtype=dtypes.as_dtype(output_type))


def argmax(
    input: Any, axis: Any = None, output_type: Any = dtypes.int64, name: Any = None
) -> Tensor:
    """Returns the index of the largest value along an axis (default 0); the first among equals."""
    return _position(reduction.argmax, input, axis, output_type)


def argmin(
    input: Any, axis: Any = None, output_type: Any = dtypes.int64, name: Any = None
) -> Tensor:
    """Returns the index of the smallest value along an axis (default 0); the first among equals."""
    return _position(reduction.argmin, input, axis, output_type)


def count_nonzero(
    input: Any, axis: Any = None, keepdims: Any = None, dtype: Any = dtypes.int64, name: Any = None
) -> Tensor:
    """Returns how many elements along axes are not zero (not "" for strings)."""
    x = convert_to_tensor(input)
    zero = b"" if x.dtype is dtypes.string else np.zeros((), x.dtype.numpy)
    hits = x if x.dtype is dtypes.bool_ else p.ne(x, convert_to_tensor(zero))
    return reduce_sum(m.cast(hits, dtype), axis, bool(keepdims))


def moments(
    x: Any, axes: Any, shift: Any = None, keepdims: bool = False, name: Any = None
) -> tuple[Tensor, Tensor]:
    """Returns (mean, variance) over axes; 16-bit floats are computed in float32, then rounded."""
    x = convert_to_tensor(x)
    wide = dtypes.float32 if x.dtype.is_floating and x.dtype.size == 2 else x.dtype
    y = m.cast(x, wide)
    mean = reduce_mean(y, axes, keepdims=True)
    variance = reduce_mean(m.squared_difference(y, mean), axes, keepdims)
    if not keepdims:
        mean = drop(mean, _axes("moments", axes, x.ndim))
    return m.cast(mean, x.dtype), m.cast(variance, x.dtype)


def norm(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None, name: Any = None
) -> Tensor:
    """Returns the norm of vectors (axis an int or None) or matrices (axis a pair).

    Args:
      tensor: floating or complex tensor.
      ord: "euclidean" or 2, "fro", 1, numpy.inf, or any positive number for vectors.
      axis: None takes the whole tensor as one vector.
      keepdims: keep the reduced dimensions with size 1.
    """
    x = convert_to_tensor(tensor)
    is_matrix = isinstance(axis, list | tuple) and len(axis) == 2
    keepdims = bool(keepdims)
    a = m.abs(x)
    if ord in ("euclidean", "fro") or (ord == 2 and not is_matrix):
        return p.sqrt(reduce_sum(p.mul(a, a), axis, keepdims))
    if is_matrix and ord in (1, np.inf):
        return _matrix_norm(a, ord, axis, keepdims)
    if is_matrix:
        raise errors.UnimplementedError(
            f"norm: matrix norms are 'euclidean', 'fro', 1 and inf; received {ord!r}."
        )
    if ord == 1:
        return reduce_sum(a, axis, keepdims)
    if ord == np.inf:
        return reduce_max(a, axis, keepdims)
    if isinstance(ord, str) or ord <= 0:
        raise errors.invalid("norm", "ord must be 'euclidean', 'fro' or positive", repr(ord))
    return p.pow_(reduce_sum(p.pow_(a, float(ord)), axis, keepdims), 1.0 / ord)


def _matrix_norm(a: Any, ord: Any, axis: Any, keepdims: bool) -> Any:
    summed, maximised = axis if ord == 1 else (axis[1], axis[0])
    y = reduce_max(reduce_sum(a, summed, True), maximised, True)
    return y if keepdims else drop(y, _axes("norm", axis, a.ndim))


def reduce_euclidean_norm(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None
) -> Tensor:
    """Returns sqrt(sum(x * x)) over axes."""
    x = convert_to_tensor(input_tensor)
    return p.sqrt(reduce_sum(p.mul(x, x), axis, keepdims))


def zero_fraction(value: Any, name: Any = None) -> Tensor:
    """Returns the fraction of zeros in `value`, as float32."""
    x = convert_to_tensor(value)
    return reduce_mean(p.cast(p.eq(x, _zero(x)), dtype=dtypes.float32))

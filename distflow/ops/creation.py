"""New tensors: zeros, ones, fill, eye, one_hot, linspace, meshgrid, sequence_mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.prims import creation, movement
from distflow.ops.prims import elementwise as p
from distflow.ops.reduce import reduce_max
from distflow.ops.shaping import broadcast_to, expand_dims, unstack


def _filled(where: str, shape: Any, value: Any, dtype: dtypes.DType) -> Any:
    static, target = dims.parse(where, shape)
    if any(d is not None and d < 0 for d in static):
        raise errors.invalid(where, "dimensions must be >= 0", shapes.text(static))
    if dtype is dtypes.string:
        value = b"" if value == 0 else value
    scalar = np.full((), value, dtype.numpy)
    if target is None:
        return EagerTensor(np.full(static, scalar, dtype.numpy))
    return movement.broadcast_to(EagerTensor(scalar), target, shape=static)


def zeros(shape: Any, dtype: Any = dtypes.float32, name: Any = None, layout: Any = None) -> Tensor:
    """Returns a tensor of zeros (False, "")."""
    return _filled("zeros", shape, 0, dtypes.as_dtype(dtype))


def ones(shape: Any, dtype: Any = dtypes.float32, name: Any = None, layout: Any = None) -> Tensor:
    """Returns a tensor of ones (True)."""
    return _filled("ones", shape, 1, dtypes.as_dtype(dtype))


def fill(dims: Any, value: Any, name: Any = None, layout: Any = None) -> Tensor:
    """Returns a tensor of the shape `dims` that holds the scalar `value` everywhere."""
    value = convert_to_tensor(value)
    if value.ndim:
        raise errors.invalid("fill", "the value must be a scalar", shapes.text(value.shape))
    return broadcast_to(value, dims)


def _like(input: Any, dtype: Any, value: int) -> Any:
    x = convert_to_tensor(input)
    wanted = x.dtype if dtype is None else dtypes.as_dtype(dtype)
    if shapes.is_static(x.shape):
        return _filled("zeros_like", tuple(x.shape), value, wanted)
    scalar = EagerTensor(np.full((), value, wanted.numpy))
    return movement.broadcast_like(scalar, x)


def zeros_like(input: Any, dtype: Any = None, name: Any = None, layout: Any = None) -> Tensor:
    """Returns zeros of the shape (and, unless given, the dtype) of a tensor."""
    return _like(input, dtype, 0)


def ones_like(input: Any, dtype: Any = None, name: Any = None, layout: Any = None) -> Tensor:
    """Returns ones of the shape (and, unless given, the dtype) of a tensor."""
    return _like(input, dtype, 1)


def _iota(length: Any, dtype: dtypes.DType = dtypes.int32) -> Any:
    if isinstance(length, int):
        return creation.iota(dtype=dtype, length=length)
    return creation.iota(length, dtype=dtype, length=None)


def _length(where: str, value: Any) -> Any:
    """An int if known, else a scalar tensor."""
    known = dims.known(value)
    if known is None:
        return convert_to_tensor(value)
    if known.ndim or known.dtype.kind not in "iu" or known < 0:
        raise errors.invalid(where, "sizes must be ints >= 0", f"{value!r:.80}")
    return int(known)


def eye(
    num_rows: Any, num_columns: Any = None, batch_shape: Any = None, dtype: Any = dtypes.float32,
    name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns ones on the main diagonal of [*batch_shape, rows, columns], zeros elsewhere."""
    rows = _length("eye", num_rows)
    columns = rows if num_columns is None else _length("eye", num_columns)
    one = m.cast(
        p.eq(expand_dims(_iota(rows), 1), expand_dims(_iota(columns), 0)), dtypes.as_dtype(dtype)
    )
    if batch_shape is None:
        return one
    static, target = dims.parse("eye", batch_shape)
    lead = list(static) if target is None else unstack(target)
    return dims.broadcast(one, [*lead, *dims.of(one)])


def one_hot(
    indices: Any, depth: Any, on_value: Any = None, off_value: Any = None, axis: Any = None,
    dtype: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns on_value at the position each index names, off_value elsewhere.

    Args:
      indices: int tensor, shape [...]; values outside [0, depth) give rows of off_value.
      depth: size of the new dimension.
      on_value, off_value: scalars; default 1 and 0.
      axis: where the new dimension goes; default at the end.
      dtype: default that of the values, else float32.
    """
    x = convert_to_tensor(indices)
    if not x.dtype.is_integer:
        raise errors.DtypeMismatchError(f"one_hot: expected int indices; received {x.dtype.name}.")
    if dtype is None:
        given = [convert_to_tensor(v).dtype for v in (on_value, off_value) if v is not None]
        dtype = given[0] if given else dtypes.float32
    wanted = dtypes.as_dtype(dtype)
    on = convert_to_tensor(1 if on_value is None else on_value, dtype_hint=wanted)
    off = convert_to_tensor(0 if off_value is None else off_value, dtype_hint=wanted)
    size = _length("one_hot", depth)
    at = x.ndim if axis in (None, -1) else shapes.axis("one_hot", int(axis), x.ndim + 1)
    positions = dims.reshape(
        _iota(size, x.dtype), [size if i == at else 1 for i in range(x.ndim + 1)]
    )
    hit = p.eq(expand_dims(x, at), positions)
    return p.select(hit, m.cast(on, wanted), m.cast(off, wanted))


def linspace(start: Any, stop: Any, num: Any, name: Any = None, axis: int = 0) -> Tensor:
    """Returns `num` evenly spaced values from start to stop, both included, along a new axis."""
    start = convert_to_tensor(start)
    stop = convert_to_tensor(stop, dtype_hint=start.dtype)
    if start.dtype.is_integer:
        start, stop = (m.cast(v, dtypes.float64) for v in (start, stop))
    number = _length("linspace", num)
    if isinstance(number, int) and number < 1:
        raise errors.invalid("linspace", "num must be at least 1", str(number))
    if tuple(start.shape) != tuple(stop.shape):
        start, stop = start + stop * 0, stop + start * 0
    at = shapes.axis("linspace", axis, start.ndim + 1)
    steps = _iota(number, start.dtype)
    last = m.cast(number - 1 if isinstance(number, int) else m.subtract(number, 1), start.dtype)
    # Weights of both ends, so that the last value is `stop` exactly.
    weight = m.div_no_nan(steps, last)
    weight = dims.reshape(
        weight, [dims.of(weight)[0] if i == at else 1 for i in range(start.ndim + 1)]
    )
    start, stop = expand_dims(start, at), expand_dims(stop, at)
    return p.select(weight < 1, start + (stop - start) * weight, stop)


def meshgrid(*args: Any, indexing: str = "xy", name: Any = None) -> list[Tensor]:
    """Returns coordinate grids of 1-D tensors; "xy" swaps the first two axes, "ij" does not."""
    if indexing not in ("xy", "ij"):
        raise errors.invalid("meshgrid", "indexing must be 'xy' or 'ij'", repr(indexing))
    vectors = [movement.reshape(convert_to_tensor(v), shape=(-1,)) for v in args]
    rank = len(vectors)
    order = list(range(rank))
    if indexing == "xy" and rank > 1:
        order[0], order[1] = 1, 0
    full: list[Any] = [None] * rank
    for i, v in enumerate(vectors):
        full[order[i]] = dims.of(v)[0]
    grids = []
    for i, v in enumerate(vectors):
        line = dims.reshape(v, [full[a] if a == order[i] else 1 for a in range(rank)])
        grids.append(dims.broadcast(line, full))
    return grids


def sequence_mask(
    lengths: Any, maxlen: Any = None, dtype: Any = dtypes.bool_, name: Any = None
) -> Tensor:
    """Returns a mask [..., maxlen] whose first lengths[...] entries are true."""
    lengths = convert_to_tensor(lengths)
    if maxlen is None:
        maxlen = m.maximum(reduce_max(lengths), 0)
    positions = _iota(_length("sequence_mask", maxlen), lengths.dtype)
    return m.cast(p.lt(positions, expand_dims(lengths, -1)), dtypes.as_dtype(dtype))

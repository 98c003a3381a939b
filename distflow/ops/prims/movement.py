"""reshape, transpose, broadcast_to, slice, pad, concat, reverse, after, and a tensor's shape.

`reshape` and `broadcast_to` take their target as the attribute `shape`; where a trace does not
know a dimension, it is None there and an int tensor as second input gives the whole target.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.primitive import Primitive, named
from distflow.core.tensor import EagerTensor
from distflow.ops.prims.factories import check_axes, check_dtype, check_same, unbroadcast


def _same_dtype(x: Any, *rest: Any, **attributes: Any) -> Any:
    return x


def shape_tensor(x: Any, dtype: Any = dtypes.int32) -> Any:
    """Returns the shape of `x` as a 1-D tensor: a constant where it is known."""
    if shapes.is_static(x.shape):
        return EagerTensor(np.asarray(tuple(x.shape), dtype.numpy))
    return shape_of(x, dtype=dtype)


# -- shape_of ------------------------------------------------------------------------------

shape_of = Primitive(
    "shape_of",
    lambda x, *, dtype: dtype,
    lambda x, *, dtype: (len(x),),
    lambda x, *, dtype: np.asarray(x.shape, dtype.numpy),
    None,
    family="movement",
)

# -- reshape -------------------------------------------------------------------------------


def _target_dtype(name: str) -> Any:
    def rule(x: Any, target: Any = None, **attributes: Any) -> Any:
        if target is not None:
            check_dtype(name, dtypes.INTEGER, target)
        return x

    return rule


def _reshape_shape(x: Any, target: Any = None, *, shape: Any) -> Any:
    if target is not None:
        return tuple(shape)
    elements, known = shapes.size(x), math.prod(d for d in shape if d not in (-1, None))
    if shape.count(-1) > 1:
        raise errors.invalid("reshape", "at most one dimension may be -1", shapes.text(shape))
    if -1 not in shape:
        if elements is not None and elements != known:
            raise _reshape_error(x, shape)
        return tuple(shape)
    if elements is None:
        return tuple(None if d == -1 else d for d in shape)
    if (known == 0 and elements != 0) or (known and elements % known):
        raise _reshape_error(x, shape)
    return tuple((elements // known if known else 0) if d == -1 else d for d in shape)


def _reshape_error(x: Any, shape: Any) -> Exception:
    return errors.invalid(
        "reshape",
        f"the new shape must hold the same number of elements as {shapes.text(x)} "
        f"({shapes.size(x)})",
        shapes.text(shape),
    )


def _reshape_ref(x: Any, target: Any = None, *, shape: Any) -> Any:
    wanted = shape if target is None else tuple(int(d) for d in target)
    if -1 in wanted and x.size == 0:
        wanted = _reshape_shape(x.shape, shape=wanted)
    try:
        return x.reshape(wanted)
    except ValueError as error:
        raise _reshape_error(x.shape, wanted) from error


reshape: Primitive = Primitive(
    "reshape",
    _target_dtype("reshape"),
    _reshape_shape,
    _reshape_ref,
    lambda g, y, x, *target, shape: (reshape_like(g, x), *[None] * len(target)),
    family="movement",
)


def reshape_like(x: Any, like: Any) -> Any:
    """Returns x with the shape of another tensor."""
    if tuple(x.shape) == tuple(like.shape) and shapes.is_static(like.shape):
        return x
    if shapes.is_static(like.shape):
        return reshape(x, shape=tuple(like.shape))
    return reshape(x, shape_tensor(like), shape=tuple(like.shape))


# -- after ----------------------------------------------------------------------------------

# x, but not before `other` is there: what is computed from it is another computation than what is
# computed from x. The last pass (`settle`) takes x itself.
after: Primitive = Primitive(
    "after", lambda x, other: x, lambda x, other: tuple(x), lambda x, other: x,
    lambda g, y, x, other: (g, None), family="movement",
)  # fmt: skip

# -- transpose -----------------------------------------------------------------------------


def _transpose_shape(x: Any, *, perm: tuple[int, ...]) -> Any:
    if sorted(perm) != list(range(len(x))):
        raise errors.invalid(
            "transpose", f"perm must be a permutation of 0..{len(x) - 1}", str(list(perm))
        )
    return tuple(x[p] for p in perm)


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(perm))


transpose: Primitive = Primitive(
    "transpose",
    _same_dtype,
    _transpose_shape,
    lambda x, *, perm: np.asarray(np.transpose(x, perm), order="C"),
    lambda g, y, x, *, perm: (transpose(g, perm=_inverse(perm)),),
    family="movement",
)

# -- broadcast_to --------------------------------------------------------------------------


def _broadcast_shape(x: Any, target: Any = None, *, shape: Any) -> Any:
    if len(shape) < len(x):
        raise _broadcast_error(x, shape)
    for have, want in zip(reversed(x), reversed(shape)):
        if have not in (None, 1) and want is not None and have != want:
            raise _broadcast_error(x, shape)
    return tuple(shape)


def _broadcast_error(x: Any, shape: Any) -> Exception:
    return errors.invalid(
        "broadcast_to", f"{shapes.text(x)} must broadcast to the new shape", shapes.text(shape)
    )


def _broadcast_ref(x: Any, target: Any = None, *, shape: Any) -> Any:
    wanted = shape if target is None else tuple(int(d) for d in target)
    try:
        return np.ascontiguousarray(np.broadcast_to(x, wanted)).reshape(wanted)
    except ValueError as error:
        raise _broadcast_error(x.shape, wanted) from error


def _broadcast_grad(g: Any, y: Any, x: Any, *target: Any, shape: Any) -> Any:
    return (unbroadcast(g, x, y), *[None] * len(target))


broadcast_to: Primitive = Primitive(
    "broadcast_to",
    _target_dtype("broadcast_to"),
    _broadcast_shape,
    _broadcast_ref,
    _broadcast_grad,
    family="movement",
)


# -- unbroadcast ---------------------------------------------------------------------------


def _unbroadcast_shape(x: Any, target: Any, *, shape: Any) -> Any:
    if len(shape) > len(x):
        raise errors.invalid(
            "unbroadcast", f"the rank must be at most {len(x)}", shapes.text(shape)
        )
    return tuple(shape)


def _unbroadcast_ref(x: Any, target: Any, *, shape: Any) -> Any:
    wanted = tuple(int(d) for d in target)
    if wanted == x.shape:
        return x
    extra = x.ndim - len(wanted)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, d in enumerate(wanted) if d == 1 and x.shape[i + extra] != 1
    )
    total = named("reduce_sum").reference(x, axes=axes)
    if total.size != math.prod(wanted):
        raise errors.invalid(
            "unbroadcast", f"{shapes.text(wanted)} must broadcast to {shapes.text(x.shape)}"
        )
    return total.reshape(wanted)


# The transpose of broadcast_to for shapes that a trace does not know: which dimensions are to be
# summed is known only when it runs. Where they are known, reduce_sum does it.
unbroadcast_to = Primitive(
    "unbroadcast",
    _target_dtype("unbroadcast"),
    _unbroadcast_shape,
    _unbroadcast_ref,
    lambda g, y, x, target, *, shape: (broadcast_like(g, x), None),
    family="movement",
)


def broadcast_like(x: Any, like: Any) -> Any:
    """Returns x broadcast to the shape of another tensor."""
    if shapes.is_static(like.shape):
        if tuple(x.shape) == tuple(like.shape):
            return x
        return broadcast_to(x, shape=tuple(like.shape))
    return broadcast_to(x, shape_tensor(like), shape=tuple(like.shape))


# -- slice ---------------------------------------------------------------------------------


def slice_size(dim: Any, start: int, stop: Any, stride: int) -> Any:
    """Returns the length of dim[start:stop:stride]; start and stop as NumPy reads them."""
    if dim is None:
        if stride == 1 and start >= 0 and stop is not None and 0 <= start <= stop:
            return None if stop != start else 0
        return None
    return len(range(*slice(start, stop, stride).indices(dim)))


def _slice_shape(x: Any, *, starts: Any, stops: Any, strides: Any) -> Any:
    if not len(x) == len(starts) == len(stops) == len(strides) or min(strides, default=1) < 1:
        raise errors.invalid(
            "slice", f"one start, stop and stride >= 1 for each of {len(x)} dimensions",
            f"{starts}, {stops}, {strides}",
        )  # fmt: skip
    return tuple(slice_size(*row) for row in zip(x, starts, stops, strides))


def _slice_ref(x: Any, *, starts: Any, stops: Any, strides: Any) -> Any:
    return np.ascontiguousarray(x[tuple(map(slice, starts, stops, strides))]).reshape(
        _slice_shape(x.shape, starts=starts, stops=stops, strides=strides)
    )


def _slice_grad(g: Any, y: Any, x: Any, *, starts: Any, stops: Any, strides: Any) -> Any:
    config = []
    for dim, start, stop, stride in zip(x.shape, starts, stops, strides):
        if dim is None:
            if (start, stop, stride) != (0, None, 1) and not (start >= 0 and stop is None):
                return (_slice_grad_dynamic(g, x, starts, stops, strides),)
            if stride != 1:
                return (_slice_grad_dynamic(g, x, starts, stops, strides),)
            config.append((start, 0, 0))
            continue
        first, _, _ = slice(start, stop, stride).indices(dim)
        count = slice_size(dim, start, stop, stride)
        last = first + (count - 1) * stride + 1 if count else first
        config.append((first, dim - last, stride - 1))
    return (pad(g, _zero(g), config=tuple(config)),)


def _slice_grad_dynamic(g: Any, x: Any, starts: Any, stops: Any, strides: Any) -> Any:
    # The positions of the elements themselves are sliced, so unknown dimensions do not matter.
    chosen = slice_(positions(x), starts=starts, stops=stops, strides=strides)
    return scatter_flat(g, chosen, x)


def positions(x: Any) -> Any:
    """Returns, in the shape of x, the flat position of each element."""
    dims = shape_tensor(x)
    flat = named("iota")(_product(dims), dtype=dtypes.int32, length=None)
    return reshape(flat, dims, shape=tuple(x.shape))


def scatter_flat(g: Any, where: Any, like: Any) -> Any:
    """Returns zeros in the shape of `like` with g added at the given flat positions."""
    target = reshape(_product(shape_tensor(like)), shape=(1,))
    zeros = broadcast_to(_zero(g), target, shape=(shapes.size(like.shape),))
    flat, rows = reshape(g, shape=(-1,)), reshape(where, shape=(-1, 1))
    return reshape_like(named("scatter")(zeros, rows, flat, mode="add"), like)


def _product(dims: Any) -> Any:
    return named("reduce_prod")(dims, axes=(0,))


slice_: Primitive = Primitive(
    "slice", _same_dtype, _slice_shape, _slice_ref, _slice_grad, family="movement"
)

# -- pad -----------------------------------------------------------------------------------


def _zero(x: Any) -> Any:
    return EagerTensor(np.zeros((), x.dtype.numpy))


def _pad_dtype(x: Any, value: Any, *, config: Any) -> Any:
    return check_same("pad", x, value)


def _pad_shape(x: Any, value: Any, *, config: Any) -> Any:
    if len(config) != len(x):
        raise errors.invalid(
            "pad", f"one (low, high, interior) for each of {len(x)} dimensions", str(config)
        )
    if tuple(value) != ():
        raise errors.invalid("pad", "the value must be a scalar", f"shape {shapes.text(value)}")
    result = tuple(
        None if d is None else low + d + max(d - 1, 0) * interior + high
        for d, (low, high, interior) in zip(x, config)
    )
    if any(d is not None and d < 0 for d in result):
        raise errors.invalid("pad", "padding must leave sizes >= 0", f"{config} of {x}")
    return result


def _pad_ref(x: Any, value: Any, *, config: Any) -> Any:
    result = np.full(_pad_shape(x.shape, (), config=config), value, x.dtype)
    # Negative padding crops: place what remains.
    target, source = [], []
    for dim, size, (low, _high, interior) in zip(x.shape, result.shape, config):
        step = interior + 1
        first = max(0, -(low // step)) if low < 0 else 0
        position = low + first * step
        count = 0 if position >= size else min(dim - first, (size - position - 1) // step + 1)
        target.append(slice(position, position + max(count, 0) * step, step))
        source.append(slice(first, first + max(count, 0)))
    result[tuple(target)] = x[tuple(source)]
    return result


def _pad_grad(g: Any, y: Any, x: Any, value: Any, *, config: Any) -> Any:
    if any(low < 0 or high < 0 for low, high, _ in config):
        cropped = tuple((-min(low, 0), -min(high, 0)) for low, high, _ in config)
        g = pad(g, _zero(g), config=tuple((low, high, 0) for low, high in cropped))
        config = tuple((max(low, 0), max(high, 0), i) for low, high, i in config)
    stops = tuple(None if high == 0 else -high for _, high, _ in config)
    gx = slice_(
        g,
        starts=tuple(low for low, _, _ in config),
        stops=stops,
        strides=tuple(interior + 1 for _, _, interior in config),
    )
    axes = tuple(range(len(g.shape)))
    return gx, named("reduce_sum")(g, axes=axes) - named("reduce_sum")(gx, axes=axes)


pad: Primitive = Primitive(
    "pad", _pad_dtype, _pad_shape, _pad_ref, _pad_grad, family="movement", match=(0, 1)
)

# -- concat, reverse -----------------------------------------------------------------------


def _concat_dtype(*inputs: Any, axis: int) -> Any:
    if not inputs:
        raise errors.invalid("concat", "at least one tensor is needed", "none")
    return check_same("concat", *inputs)


def _concat_shape(*inputs: Any, axis: int) -> Any:
    first = inputs[0]
    check_axes("concat", (axis,), first)
    total: Any = 0
    merged = first
    for shape in inputs:
        rest = shapes.TensorShape((*shape[:axis], *shape[axis + 1 :]))
        if len(shape) != len(first) or not rest.is_compatible_with(
            (*first[:axis], *first[axis + 1 :])
        ):
            raise errors.invalid(
                "concat", f"shapes must agree except on axis {axis}",
                " and ".join(shapes.text(s) for s in inputs),
            )  # fmt: skip
        merged = tuple(a if b is None else b for a, b in zip(merged, shape))
        total = None if total is None or shape[axis] is None else total + shape[axis]
    return (*merged[:axis], total, *merged[axis + 1 :])


def _concat_grad(g: Any, y: Any, *inputs: Any, axis: int) -> Any:
    if any(x.shape[axis] is None for x in inputs):
        return _concat_grad_dynamic(g, inputs, axis)
    grads, start = [], 0
    rank = len(g.shape)
    for x in inputs:
        stop = start + x.shape[axis]
        grads.append(
            slice_(
                g,
                starts=tuple(start if i == axis else 0 for i in range(rank)),
                stops=tuple(stop if i == axis else None for i in range(rank)),
                strides=(1,) * rank,
            )
        )
        start = stop
    return tuple(grads)


def _concat_grad_dynamic(g: Any, inputs: Any, axis: int) -> Any:
    grads, offset = [], EagerTensor(np.zeros((), np.int32))
    for x in inputs:
        length = slice_(shape_tensor(x), starts=(axis,), stops=(axis + 1,), strides=(1,))
        length = reshape(length, shape=())
        rows = named("iota")(length, dtype=dtypes.int32, length=None) + offset
        grads.append(named("gather")(g, rows, axis=axis))
        offset = offset + length
    return tuple(grads)


concat: Primitive = Primitive(
    "concat",
    _concat_dtype,
    _concat_shape,
    lambda *arrays, axis: np.concatenate(arrays, axis),
    _concat_grad,
    family="movement",
    match=None,
)


def _reverse_shape(x: Any, *, axes: Any) -> Any:
    check_axes("reverse", axes, x)
    return tuple(x)


reverse: Primitive = Primitive(
    "reverse",
    _same_dtype,
    _reverse_shape,
    lambda x, *, axes: np.ascontiguousarray(np.flip(x, axes)).reshape(x.shape),
    lambda g, y, x, *, axes: (reverse(g, axes=axes),),
    family="movement",
)

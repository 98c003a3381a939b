"""Shapes, orders and parts of tensors in `keras.ops`: reshape, stack, split, pad, diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import as_axes, promoted, result_type, tensor
from distflow.ops import creation, indexing, linalg, math, shaping
from distflow.ops import repeat as repeats_of
from distflow.ops.prims.elementwise import select


@operation("numpy.Reshape", "newshape")
def reshape(x: Any, newshape: Any) -> Any:
    """Returns the elements in another shape; one -1 (or None) stands for what is left."""
    given = (newshape,) if isinstance(newshape, int) else newshape
    if isinstance(given, list | tuple):
        given = [-1 if d is None else d for d in given]
    return shaping.reshape(tensor(x), given)


@operation("numpy.Ravel")
def ravel(x: Any) -> Any:
    """Returns the elements in one axis."""
    return shaping.reshape(tensor(x), [-1])


@operation("numpy.Transpose", "axes")
def transpose(x: Any, axes: Any = None) -> Any:
    """Returns x with its axes in another order, by default reversed."""
    x = tensor(x)
    return shaping.transpose(x, None if axes is None else list(as_axes(axes, x.ndim)))


@operation("numpy.Swapaxes", "axis1", "axis2")
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Returns x with two axes exchanged."""
    x = tensor(x)
    order = list(range(x.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return shaping.transpose(x, order)


@operation("numpy.Moveaxis", "source", "destination")
def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Returns x with axes moved to other places; the rest keeps its order."""
    return moved(tensor(x), source, destination)


def moved(x: Any, source: Any, destination: Any) -> Any:
    """Returns a tensor with axes moved to other places."""
    origins, targets = as_axes(source, x.ndim), as_axes(destination, x.ndim)
    if len(origins) != len(targets):
        raise ValueError(
            "`source` and `destination` arguments must have the same number of elements. Received: "
            f"source={source}, destination={destination}"
        )
    order = [i for i in range(x.ndim) if i not in origins]
    for target, origin in sorted(zip(targets, origins)):
        order.insert(target, origin)
    return shaping.transpose(x, order)


@operation("numpy.ExpandDims", "axis")
def expand_dims(x: Any, axis: Any) -> Any:
    """Returns x with axes of size 1 put in."""
    x = tensor(x)
    given = axis if isinstance(axis, list | tuple) else (axis,)
    for one in sorted(as_axes(given, x.ndim + len(given))):
        x = shaping.expand_dims(x, one)
    return x


@operation("numpy.Squeeze", "axis")
def squeeze(x: Any, axis: Any = None) -> Any:
    """Returns x without axes of size 1."""
    return shaping.squeeze(tensor(x), axis)


@operation("numpy.BroadcastTo", "shape")
def broadcast_to(x: Any, shape: Any) -> Any:
    """Returns x repeated to a shape."""
    return shaping.broadcast_to(tensor(x), shape)


@operation("numpy.Concatenate", "axis")
def concatenate(xs: Any, axis: int = 0) -> Any:
    """Returns tensors joined along an axis."""
    return shaping.concat(promoted(*xs), axis)


@operation("numpy.Stack", "axis")
def stack(x: Any, axis: int = 0) -> Any:
    """Returns tensors of one shape along a new axis."""
    return shaping.stack(promoted(*x), axis)


def _at_least(x: Any, rank: int) -> Any:
    x = tensor(x)
    if rank == 1:
        return shaping.reshape(x, [1]) if x.ndim == 0 else x
    if rank == 2:
        return shaping.reshape(x, [1, -1]) if x.ndim < 2 else x
    if x.ndim < 2:
        return shaping.reshape(x, [1, -1, 1])
    return shaping.expand_dims(x, -1) if x.ndim == 2 else x


@operation("numpy.Hstack")
def hstack(xs: Any) -> Any:
    """Returns tensors joined side by side: along axis 1, vectors along axis 0."""
    parts = [_at_least(x, 1) for x in promoted(*xs)]
    return shaping.concat(parts, 0 if parts[0].ndim == 1 else 1)


@operation("numpy.Vstack")
def vstack(xs: Any) -> Any:
    """Returns tensors joined one below the other; vectors are rows."""
    return shaping.concat([_at_least(x, 2) for x in promoted(*xs)], 0)


@operation("numpy.Dstack")
def dstack(xs: Any) -> Any:
    """Returns tensors joined along axis 2."""
    return shaping.concat([_at_least(x, 3) for x in promoted(*xs)], 2)


@operation("numpy.Append", "axis")
def append(x1: Any, x2: Any, axis: Any = None) -> Any:
    """Returns both joined along an axis; flat for axis None."""
    x, y = promoted(x1, x2)
    if axis is None:
        return shaping.concat([shaping.reshape(x, [-1]), shaping.reshape(y, [-1])], 0)
    return shaping.concat([x, y], axis)


def _parts(x: Any, sections: Any, axis: int, even: bool) -> list[Any]:
    x = tensor(x)
    size = x.shape[axis]
    if not isinstance(sections, int):
        ends = [int(v) for v in np.asarray(sections).reshape(-1)]
        cuts = np.diff([0, *ends, size]).tolist()
    elif even and size is not None and size % sections:
        raise ValueError(
            f"x dimension {size} along axis {axis} cannot be split into {sections} equal parts."
        )
    elif even or size is None:
        return shaping.split(x, sections, axis)
    else:
        cuts = [size // sections + (i < size % sections) for i in range(sections)]
    return shaping.split(x, cuts, axis)


@operation("numpy.Split", "indices_or_sections", "axis")
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Returns a list of n equal parts, or of those between positions."""
    return _parts(x, indices_or_sections, axis, True)


@operation("numpy.ArraySplit", "indices_or_sections", "axis")
def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Returns a list of n parts, of which the first may be larger by one."""
    return _parts(x, indices_or_sections, axis, False)


@operation("numpy.Hsplit", "indices_or_sections")
def hsplit(x: Any, indices_or_sections: Any) -> Any:
    """Returns parts along axis 1; of a vector along axis 0."""
    return _parts(x, indices_or_sections, 0 if tensor(x).ndim == 1 else 1, True)


@operation("numpy.Vsplit", "indices_or_sections")
def vsplit(x: Any, indices_or_sections: Any) -> Any:
    """Returns parts along axis 0."""
    return _parts(x, indices_or_sections, 0, True)


@operation("numpy.Dsplit", "indices_or_sections")
def dsplit(x: Any, indices_or_sections: Any) -> Any:
    """Returns parts along axis 2."""
    return _parts(x, indices_or_sections, 2, True)


@operation("core.Unstack", "num", "axis")
def unstack(x: Any, num: Any = None, axis: int = 0) -> Any:
    """Returns the list of slices along an axis."""
    return shaping.unstack(tensor(x), num, axis)


@operation("numpy.Tile", "repeats")
def tile(x: Any, repeats: Any) -> Any:
    """Returns copies of x side by side; axes are put in front where there are more repeats."""
    x = tensor(x)
    counts = [repeats] if isinstance(repeats, int) else list(repeats)
    missing = x.ndim - len(counts)
    if missing < 0:
        x = shaping.reshape(x, [1] * -missing + [-1 if d is None else d for d in x.shape])
    return repeats_of.tile(x, [1] * max(missing, 0) + counts)


@operation("numpy.Repeat", "repeats", "axis")
def repeat(x: Any, repeats: Any, axis: Any = None) -> Any:
    """Returns each element repeated."""
    return repeats_of.repeat(tensor(x), repeats, axis)


@operation("numpy.Roll", "shift", "axis")
def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """Returns x turned around along axes; what falls off comes in again."""
    x = tensor(x)
    if axis is None:
        flat = repeats_of.roll(shaping.reshape(x, [-1]), shift, 0)
        return shaping.reshape(flat, shaping.shape(x))
    return repeats_of.roll(x, shift, axis)


@operation("numpy.Flip", "axis")
def flip(x: Any, axis: Any = None) -> Any:
    """Returns x with the order along axes reversed."""
    x = tensor(x)
    return shaping.reverse(x, list(as_axes(axis, x.ndim)))


@operation("numpy.Fliplr")
def fliplr(x: Any) -> Any:
    """Returns x with axis 1 reversed."""
    return shaping.reverse(tensor(x), [1])


@operation("numpy.Flipud")
def flipud(x: Any) -> Any:
    """Returns x with axis 0 reversed."""
    return shaping.reverse(tensor(x), [0])


@operation("numpy.Rot90", "k", "axes")
def rot90(array: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """Returns an array turned k times by 90 degrees, from the first axis to the second."""
    x = tensor(array)
    if x.ndim < 2:
        raise ValueError(
            f"Input array must have at least 2 dimensions. Received: array.ndim={x.ndim}"
        )
    a, b = as_axes(axes, x.ndim)
    if len({a, b}) != 2:
        raise ValueError(f"Invalid axes: {axes}. Axes must be a tuple of two different dimensions.")
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    turns = k % 4
    if turns == 0:
        return x
    if turns == 2:
        return shaping.reverse(x, [a, b])
    if turns == 1:
        return shaping.transpose(shaping.reverse(x, [b]), order)
    return shaping.reverse(shaping.transpose(x, order), [b])


@operation("numpy.Pad", "pad_width", "mode")
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    """Returns x with (before, after) elements added to each axis.

    Args:
      pad_width: an int, a pair, or a pair for each axis.
      mode: "constant", "reflect" or "symmetric".
      constant_values: of the elements added, default 0; only with mode "constant".
    """
    x = tensor(x)
    if mode not in ("constant", "reflect", "symmetric"):
        raise errors.invalid("pad", "mode among constant, reflect, symmetric", repr(mode))
    if constant_values is not None and mode != "constant":
        raise ValueError(
            "Argument `constant_values` can only be provided when `mode == 'constant'`. Received: "
            f"mode={mode}"
        )
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
    value = 0 if constant_values is None else constant_values
    return shaping.pad(x, widths, mode.upper(), value)


# -- diagonals -----------------------------------------------------------------------------------


@operation("numpy.Diagonal", "offset", "axis1", "axis2")
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Returns the diagonal of two axes, as the last axis."""
    return _diagonal(tensor(x), offset, axis1, axis2)


def _diagonal(x: Any, offset: int, axis1: int, axis2: int) -> Any:
    return linalg.diag_part(moved(x, (axis1, axis2), (-2, -1)), k=offset)


@operation("numpy.Trace", "offset", "axis1", "axis2")
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Returns the sum of the diagonal of two axes."""
    found = _diagonal(tensor(x), offset, axis1, axis2)
    if found.dtype is dtypes.bool_ or (found.dtype.is_integer and found.dtype.size < 4):
        found = math.cast(found, "int32")
    return shaping.reshape(
        indexing.gather(math.cumsum(found, -1), [found.shape[-1] - 1], axis=-1),
        [-1 if d is None else d for d in found.shape[:-1]],
    )


@operation("numpy.Diag", "k")
def diag(x: Any, k: int = 0) -> Any:
    """Returns the diagonal of a matrix, or a matrix with a vector as its diagonal."""
    x = tensor(x)
    return linalg.diag(x, k=k) if x.ndim == 1 else linalg.diag_part(x, k=k)


@operation("numpy.Diagflat", "k")
def diagflat(x: Any, k: int = 0) -> Any:
    """Returns a matrix with the elements of x as its diagonal."""
    return linalg.diag(shaping.reshape(tensor(x), [-1]), k=k)


def _triangle(x: Any, k: int, lower: bool) -> Any:
    x = tensor(x)
    rows, columns = x.shape[-2:]
    keep = np.tri(rows, columns, k if lower else k - 1, dtype=bool)
    return select(keep if lower else ~keep, x, math.zero_of(x))


@operation("numpy.Tril", "k")
def tril(x: Any, k: int = 0) -> Any:
    """Returns matrices with what is above diagonal k set to 0."""
    return _triangle(x, k, True)


@operation("numpy.Triu", "k")
def triu(x: Any, k: int = 0) -> Any:
    """Returns matrices with what is below diagonal k set to 0."""
    return _triangle(x, k, False)


@operation("numpy.Meshgrid", "indexing")
def meshgrid(*x: Any, indexing: str = "xy") -> Any:
    """Returns the coordinates of the grid that vectors span."""
    dtype = result_type(*(tensor(v).dtype for v in x))
    flat = [shaping.reshape(tensor(v, dtype), [-1]) for v in x]
    return creation.meshgrid(*flat, indexing=indexing)


@operation("numpy.Copy")
def copy(x: Any) -> Any:
    """Returns a copy."""
    return shaping.identity(tensor(x))


@operation("numpy.View", "dtype")
def view(x: Any, dtype: Any = None) -> Any:
    """Returns the bits of x as another dtype; the last axis grows or shrinks with its size."""
    x = tensor(x)
    if dtype is None:
        return x
    wanted = dtypes.as_dtype(dtype)
    if wanted.size > x.dtype.size:
        ratio = wanted.size // x.dtype.size
        x = shaping.reshape(x, [*x.shape[:-1], x.shape[-1] // ratio, ratio])
        return math.bitcast(x, wanted)
    found = math.bitcast(x, wanted)
    if wanted.size == x.dtype.size:
        return found
    return shaping.reshape(found, [*x.shape[:-1], -1])

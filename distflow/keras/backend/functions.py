"""The functions of `tf.keras.backend`, in terms of distflow's operations.

Most are names of `tf`'s functions; signatures are those of TF 2.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.autodiff import GradientTape
from distflow.base import dtypes, errors
from distflow.base.names import name_scope as name_scope
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.core.variable import Variable
from distflow.keras import random as keras_random
from distflow.keras import settings
from distflow.keras.engine.keras_tensor import KerasTensor
from distflow.ops import array, math, matmul, reduce
from distflow.ops import normalization as _normalization
from distflow.ops import repeat as _repeat

# -- values and variables --------------------------------------------------------------------------


def variable(value: Any, dtype: Any = None, name: Any = None, constraint: Any = None) -> Any:
    """Returns a Variable with a value, in floatx unless it has a dtype."""
    array_ = np.asarray(value)
    kind = dtypes.as_dtype(
        dtype or (settings.floatx() if array_.dtype.kind == "f" else array_.dtype)
    )
    return Variable(array_.astype(kind.numpy), name=name, constraint=constraint)


def constant(value: Any, dtype: Any = None, shape: Any = None, name: Any = None) -> Any:
    """Returns a tensor with a value, in floatx by default."""
    x = convert_to_tensor(np.asarray(value, dtypes.as_dtype(dtype or settings.floatx()).numpy))
    return x if shape is None else array.broadcast_to(x, shape)


def zeros(shape: Any, dtype: Any = None, name: Any = None) -> Any:
    """Returns zeros."""
    return array.zeros(shape, dtype or settings.floatx())


def ones(shape: Any, dtype: Any = None, name: Any = None) -> Any:
    """Returns ones."""
    return array.ones(shape, dtype or settings.floatx())


def eye(size: int, dtype: Any = None, name: Any = None) -> Any:
    """Returns the unit matrix."""
    return array.eye(size, dtype=dtypes.as_dtype(dtype or settings.floatx()))


def get_value(x: Any) -> Any:
    """Returns a value as a NumPy array."""
    return x.numpy() if hasattr(x, "numpy") else x


def batch_get_value(tensors: Any) -> list[Any]:
    """Returns values as NumPy arrays."""
    return [get_value(x) for x in tensors]


def set_value(x: Any, value: Any) -> None:
    """Gives a variable a value."""
    x.assign(np.asarray(value, x.dtype.numpy))


def batch_set_value(tuples: Any) -> None:
    """Gives variables values, from (variable, value) pairs."""
    for x, value in tuples:
        set_value(x, value)


def update(x: Any, new_x: Any) -> Any:
    """Gives a variable a value; returns the variable."""
    return x.assign(new_x)


def update_add(x: Any, increment: Any) -> Any:
    """Adds to a variable; returns the variable."""
    return x.assign_add(increment)


def update_sub(x: Any, decrement: Any) -> Any:
    """Subtracts from a variable; returns the variable."""
    return x.assign_sub(decrement)


def moving_average_update(x: Any, value: Any, momentum: float) -> Any:
    """Moves a variable towards a value: x * momentum + value * (1 - momentum)."""
    return x.assign(x * momentum + value * (1 - momentum))


def random_uniform_variable(shape: Any, low: float, high: float, dtype: Any = None,
                            name: Any = None, seed: Any = None) -> Any:  # fmt: skip
    """Returns a Variable of uniformly distributed numbers."""
    return Variable(keras_random.uniform(shape, low, high, dtype, seed), name=name)


def random_normal_variable(shape: Any, mean: float, scale: float, dtype: Any = None,
                           name: Any = None, seed: Any = None) -> Any:  # fmt: skip
    """Returns a Variable of normally distributed numbers."""
    return Variable(keras_random.normal(shape, mean, scale, dtype, seed), name=name)


def cast_to_floatx(x: Any) -> Any:
    """Returns x in floatx; arrays stay arrays."""
    if isinstance(x, Tensor | Variable):
        return math.cast(x, settings.floatx())
    return np.asarray(x, dtypes.as_dtype(settings.floatx()).numpy)


def count_params(x: Any) -> int:
    """Returns the number of elements."""
    return int(np.prod(tuple(x.shape)))


def int_shape(x: Any) -> Any:
    """Returns the shape as a tuple of ints and None."""
    return tuple(x.shape) if hasattr(x, "shape") else None


def ndim(x: Any) -> int:
    """Returns the number of axes."""
    return len(x.shape)


def dtype(x: Any) -> str:
    """Returns the name of the dtype."""
    return dtypes.as_dtype(x.dtype).name


def is_sparse(tensor: Any) -> bool:
    """Whether a tensor is sparse; none is here."""
    return False


def to_dense(tensor: Any) -> Any:
    """Returns a tensor as a dense one, which it is."""
    return tensor


def placeholder(shape: Any = None, ndim: Any = None, dtype: Any = None, sparse: bool = False,
                name: Any = None, ragged: bool = False) -> Any:  # fmt: skip
    """Returns a KerasTensor of a shape (or a number of unknown axes)."""
    if sparse or ragged:
        raise errors.UnimplementedError("placeholder: sparse and ragged are not there yet.")
    if shape is None:
        shape = (None,) * (ndim or 0)
    return KerasTensor(shape, dtype or settings.floatx(), name=name)


eval = get_value
_uids: dict[str, int] = {}


def get_uid(prefix: str = "") -> int:
    """Returns 1, 2, ... for a prefix."""
    _uids[prefix] = _uids.get(prefix, 0) + 1
    return _uids[prefix]


def reset_uids() -> None:
    """Starts the numbers of `get_uid` anew."""
    _uids.clear()


def is_float_dtype(dtype: Any) -> bool:
    """Whether a dtype is one of floats."""
    return dtypes.as_dtype(dtype).is_floating


def is_int_dtype(dtype: Any) -> bool:
    """Whether a dtype is one of integers."""
    return dtypes.as_dtype(dtype).is_integer


# -- arithmetic ------------------------------------------------------------------------------------


abs, exp, log, sin, cos = math.abs, math.exp, math.log, math.sin, math.cos
pow, round, sign, square = math.pow, math.round, math.sign, math.square
maximum, minimum, equal, not_equal = math.maximum, math.minimum, math.equal, math.not_equal
greater, greater_equal = math.greater, math.greater_equal
less, less_equal = math.less, math.less_equal
cast, stop_gradient = math.cast, math.stop_gradient
reshape, shape, zeros_like, ones_like = (
    array.reshape,
    array.shape,
    array.zeros_like,
    array.ones_like,
)


def dot(x: Any, y: Any) -> Any:
    """Returns the product over the last axis of x and the last but one of y."""
    x, y = convert_to_tensor(x), convert_to_tensor(y)
    if x.ndim == 2 and y.ndim == 2:
        return matmul.matmul(x, y)
    return matmul.tensordot(x, y, [[x.ndim - 1], [builtins.max(y.ndim - 2, 0)]])


def batch_dot(x: Any, y: Any, axes: Any = None) -> Any:
    """Returns the products over one axis of each, row by row of the batch; at least rank 2."""
    x, y = convert_to_tensor(x), convert_to_tensor(y)
    if axes is None:
        axes = (x.ndim - 1, builtins.max(y.ndim - 2, 1))
    a, b = (axes, axes) if isinstance(axes, int) else axes
    a, b = a % x.ndim, b % y.ndim
    letters = "abcdefghijklmnopqrstuvwxyz"
    left = ["Z", *letters[: x.ndim - 1]]
    right = ["Z", *letters[x.ndim - 1 : x.ndim + y.ndim - 2]]
    right[b] = left[a]
    rest = [c for c in left if c != left[a]] + [c for c in right[1:] if c != left[a]]
    found = matmul.einsum(f"{''.join(left)},{''.join(right)}->{''.join(rest)}", x, y)
    return array.expand_dims(found, 1) if found.ndim == 1 else found


def _reduction(function_: Callable[..., Any], text: str, wide: bool = False) -> Callable[..., Any]:
    def run(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x = convert_to_tensor(x)
        if wide and not x.dtype.is_floating:
            x = math.cast(x, settings.floatx())
        return function_(x, axis, keepdims)

    run.__doc__ = text
    return run


mean = _reduction(reduce.reduce_mean, "Returns the mean over axes.", wide=True)
var = _reduction(reduce.reduce_variance, "Returns the variance over axes.", wide=True)
std = _reduction(reduce.reduce_std, "Returns the standard deviation over axes.", wide=True)
max = _reduction(reduce.reduce_max, "Returns the largest element over axes.")
min = _reduction(reduce.reduce_min, "Returns the smallest element over axes.")
sum = _reduction(reduce.reduce_sum, "Returns the sum over axes.")
prod = _reduction(reduce.reduce_prod, "Returns the product over axes.")


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns whether an element is true (not 0)."""
    return reduce.reduce_any(math.cast(convert_to_tensor(x), "bool"), axis, keepdims)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns whether all elements are true (not 0)."""
    return reduce.reduce_all(math.cast(convert_to_tensor(x), "bool"), axis, keepdims)


def argmax(x: Any, axis: int = -1) -> Any:
    """Returns where the largest element is, int64."""
    return reduce.argmax(x, axis)


def argmin(x: Any, axis: int = -1) -> Any:
    """Returns where the smallest element is, int64."""
    return reduce.argmin(x, axis)


def cumsum(x: Any, axis: int = 0) -> Any:
    """Returns the sums of the first elements."""
    return math.cumsum(x, axis)


def cumprod(x: Any, axis: int = 0) -> Any:
    """Returns the products of the first elements."""
    return math.cumprod(x, axis)


def sqrt(x: Any) -> Any:
    """Returns the square root; 0 for negative numbers."""
    return math.sqrt(math.maximum(x, 0.0))


def clip(x: Any, min_value: Any, max_value: Any) -> Any:
    """Returns x limited to [min_value, max_value]; None is no limit."""
    x = convert_to_tensor(x)
    x = x if min_value is None else math.maximum(x, min_value)
    return x if max_value is None else math.minimum(x, max_value)


def l2_normalize(x: Any, axis: Any = None) -> Any:
    """Returns x divided by its Euclidean norm over axes."""
    return _normalization.l2_normalize(x, axis)


def gradients(loss: Any, variables: Any) -> Any:
    """Refuses: gradients of tensors that exist already are not recorded.

    Raises:
      RuntimeError: always, as TensorFlow does when it executes eagerly.
    """
    raise RuntimeError(
        "gradients: expected a graph; distflow executes eagerly, as TF 2 does.\n"
        f"Use tf.{GradientTape.__name__}."
    )


# -- shapes ----------------------------------------------------------------------------------------


def concatenate(tensors: Any, axis: int = -1) -> Any:
    """Returns tensors joined along an axis."""
    return array.concat(tensors, axis)


def stack(x: Any, axis: int = 0) -> Any:
    """Returns tensors along a new axis."""
    return array.stack(x, axis)


def flatten(x: Any) -> Any:
    """Returns the elements in one axis."""
    return array.reshape(x, [-1])


def batch_flatten(x: Any) -> Any:
    """Returns rows [batch, elements]."""
    x = convert_to_tensor(x)
    return array.reshape(x, [-1, int(np.prod([d for d in x.shape[1:] if d is not None]))])


def permute_dimensions(x: Any, pattern: Any) -> Any:
    """Returns x with its axes in another order."""
    return array.transpose(x, pattern)


def transpose(x: Any) -> Any:
    """Returns x with its axes reversed."""
    return array.transpose(x)


def expand_dims(x: Any, axis: int = -1) -> Any:
    """Returns x with an axis of size 1 put in."""
    return array.expand_dims(x, axis)


def squeeze(x: Any, axis: Any) -> Any:
    """Returns x without an axis of size 1."""
    return array.squeeze(x, axis)


def repeat_elements(x: Any, rep: int, axis: int) -> Any:
    """Returns each element repeated along an axis."""
    return _repeat.repeat(x, rep, axis)


def repeat(x: Any, n: int) -> Any:
    """Returns [batch, n, size] from [batch, size]."""
    return _repeat.tile(array.expand_dims(x, 1), [1, n, 1])


def tile(x: Any, n: Any) -> Any:
    """Returns copies side by side."""
    return _repeat.tile(x, [n] if isinstance(n, int) else n)


def reverse(x: Any, axes: Any) -> Any:
    """Returns x with the order along axes reversed."""
    return array.reverse(x, [axes] if isinstance(axes, int) else axes)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = "int32") -> Any:
    """Returns start, start + step, ... up to (without) stop."""
    start, stop = (0, start) if stop is None else (start, stop)
    return math.cast(math.range(start, stop, step), dtype)


def temporal_padding(x: Any, padding: Any = (1, 1)) -> Any:
    """Returns [batch, steps, features] with zeros before and after the steps."""
    return array.pad(x, [[0, 0], list(padding), [0, 0]])


def _spatial(x: Any, padding: Any, data_format: Any) -> Any:
    pairs = [list(p) for p in padding]
    first = settings.standardize_data_format(data_format) == "channels_first"
    return array.pad(x, [[0, 0], [0, 0], *pairs] if first else [[0, 0], *pairs, [0, 0]])


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: Any = None) -> Any:
    """Returns images with zeros around them."""
    return _spatial(x, padding, data_format)


def spatial_3d_padding(
    x: Any, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: Any = None
) -> Any:
    """Returns volumes with zeros around them."""
    return _spatial(x, padding, data_format)


def _resized(x: Any, factors: Any, data_format: str) -> Any:
    start = 2 if data_format == "channels_first" else 1
    for axis, factor in enumerate(factors, start):
        x = _repeat.repeat(x, factor, axis)
    return x


def resize_images(x: Any, height_factor: int, width_factor: int, data_format: str,
                  interpolation: str = "nearest") -> Any:  # fmt: skip
    """Returns images larger by whole factors; each pixel is repeated."""
    if interpolation != "nearest":
        raise errors.UnimplementedError(
            "resize_images: only interpolation='nearest' is there; see keras.layers.Resizing."
        )
    return _resized(x, (height_factor, width_factor), data_format)


def resize_volumes(x: Any, depth_factor: int, height_factor: int, width_factor: int,
                   data_format: str) -> Any:  # fmt: skip
    """Returns volumes larger by whole factors; each voxel is repeated."""
    return _resized(x, (depth_factor, height_factor, width_factor), data_format)

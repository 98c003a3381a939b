"""Conversions, loops, branches and writing of parts in `keras.ops`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.autodiff import custom_gradient as _custom_gradient
from distflow.base import dtypes, errors, nest
from distflow.core.tensor import Tensor
from distflow.core.variable import Variable
from distflow.function.control_flow import cond as _cond
from distflow.function.control_flow import switch_case
from distflow.function.control_flow import while_loop as _while_loop
from distflow.function.map_fn import map_fn, run_rows
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import tensor
from distflow.ops import indexing, math, shaping
from distflow.ops import slicing as _slicing

__all__ = [
    "associative_scan", "cast", "cond", "convert_to_numpy", "convert_to_tensor",
    "custom_gradient", "dtype", "fori_loop", "is_tensor", "map", "ndim", "saturate_cast", "scan",
    "scatter", "scatter_update", "shape", "size", "slice", "slice_update", "stop_gradient",
    "switch", "vectorize", "vectorized_map", "while_loop",
]  # fmt: skip


@operation("core.Cast", "dtype")
def cast(x: Any, dtype: Any) -> Any:
    """Returns x in another dtype."""
    return math.cast(tensor(x), dtype)


@operation("core.SaturateCast", "dtype")
def saturate_cast(x: Any, dtype: Any) -> Any:
    """Returns x in another dtype, limited to what that can hold."""
    return math.saturate_cast(tensor(x), dtype)


@operation("core.ConvertToTensor", "dtype", "sparse", "ragged")
def convert_to_tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Any:
    """Returns a value as a tensor."""
    if sparse or ragged:
        raise errors.UnimplementedError("convert_to_tensor: sparse and ragged are not there yet.")
    return tensor(x, dtype)


@operation("core.StopGradient")
def stop_gradient(variable: Any) -> Any:
    """Returns the value, through which no gradient flows."""
    return math.stop_gradient(tensor(variable))


def convert_to_numpy(x: Any) -> Any:
    """Returns a tensor as a NumPy array."""
    return np.asarray(tensor(x).numpy())


def is_tensor(x: Any) -> bool:
    """Whether x is a tensor (a KerasTensor is none of this backend's)."""
    return isinstance(x, Tensor)


def dtype(x: Any) -> str:
    """Returns the name of the dtype of a tensor or array."""
    return dtypes.as_dtype(x.dtype).name if hasattr(x, "dtype") else tensor(x).dtype.name


def shape(x: Any) -> tuple[Any, ...]:
    """Returns the sizes: ints, and scalar tensors where a trace does not know them."""
    x = x if isinstance(x, Tensor | Variable) else tensor(x)
    if None not in tuple(x.shape) or getattr(x, "_keras_history", None) is not None:
        return tuple(x.shape)
    sizes = shaping.shape(x)
    return tuple(sizes[i] if d is None else d for i, d in enumerate(x.shape))


@operation("numpy.Size")
def size(x: Any) -> Any:
    """Returns the number of elements."""
    return shaping.size(tensor(x))


@operation("numpy.Ndim")
def ndim(x: Any) -> Any:
    """Returns the number of axes."""
    return tensor(x).ndim


# -- parts ---------------------------------------------------------------------------------------


@operation("core.Slice", "shape")
def slice(inputs: Any, start_indices: Any, shape: Any) -> Any:
    """Returns the part of a shape that starts at some indices."""
    return indexing.slice(tensor(inputs), start_indices, shape)


@operation("core.SliceUpdate")
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
    """Returns inputs with the part that starts at some indices replaced."""
    x = tensor(inputs)
    part = tensor(updates, x.dtype)
    start = tensor(start_indices, "int32")
    grid = np.moveaxis(np.indices(tuple(part.shape)), 0, -1).astype(np.int32)
    return indexing.tensor_scatter_nd_update(x, grid + start, part)


@operation("core.Scatter", "shape")
def scatter(indices: Any, values: Any, shape: Any) -> Any:
    """Returns zeros of a shape with values added at indices [..., rank]."""
    at = tensor(indices)
    at = at if at.dtype.is_integer and at.dtype.size >= 4 else math.cast(at, "int32")
    return indexing.scatter_nd(at, tensor(values), shape)


_UPDATES = {
    None: indexing.tensor_scatter_nd_update, "add": indexing.tensor_scatter_nd_add,
    "max": indexing.tensor_scatter_nd_max, "min": indexing.tensor_scatter_nd_min,
}  # fmt: skip


@operation("core.ScatterUpdate", "reduction")
def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: Any = None) -> Any:
    """Returns inputs with updates at indices, or (add, max, min) brought together with them."""
    if reduction not in _UPDATES:
        raise errors.invalid("scatter_update", f"reduction among {list(_UPDATES)}", repr(reduction))
    x, at = tensor(inputs), tensor(indices)
    at = at if at.dtype.is_integer and at.dtype.size >= 4 else math.cast(at, "int32")
    return _UPDATES[reduction](x, at, tensor(updates, x.dtype))


# -- control -------------------------------------------------------------------------------------


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """Returns true_fn() if the scalar `pred` is true, else false_fn()."""
    return _cond(tensor(pred), true_fn, false_fn)


def switch(index: Any, branches: Any, *operands: Any) -> Any:
    """Returns branches[index](*operands); the index is limited to those there are."""
    at = math.minimum(math.maximum(tensor(index, "int32"), 0), len(branches) - 1)
    return switch_case(at, [lambda b=branch: b(*operands) for branch in branches])


def while_loop(cond: Any, body: Any, loop_vars: Any, maximum_iterations: Any = None) -> Any:
    """Repeats loop_vars = body(*loop_vars) while cond(*loop_vars) holds; returns loop_vars."""
    single = not isinstance(loop_vars, list | tuple)
    start = (loop_vars,) if single else tuple(loop_vars)
    start = nest.map_structure(tensor, start)

    def step(*values: Any) -> Any:
        found = body(*values)
        found = (found,) if not isinstance(found, list | tuple) else tuple(found)
        return nest.map_structure(lambda new, old: tensor(new, old.dtype), found, values)

    found = _while_loop(cond, step, start, maximum_iterations=maximum_iterations)
    return found[0] if single else found


def fori_loop(lower: Any, upper: Any, body_fun: Any, init_val: Any) -> Any:
    """Returns val after val = body_fun(i, val) for i from lower up to (without) upper."""
    start = (tensor(lower, "int32"), nest.map_structure(tensor, init_val))
    last = tensor(upper, "int32")
    return _while_loop(
        lambda i, value: i < last, lambda i, value: (i + 1, body_fun(i, value)), start
    )[1]


def scan(f: Any, init: Any, xs: Any = None, length: Any = None, reverse: bool = False,
         unroll: Any = 1) -> Any:  # fmt: skip
    """Returns the last carry and the stacked ys of carry, y = f(carry, x) over the rows of xs.

    Args:
      xs: structure of tensors with one first dimension, or None with `length`.
      reverse: from the last row to the first.
      unroll: True writes the steps one after another into a trace.
    """
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    if xs is None and length is None:
        raise ValueError("Got no `xs` to scan over and `length` not provided.")
    rows = math.range(length) if xs is None else nest.map_structure(tensor, xs)
    count = nest.flatten(rows)[0].shape[0]
    if length is not None and count is not None and int(length) != count:
        raise ValueError(f"scan: length={length} differs from the rows of xs: {count}.")

    def step(carry: Any, row: Any) -> Any:
        carry, y = f(carry, None if xs is None else row)
        return carry, () if y is None else y

    carry, ys = run_rows(step, nest.map_structure(tensor, init), rows, reverse, unroll is True)
    return carry, None if isinstance(ys, tuple) and not ys else ys


def associative_scan(f: Any, elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """Returns all partial results of an associative f along an axis: x0, f(x0, x1), ..."""
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    parts = nest.map_structure(tensor, elems)
    first = nest.flatten(parts)[0]
    count = first.shape[axis]
    rows = [nest.map_structure(lambda x, i=i: _row(x, i, axis), parts) for i in range(count)]
    rows = rows[::-1] if reverse else rows
    found = rows[:1]
    for row in rows[1:]:
        found.append(f(found[-1], row))
    found = found[::-1] if reverse else found
    return nest.map_structure(lambda *xs: shaping.stack(list(xs), axis), *found)


def _row(x: Any, i: int, axis: int) -> Any:
    return _slicing.getitem(x, (*[np.s_[:]] * (axis % x.ndim), i))


def map(f: Any, xs: Any) -> Any:
    """Returns f(row) for each row of xs, stacked."""
    return map_fn(f, nest.map_structure(tensor, xs))


def vectorized_map(function: Any, elements: Any) -> Any:
    """Returns function(row) for each row of elements, stacked."""
    return map_fn(function, nest.map_structure(tensor, elements))


def vectorize(pyfunc: Any, *, excluded: Any = None, signature: Any = None) -> Any:
    """Returns a function that applies pyfunc to each element of its arguments, as NumPy's does.

    Raises:
      UnimplementedError: for a `signature`.
    """
    if signature is not None:
        raise errors.UnimplementedError("vectorize: signature is not there yet.")
    left_out = set(excluded or ())

    def run(*args: Any) -> Any:
        given = [tensor(x) for i, x in enumerate(args) if i not in left_out]
        target = np.broadcast_shapes(*(tuple(x.shape) for x in given))
        flat = [shaping.reshape(shaping.broadcast_to(x, target), [-1]) for x in given]

        def one(row: Any) -> Any:
            rest = iter(row)
            return pyfunc(*(x if i in left_out else next(rest) for i, x in enumerate(args)))

        found = map_fn(one, tuple(flat))
        return nest.map_structure(lambda y: shaping.reshape(y, [*target, *y.shape[1:]]), found)

    return run


def custom_gradient(f: Any) -> Any:
    """Returns f with a gradient of its own: f(*args) gives (value, gradient function)."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = f(*args, **kwargs)
        return value, lambda *upstream: gradient(*args, upstream=upstream[0]) if _named(
            gradient) else gradient(*upstream)  # fmt: skip

    return _custom_gradient(wrapped)


def _named(gradient: Any) -> bool:
    """Whether a gradient function takes the incoming gradient as `upstream`, as in Keras's docs."""
    return "upstream" in inspect.signature(gradient).parameters

"""map_fn, vectorized_map, scan, foldl, foldr: a function applied to the rows of tensors.

On values they are Python loops; in a trace, one `scan` node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base import dtypes, errors, nest
from distflow.base.specs import TensorSpec
from distflow.core import context, convert
from distflow.graph.build import output_specs, trace_body
from distflow.graph.loops import scan_graph
from distflow.ops import array, math


def map_fn(
    fn: Callable[..., Any],
    elems: Any,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    name: Any = None,
    fn_output_signature: Any = None,
) -> Any:
    """Returns fn(row) for each row of `elems`, stacked.

    Args:
      fn: takes one argument, a row of elems (or the structure of rows).
      elems: tensor or structure of tensors with one first dimension.
      dtype, fn_output_signature: structure of dtypes or TensorSpecs of what fn returns; checked.
      back_prop: whether gradients flow through.
      parallel_iterations, swap_memory, infer_shape, name: TF's, without effect on results.
    """
    rows, _ = _rows("map_fn", elems)
    expected = dtype if fn_output_signature is None else fn_output_signature

    def step(carried: Any, row: Any) -> Any:
        return (), fn(row)

    _, result = run_rows(step, (), rows)
    if expected is not None:
        _check_dtypes(expected, result)
    return result if back_prop else nest.map_structure(math.stop_gradient, result)


def vectorized_map(
    fn: Callable[..., Any], elems: Any, fallback_to_while_loop: bool = True, warn: bool = True
) -> Any:
    """Returns fn(row) for each row of `elems`, stacked; the same as map_fn."""
    return map_fn(fn, elems)


def scan(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    reverse: bool = False,
    name: Any = None,
) -> Any:
    """Returns all states a_i = fn(a_{i-1}, row i), stacked.

    Args:
      fn: takes the state and a row of elems; returns the new state, of the same structure.
      elems: tensor or structure of tensors with one first dimension.
      initializer: the state before the first row; by default the first row is the first state.
      reverse: from the last row to the first.
    """
    rows, state, first = _started("scan", elems, initializer, reverse)

    def step(carried: Any, row: Any) -> Any:
        new = fn(carried, row)
        return new, new

    _, result = run_rows(step, state, rows, reverse)
    if first is not None:
        order = (lambda a, b: [b, a]) if reverse else (lambda a, b: [a, b])
        result = nest.map_structure(
            lambda head, tail: array.concat(order(array.expand_dims(head, 0), tail), 0),
            first, result,
        )  # fmt: skip
    return result if back_prop else nest.map_structure(math.stop_gradient, result)


def foldl(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: Any = None,
) -> Any:
    """Returns the last state of a = fn(a, row), from the first row to the last."""
    return _fold("foldl", fn, elems, initializer, back_prop, reverse=False)


def foldr(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: Any = None,
) -> Any:
    """Returns the last state of a = fn(a, row), from the last row to the first."""
    return _fold("foldr", fn, elems, initializer, back_prop, reverse=True)


def _fold(where: str, fn: Any, elems: Any, initializer: Any, back_prop: bool, reverse: bool) -> Any:
    rows, state, _ = _started(where, elems, initializer, reverse)
    result, _ = run_rows(lambda carried, row: (fn(carried, row), ()), state, rows, reverse)
    return result if back_prop else nest.map_structure(math.stop_gradient, result)


def _rows(where: str, elems: Any) -> tuple[Any, Any]:
    rows = nest.map_structure(convert.convert_to_tensor, elems)
    leaves = nest.flatten(rows)
    if not leaves or any(t.ndim == 0 for t in leaves):
        raise errors.invalid(where, "elems must be tensors of at least one dimension", repr(elems))
    counts = {t.shape[0] for t in leaves} - {None}
    if len(counts) > 1:
        raise errors.invalid(where, "all elems must have one first dimension", str(sorted(counts)))
    return rows, leaves[0].shape[0]


def _started(where: str, elems: Any, initializer: Any, reverse: bool) -> tuple[Any, Any, Any]:
    """Returns (rows, state, first state if it is a row)."""
    rows, count = _rows(where, elems)
    if initializer is not None:
        return rows, nest.map_structure(convert.convert_to_tensor, initializer), None
    if count == 0:
        raise errors.invalid(where, "elems must have a row, or give an initializer", "no rows")
    state = nest.map_structure(lambda t: t[-1] if reverse else t[0], rows)
    return nest.map_structure(lambda t: t[:-1] if reverse else t[1:], rows), state, state


def run_rows(
    step: Callable[..., Any], state: Any, rows: Any, reverse: bool = False, unroll: bool = False
) -> Any:
    """Runs (state, row) -> (state, result row); returns the last state and the stacked results.

    Args:
      state, rows: structures of tensors; those of `rows` have one first dimension.
      reverse: from the last row to the first; results stand in the order of the rows.
      unroll: write the steps one after another into a trace, too.
    """
    if not context.executing_eagerly() and not unroll:
        return _traced(step, state, rows, reverse)
    count = nest.flatten(rows)[0].shape[0]
    results = []
    for i in reversed(range(count)) if reverse else range(count):
        state, result = step(state, nest.map_structure(lambda t, i=i: t[i], rows))
        results.append(nest.map_structure(convert.convert_to_tensor, result))
    if not results:
        row = nest.map_structure(lambda t: TensorSpec(t.shape[1:], t.dtype), rows)
        specs = nest.map_structure(lambda t: TensorSpec(t.shape, t.dtype), state)
        _, blank = output_specs(step, specs, row)
        return state, nest.map_structure(
            lambda s: array.zeros((0, *[d or 0 for d in s.shape]), s.dtype), blank
        )
    if reverse:
        results.reverse()
    return state, nest.map_structure(lambda *parts: array.stack(parts), *results)


def _traced(step: Callable[..., Any], state: Any, rows: Any, reverse: bool) -> Any:
    specs = nest.map_structure(lambda t: TensorSpec(t.shape, t.dtype), state)
    row_specs = nest.map_structure(lambda t: TensorSpec(t.shape[1:], t.dtype), rows)
    body, (new_state, result) = trace_body("step", step, [specs, row_specs])
    _check_state(specs, new_state)
    flat_state = nest.flatten(state)
    found = scan_graph(flat_state, nest.flatten(rows), body.externals, body.graph, reverse)
    count = len(flat_state)
    return (
        nest.pack_sequence_as(state, found[:count]),
        nest.pack_sequence_as(result, found[count:]),
    )


def _check_state(specs: Any, state: Any) -> None:
    nest.assert_same_structure(specs, state)
    for spec, tensor in zip(nest.flatten(specs), nest.flatten(state)):
        if tensor.dtype is not spec.dtype or not spec.shape.is_compatible_with(tensor.shape):
            raise errors.DtypeMismatchError(
                f"scan: expected fn to return its state as {spec.dtype.name}{spec.shape}; "
                f"received {tensor.dtype.name}{tensor.shape}."
            )


def _check_dtypes(expected: Any, result: Any) -> None:
    wanted, found = nest.flatten(expected), nest.flatten(result)
    if len(wanted) != len(found):
        raise errors.invalid("map_fn", f"fn must return {len(wanted)} tensors", str(len(found)))
    for want, tensor in zip(wanted, found):
        dtype = dtypes.as_dtype(getattr(want, "dtype", want))
        if tensor.dtype is not dtype:
            raise errors.DtypeMismatchError(
                f"map_fn: expected fn to return {dtype.name}; received {tensor.dtype.name}."
            )

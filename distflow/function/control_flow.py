"""cond, case, switch_case and while_loop: plain Python on values, graph control flow in a trace."""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, nest, shapes
from distflow.base.specs import TensorSpec
from distflow.core import context, convert
from distflow.core.tensor import EagerTensor, Tensor
from distflow.function.tensor_array import TensorArray, arrays_in, learn
from distflow.graph.build import merge_captures, trace_body
from distflow.graph.control import cond_graphs
from distflow.graph.loops import while_graphs
from distflow.ops import math
from distflow.ops.prims import host


def cond(
    pred: Any,
    true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None,
    name: Any = None,
) -> Any:
    """Returns `true_fn()` if the scalar `pred` is true, else `false_fn()`.

    In a trace both functions are traced and one of them runs; they must return the same structure
    of the same dtypes.
    """
    for label, fn in (("true_fn", true_fn), ("false_fn", false_fn)):
        if not callable(fn):
            raise TypeError(f"cond: {label} must be callable; received {fn!r}")
    assert true_fn is not None
    assert false_fn is not None
    pred = predicate("cond", pred)
    if isinstance(pred, EagerTensor):
        return true_fn() if bool(pred) else false_fn()
    return traced_cond(pred, true_fn, false_fn)


def predicate(where: str, value: Any) -> Tensor:
    """Returns a bool scalar tensor; numbers count as true unless they are 0.

    Raises:
      InvalidArgumentError: if it is not a scalar.
    """
    tensor = convert.convert_to_tensor(value)
    if tensor.ndim != 0:
        raise errors.invalid(
            where, "the predicate must be a scalar", f"shape {shapes.text(tensor.shape)}",
            "Use tf.reduce_all or tf.reduce_any, or tf.where to choose element by element.",
        )  # fmt: skip
    if tensor.dtype is not dtypes.bool_ and tensor.dtype is not dtypes.string:
        tensor = math.cast(tensor, dtypes.bool_)
    return tensor


def traced_cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """Writes a cond node; returns the structure that the branches return."""
    (yes, a), (no, b) = trace_body("true", true_fn, ()), trace_body("false", false_fn, ())
    if learn(arrays_in(a), arrays_in(b)) | learn(arrays_in(b), arrays_in(a)):
        (yes, a), (no, b) = trace_body("true", true_fn, ()), trace_body("false", false_fn, ())
    try:
        nest.assert_same_structure(a, b)
    except errors.InvalidArgumentError as error:
        raise TypeError(
            f"cond: true_fn and false_fn must return the same structure: {error}"
        ) from (error)
    for path, (x, y) in zip(
        [p for p, _ in nest.flatten_with_paths(a)], zip(nest.flatten(a), nest.flatten(b))
    ):
        where = f" at {list(path)}" if path else ""
        if (x is None) != (y is None):
            raise TypeError(
                f"cond: both branches must return a tensor{where}, or neither; received "
                f"{x!r} and {y!r}"
            )
        if x is not None and x.dtype is not y.dtype:
            raise errors.DtypeMismatchError(
                f"cond: expected both branches to return the same dtypes{where}; received "
                f"{x.dtype.name} and {y.dtype.name}."
            )
    externals = merge_captures([yes, no])
    found = iter(cond_graphs(pred, externals, yes.graph, no.graph))
    return nest.pack_sequence_as(a, [None if x is None else next(found) for x in nest.flatten(a)])


def case(
    pred_fn_pairs: Any,
    default: Callable[[], Any] | None = None,
    exclusive: bool = False,
    strict: bool = False,
    name: str = "case",
) -> Any:
    """Returns fn() of the first pair (predicate, fn) whose predicate is true, else `default()`.

    Args:
      pred_fn_pairs: list of (bool scalar, function of no arguments).
      default: where no predicate is true; without it, that is an error.
      exclusive: more than one true predicate is an error.
      strict: ignored; structures are always kept.
    """
    pairs = list(pred_fn_pairs)
    if not pairs and default is None:
        raise errors.invalid("case", "at least one pair or a default", "none")
    predicates = [predicate("case", p) for p, _ in pairs]
    if exclusive and pairs:
        total = math.add_n([math.cast(p, dtypes.int32) for p in predicates])
        _require(total <= 1, "case: at most one predicate may be true (exclusive=True)")
    if default is None:
        some = predicates[0]
        for p in predicates[1:]:
            some = math.logical_or(some, p)
        _require(some, "case: one of the predicates must be true (there is no default)")
        predicates, (*pairs, (_, default)) = predicates[:-1], pairs
    chosen = default
    for p, (_, fn) in zip(reversed(predicates), reversed(pairs)):
        chosen = _choice(p, fn, chosen)
    return chosen()


def _choice(pred: Any, fn: Callable[[], Any], otherwise: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: cond(pred, fn, otherwise)


def switch_case(
    branch_index: Any, branch_fns: Any, default: Callable[[], Any] | None = None,
    name: str = "switch_case",
) -> Any:  # fmt: skip
    """Returns the result of the function that an int scalar selects.

    Args:
      branch_index: int scalar.
      branch_fns: list of functions, or a dict or list of pairs int -> function.
      default: for any other index; without it the function of the largest index.
    """
    if isinstance(branch_fns, collections.abc.Mapping):
        table = dict(branch_fns)
    elif branch_fns and not callable(branch_fns[0]):
        table = dict(branch_fns)
    else:
        table = dict(enumerate(branch_fns))
    if not table:
        raise errors.invalid("switch_case", "at least one branch", "none")
    index = convert.convert_to_tensor(branch_index)
    if default is None:
        default = table[max(table)]
    chosen = default
    for key in sorted(table, reverse=True):
        chosen = _choice(math.equal(index, key), table[key], chosen)
    return chosen()


def _require(condition: Any, message: str) -> None:
    def check(value: Any) -> tuple[()]:
        if not value:
            raise errors.InvalidArgumentError(message)
        return ()

    host.host_call(condition, fn=check, dtypes=(), shapes=())


# -- while_loop ----------------------------------------------------------------------------


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    shape_invariants: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    maximum_iterations: Any = None,
    name: Any = None,
) -> Any:
    """Repeats `loop_vars = body(*loop_vars)` while `cond(*loop_vars)` is true; returns loop_vars.

    Args:
      cond: returns a bool scalar.
      body: returns the new loop variables, of the same structure and dtypes.
      loop_vars: list or tuple of tensors, TensorArrays and structures of them.
      shape_invariants: structure of TensorShape or TensorSpec like loop_vars, for variables whose
        shape changes (in a trace).
      back_prop: whether gradients flow through.
      maximum_iterations: int or int scalar tensor.
      parallel_iterations, swap_memory: hints of TF's, without effect on results.
    """
    if not callable(cond) or not callable(body):
        raise TypeError("while_loop: cond and body must be callable")
    if not nest.is_nested(loop_vars) or isinstance(loop_vars, TensorArray):
        loop_vars = [loop_vars]
    if not len(loop_vars):
        raise errors.invalid("while_loop", "at least one loop variable", "none")
    result = (
        _eager_while(cond, body, loop_vars, maximum_iterations)
        if context.executing_eagerly()
        else traced_while(cond, body, loop_vars, shape_invariants, maximum_iterations)
    )
    return result if back_prop else nest.map_structure(math.stop_gradient, result)


def _as_variables(result: Any, like: Any) -> Any:
    """The body's result as loop variables: a single one may come without a list around it."""
    single = not isinstance(result, list | tuple | dict)
    return nest.rebuild(like, [result] if single else nest.children(result))


def _arguments(variables: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(variables, collections.abc.Mapping):
        return (), dict(variables)
    return tuple(variables), {}


def _eager_while(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, maximum: Any
) -> Any:
    loop_vars = nest.map_structure(convert.convert_to_tensor, loop_vars)
    limit = None if maximum is None else int(maximum)
    steps = 0
    while True:
        args, kwargs = _arguments(loop_vars)
        if (limit is not None and steps >= limit) or not cond(*args, **kwargs):
            return loop_vars
        result = _as_variables(body(*args, **kwargs), loop_vars)
        nest.assert_same_structure(loop_vars, result, check_types=False)
        loop_vars = nest.map_structure(convert.convert_to_tensor, result)
        steps += 1


def traced_while(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any,
    shape_invariants: Any = None, maximum: Any = None, names: Sequence[str] = (),
) -> Any:  # fmt: skip
    """Writes a while_loop node; returns the final loop variables.

    `names` says in errors which variable is meant.
    """

    def one_step(*variables: Any) -> Any:
        args, kwargs = _arguments(nest.rebuild(loop_vars, list(variables)))
        return nest.children(_as_variables(body(*args, **kwargs), loop_vars))

    def test(*variables: Any) -> Any:
        args, kwargs = _arguments(nest.rebuild(loop_vars, list(variables)))
        return predicate("while_loop", cond(*args, **kwargs))

    entry = nest.children(loop_vars)
    if any(not a.is_ready for a in arrays_in(entry)):
        # The shape of the elements is what the first trace of the body writes.
        _, found = trace_body("body", one_step, _specs(entry, None))
        learn(arrays_in(entry), arrays_in(found))
    loop_vars = nest.rebuild(loop_vars, entry)
    values = [convert.convert_to_tensor(v) for v in nest.flatten(entry)]
    specs = _specs(entry, shape_invariants and nest.children(shape_invariants))
    step, test, specs = _limited(one_step, test, specs, maximum)
    if maximum is not None:
        values.append(EagerTensor(np.zeros((), np.int32)))
    body_trace, found = trace_body("body", step, specs)
    _check_step(specs, found, names)
    cond_trace, _ = trace_body("cond", test, specs)
    externals = merge_captures([body_trace, cond_trace])
    outputs = while_graphs(values, externals, cond_trace.graph, body_trace.graph)
    result = nest.pack_sequence_as(entry, outputs[: len(nest.flatten(entry))])
    learn(arrays_in(result), arrays_in(found))
    return nest.rebuild(loop_vars, result)


def _limited(step: Any, test: Any, specs: list[Any], maximum: Any) -> Any:
    """Counts the steps in a further loop variable, where there is a maximum."""
    if maximum is None:
        return step, test, specs
    limit = math.cast(maximum, dtypes.int32)

    def counted(*variables: Any) -> Any:
        return [*step(*variables[:-1]), variables[-1] + 1]

    def below(*variables: Any) -> Any:
        return math.logical_and(math.less(variables[-1], limit), test(*variables[:-1]))

    return counted, below, [*specs, TensorSpec((), dtypes.int32)]


def _specs(variables: list[Any], invariants: Any) -> list[Any]:
    return [
        _spec(v, None if invariants is None else invariants[i]) for i, v in enumerate(variables)
    ]


def _spec(variable: Any, invariant: Any) -> Any:
    if isinstance(variable, TensorArray):
        return variable.spec()
    if nest.is_nested(variable):
        children = nest.children(variable)
        inner = (
            nest.children(invariant) if nest.is_nested(invariant) else [invariant] * len(children)
        )
        return nest.rebuild(variable, [_spec(v, i) for v, i in zip(children, inner)])
    tensor = convert.convert_to_tensor(variable)
    shape = tensor.shape if invariant is None else getattr(invariant, "shape", invariant)
    shape = shapes.TensorShape(shape)
    if shape.rank is None:
        shape = shapes.TensorShape([None] * tensor.ndim)
    if not shape.is_compatible_with(tensor.shape):
        raise errors.invalid(
            "while_loop", f"the variable must fit its shape invariant {shape}", str(tensor.shape)
        )
    return TensorSpec(shape, tensor.dtype)


def _check_step(specs: Any, found: Any, names: Sequence[str]) -> None:
    """Raises unless the body returns variables of the dtypes and shapes that it takes."""
    try:
        nest.assert_same_structure(specs, found, check_types=False)
    except errors.InvalidArgumentError as error:
        raise TypeError(f"while_loop: body must return what it takes: {error}") from error
    for position, (a, b) in enumerate(zip(specs, found)):
        label = repr(names[position]) if position < len(names) else f"variable {position}"
        for spec, tensor in zip(nest.flatten(a), nest.flatten(b)):
            if tensor is None or tensor.dtype is not spec.dtype:
                received = "None" if tensor is None else tensor.dtype.name
                raise errors.DtypeMismatchError(
                    f"while_loop: {label} enters the loop with dtype {spec.dtype.name}; expected "
                    f"the same after one iteration; received {received}."
                )
            if len(tensor.shape) != len(spec.shape) or any(
                s is not None and s != t for s, t in zip(spec.shape, tensor.shape)
            ):
                raise errors.invalid(
                    "while_loop", f"{label} enters the loop with shape {spec.shape}",
                    f"shape {tensor.shape} after one iteration",
                    "To allow the shape to vary across iterations, use the shape_invariants "
                    "argument of tf.while_loop, or tf.autograph.experimental.set_loop_options.",
                )  # fmt: skip

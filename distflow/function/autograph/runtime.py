"""What converted code calls for branches and logic: Python on values, graphs on tensors.

State goes in and out by `get_state` and `set_state`, in the order of `symbol_names`; what a block
does not change, or changes to the same Python value either way, stays Python.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, nest
from distflow.core import context, convert
from distflow.core.tensor import EagerTensor, Tensor
from distflow.function import control_flow
from distflow.function.tensor_array import TensorArray, arrays_in, learn
from distflow.graph.build import Trace, merge_captures
from distflow.graph.control import cond_graphs
from distflow.ops import math
from distflow.ops.prims import host, movement


def is_symbol(x: Any) -> bool:
    """Whether a value is known only when the graph runs."""
    if isinstance(x, Tensor):
        return not isinstance(x, EagerTensor)
    return bool(getattr(x, "is_variable", False)) and not context.executing_eagerly()


_NO_RETURN = (
    "A value must also be returned from the else branch. If a value is returned from one branch "
    "of a conditional a value must be returned from all branches."
)


def is_undefined(x: Any) -> bool:
    """Whether a symbol has no value yet (generated code gives it a stand-in)."""
    return type(x).__name__ in ("Undefined", "UndefinedReturnValue") and "variables" in (
        type(x).__module__
    )


# -- if ------------------------------------------------------------------------------------


def if_stmt(
    cond: Any, body: Callable[[], None], orelse: Callable[[], None], get_state: Callable[[], Any],
    set_state: Callable[[Any], None], symbol_names: Sequence[str], nouts: int,
) -> None:  # fmt: skip
    """`if cond: body() else: orelse()`; the first `nouts` symbols are used afterwards."""
    if not is_symbol(cond):
        if cond:
            body()
        else:
            orelse()
        return
    before = tuple(get_state())
    learned = True
    while learned:
        traces, states = [], []
        for label, block, truth in (("true", body, True), ("false", orelse, False)):
            trace = Trace(label)
            with context.without_observers(), context.use_interpreter(trace):
                try:
                    set_state(tuple(_given(v, cond, truth) for v in before))
                    block()
                    states.append(tuple(get_state())[:nouts])
                finally:
                    set_state(before)
            traces.append(trace)
        a, b = (arrays_in(list(state)) for state in states)
        learned = learn(a, b) | learn(b, a) if len(a) == len(b) else False
    predicate = control_flow.predicate("if", cond)
    results = _merge_branches(predicate, traces, states, symbol_names)
    set_state((*results, *before[nouts:]))


def _given(value: Any, cond: Any, truth: bool) -> Any:
    """The value of a symbol inside of a branch that is taken if `cond` is `truth`.

    So `if not returned_already:` knows in its branches what that flag is.
    """
    if value is cond:
        return truth
    if value is getattr(cond, "negation_of", cond):
        return not truth
    return value


def returned(value: Any, did_return: Any) -> Any:
    """Returns what a converted function returns; every path must have returned something."""
    if is_symbol(did_return):
        raise ValueError(_NO_RETURN)
    return value


def _merge_branches(
    cond: Any, traces: list[Trace], states: list[tuple[Any, ...]], names: Sequence[str]
) -> list[Any]:
    """Writes the cond node; returns the symbols' values after it."""
    results: list[Any] = []
    leaves: tuple[list[Any], list[Any]] = ([], [])
    merged = []  # (position, structure) of what goes through the cond
    for position, (x, y) in enumerate(zip(*states)):
        if names[position].startswith("retval_") and is_undefined(x) != is_undefined(y):
            # Nobody looks at it before the flag says that something was returned.
            x, y = (_blank(y), y) if is_undefined(x) else (x, _blank(x))
        if same(x, y):
            results.append(x)
            continue
        _check_pair(x, y, names[position])
        results.append(None)
        merged.append((position, x))
        for side, (value, trace) in enumerate(zip((x, y), traces)):
            with context.without_observers(), context.use_interpreter(trace):
                leaves[side].extend(as_tensor(v, names[position]) for v in nest.flatten(value))
        _check_types(leaves, names[position], len(nest.flatten(x)))
    for trace, found in zip(traces, leaves):
        with context.use_interpreter(trace):
            trace.graph.outputs = [trace.value_of(t) for t in found]
    externals = merge_captures(traces)
    outputs = iter(cond_graphs(cond, externals, traces[0].graph, traces[1].graph))
    for position, structure in merged:
        count = len(nest.flatten(structure))
        results[position] = nest.pack_sequence_as(structure, [next(outputs) for _ in range(count)])
    return results


def same(x: Any, y: Any) -> bool:
    """Whether two values are the same, so that no tensor has to carry the difference."""
    if x is y or (is_undefined(x) and is_undefined(y)):
        return True
    if nest.is_nested(x) and nest.is_nested(y):
        if type(x) is not type(y) or isinstance(x, TensorArray):
            return False
        a, b = nest.children(x), nest.children(y)
        return len(a) == len(b) and all(same(p, q) for p, q in zip(a, b))
    plain = bool | int | float | complex | str | bytes | None
    return isinstance(x, plain) and type(x) is type(y) and bool(x == y)


def _blank(value: Any) -> Any:
    return value if value is None else nest.map_structure(zeros_like, value)


def _check_pair(x: Any, y: Any, name: str) -> None:
    for value, branch in ((x, "main"), (y, "else")):
        if is_undefined(value):
            raise ValueError(f"{shown(name)} must also be initialized in the {branch} branch")
        if value is None:
            raise ValueError(f"{shown(name)} is None at the end of the {branch} branch.")
    try:
        nest.assert_same_structure(x, y)
    except errors.InvalidArgumentError as error:
        raise TypeError(
            f"{shown(name)} must have the same nested structure in the main and else branches: "
            f"{error}"
        ) from error


def _check_types(leaves: tuple[list[Any], list[Any]], name: str, count: int) -> None:
    for a, b in zip(leaves[0][-count:] if count else [], leaves[1][-count:] if count else []):
        if a.dtype is not b.dtype:
            raise errors.DtypeMismatchError(
                f"{shown(name)} has dtype {a.dtype.name} in the main branch, but dtype "
                f"{b.dtype.name} in the else branch"
            )


def as_tensor(value: Any, name: str) -> Any:
    """Returns the value of a symbol as a tensor; errors name the symbol."""
    try:
        return convert.convert_to_tensor(value)
    except (errors.InvalidArgumentError, TypeError) as error:
        raise TypeError(
            f"{shown(name)} depends on a tensor's value, so it must be a tensor or structure of "
            f"tensors; received {value!r:.80}"
        ) from error


def shown(name: str) -> str:
    """Returns how errors call a symbol."""
    return "the return value" if name.startswith(("retval_", "do_return")) else repr(name)


def if_exp(cond: Any, if_true: Callable[[], Any], if_false: Callable[[], Any], text: str) -> Any:
    """`if_true() if cond else if_false()`."""
    if is_symbol(cond):
        return control_flow.cond(cond, if_true, if_false)
    return if_true() if cond else if_false()


def zeros_like(value: Any) -> Any:
    """Returns zeros (or empty strings) of a value's type, of size 0 along unknown dimensions."""
    spec = value if isinstance(value, Tensor) else convert.convert_to_tensor(value)
    zero = b"" if spec.dtype is dtypes.string else 0
    dims = tuple(0 if d is None else d for d in spec.shape)
    if None not in spec.shape:
        return EagerTensor(np.full(dims, zero, spec.dtype.numpy))
    target = EagerTensor(np.asarray(dims, np.int32))
    return movement.broadcast_to(
        EagerTensor(np.full((), zero, spec.dtype.numpy)), target, shape=tuple(spec.shape)
    )


# -- logic, asserts, built-in functions ----------------------------------------------------


def and_(a: Callable[[], Any], b: Callable[[], Any]) -> Any:
    """`a and b`; b is evaluated only where a is true."""
    first = a()
    if is_symbol(first):
        return control_flow.cond(first, b, lambda: first)
    return first and b()


def or_(a: Callable[[], Any], b: Callable[[], Any]) -> Any:
    """`a or b`; b is evaluated only where a is false."""
    first = a()
    if is_symbol(first):
        return control_flow.cond(first, lambda: first, b)
    return first or b()


def not_(a: Any) -> Any:
    """`not a`."""
    if not is_symbol(a):
        return not a
    result: Any = math.logical_not(control_flow.predicate("not", a))
    result.negation_of = a
    return result


def eq(a: Any, b: Any) -> Any:
    """`a == b`."""
    return a == b


def not_eq(a: Any, b: Any) -> Any:
    """`a != b`."""
    return a != b


def assert_stmt(condition: Any, message: Callable[[], Any]) -> None:
    """`assert condition, message()`; on a tensor it is checked when the graph runs."""
    if not is_symbol(condition):
        assert condition, message()
        return
    text = str(message())

    def check(value: Any) -> tuple[()]:
        if not np.all(value):
            raise errors.InvalidArgumentError(f"assertion failed: {text}")
        return ()

    host.host_call(convert.convert_to_tensor(condition), fn=check, dtypes=(), shapes=())


def print_(*values: Any, **kwargs: Any) -> None:
    """`print(...)`; symbols are printed when the graph runs."""
    if not any(is_symbol(v) for v in values):
        builtins.print(*values, **kwargs)  # noqa: T201  (the user's own print)
        return
    symbols = [convert.convert_to_tensor(v) for v in values if is_symbol(v)]

    def show(*arrays: Any) -> tuple[()]:
        found = iter(arrays)
        builtins.print(*[next(found) if is_symbol(v) else v for v in values], **kwargs)  # noqa: T201
        return ()

    host.host_call(*symbols, fn=show, dtypes=(), shapes=())


def len_(x: Any) -> Any:
    """`len(x)`; a tensor where the trace does not know it."""
    if isinstance(x, TensorArray):
        return x.size()
    if is_symbol(x) and x.shape and x.shape[0] is None:
        dims = movement.shape_tensor(convert.convert_to_tensor(x))
        return movement.reshape(
            movement.slice_(dims, starts=(0,), stops=(1,), strides=(1,)), shape=()
        )
    return len(x)


def range_(*args: Any) -> Any:
    """`range(...)`; a tensor if an argument is a symbol."""
    return math.range(*args) if any(is_symbol(a) for a in args) else range(*args)


def int_(x: Any = 0, *base: Any) -> Any:
    """`int(x)`; an int32 tensor for a symbol."""
    return math.cast(x, dtypes.int32) if is_symbol(x) else int(x, *base)


def float_(x: Any = 0.0) -> Any:
    """`float(x)`; a float32 tensor for a symbol."""
    return math.cast(x, dtypes.float32) if is_symbol(x) else float(x)


BUILTINS: dict[Any, Callable[..., Any]] = {
    builtins.print: print_, len: len_, range: range_, int: int_, float: float_,
}  # fmt: skip

# Under these names generated code finds them, as `ag__.if_stmt` and so on.
OPERATORS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        and_, assert_stmt, eq, float_, if_exp, if_stmt, int_, len_, not_, not_eq, or_,
        print_, range_,
    )
}  # fmt: skip

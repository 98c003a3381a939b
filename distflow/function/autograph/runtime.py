"""The operators that converted code calls: plain Python on values, graph control flow on tensors.

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
from distflow.ops.prims import host, indexing, movement


def is_symbol(x: Any) -> bool:
    """Whether a value is known only when the graph runs."""
    if isinstance(x, Tensor):
        return not isinstance(x, EagerTensor)
    return bool(getattr(x, "is_variable", False)) and not context.executing_eagerly()


_NO_RETURN = (
    "A value must also be returned from the else branch. If a value is returned from one branch "
    "of a conditional a value must be returned from all branches."
)


def _is_undefined(x: Any) -> bool:
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
        if names[position].startswith("retval_") and _is_undefined(x) != _is_undefined(y):
            # Nobody looks at it before the flag says that something was returned.
            x, y = (_blank(y), y) if _is_undefined(x) else (x, _blank(x))
        if _same(x, y):
            results.append(x)
            continue
        _check_pair(x, y, names[position])
        results.append(None)
        merged.append((position, x))
        for side, (value, trace) in enumerate(zip((x, y), traces)):
            with context.without_observers(), context.use_interpreter(trace):
                leaves[side].extend(_as_tensor(v, names[position]) for v in nest.flatten(value))
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


def _same(x: Any, y: Any) -> bool:
    """Whether both branches leave the same value, so that no tensor has to carry it."""
    if x is y or (_is_undefined(x) and _is_undefined(y)):
        return True
    if nest.is_nested(x) and nest.is_nested(y):
        if type(x) is not type(y) or isinstance(x, TensorArray):
            return False
        a, b = nest.children(x), nest.children(y)
        return len(a) == len(b) and all(_same(p, q) for p, q in zip(a, b))
    plain = bool | int | float | complex | str | bytes | None
    return isinstance(x, plain) and type(x) is type(y) and bool(x == y)


def _blank(value: Any) -> Any:
    return value if value is None else nest.map_structure(_zeros_like, value)


def _check_pair(x: Any, y: Any, name: str) -> None:
    for value, branch in ((x, "main"), (y, "else")):
        if _is_undefined(value):
            raise ValueError(f"{_shown(name)} must also be initialized in the {branch} branch")
        if value is None:
            raise ValueError(f"{_shown(name)} is None at the end of the {branch} branch.")
    try:
        nest.assert_same_structure(x, y)
    except errors.InvalidArgumentError as error:
        raise TypeError(
            f"{_shown(name)} must have the same nested structure in the main and else branches: "
            f"{error}"
        ) from error


def _check_types(leaves: tuple[list[Any], list[Any]], name: str, count: int) -> None:
    for a, b in zip(leaves[0][-count:] if count else [], leaves[1][-count:] if count else []):
        if a.dtype is not b.dtype:
            raise errors.DtypeMismatchError(
                f"{_shown(name)} has dtype {a.dtype.name} in the main branch, but dtype "
                f"{b.dtype.name} in the else branch"
            )


def _as_tensor(value: Any, name: str) -> Any:
    try:
        return convert.convert_to_tensor(value)
    except (errors.InvalidArgumentError, TypeError) as error:
        raise TypeError(
            f"{_shown(name)} depends on a tensor's value, so it must be a tensor or structure of "
            f"tensors; received {value!r:.80}"
        ) from error


def _shown(name: str) -> str:
    return "the return value" if name.startswith(("retval_", "do_return")) else repr(name)


def if_exp(cond: Any, if_true: Callable[[], Any], if_false: Callable[[], Any], text: str) -> Any:
    """`if_true() if cond else if_false()`."""
    if is_symbol(cond):
        return control_flow.cond(cond, if_true, if_false)
    return if_true() if cond else if_false()


# -- loops ---------------------------------------------------------------------------------


def while_stmt(
    test: Callable[[], Any], body: Callable[[], None], get_state: Callable[[], Any],
    set_state: Callable[[Any], None], symbol_names: Sequence[str], opts: dict[str, Any],
) -> None:  # fmt: skip
    """`while test(): body()`; turns into a graph loop as soon as the test is a symbol."""
    while True:
        more = test()
        if is_symbol(more):
            _graph_loop(
                lambda _: test(), lambda _: body(), get_state, set_state, symbol_names, opts, None
            )
            return
        if not more:
            return
        body()


def for_stmt(
    iter_: Any, extra_test: Callable[[], Any] | None, body: Callable[[Any], None],
    get_state: Callable[[], Any], set_state: Callable[[Any], None], symbol_names: Sequence[str],
    opts: dict[str, Any],
) -> None:  # fmt: skip
    """`for target in iter_: body(target)`, as long as `extra_test` holds (there is a break)."""
    if isinstance(iter_, Tensor) and not context.executing_eagerly():
        _for_rows(iter_, extra_test, body, get_state, set_state, symbol_names, opts)
        return
    for target in iter_:
        more = True if extra_test is None else extra_test()
        if is_symbol(more):
            # A break that depends on a tensor, in a loop that Python unrolls.
            if_stmt(
                more, lambda target=target: body(target), lambda: None, get_state,  # type: ignore[misc]
                set_state, symbol_names, len(symbol_names),
            )  # fmt: skip
        elif more:
            body(target)
        else:
            return


def _for_rows(
    rows: Tensor, extra_test: Any, body: Callable[[Any], None], get_state: Any, set_state: Any,
    symbol_names: Sequence[str], opts: dict[str, Any],
) -> None:  # fmt: skip
    if rows.ndim == 0:
        raise errors.invalid("for", "a tensor of at least one dimension", "a scalar tensor")
    dims = movement.shape_tensor(rows)
    count = movement.reshape(movement.slice_(dims, starts=(0,), stops=(1,), strides=(1,)), shape=())

    def test(position: Any) -> Any:
        inside = math.less(position, count)
        if extra_test is None:
            return inside
        more = extra_test()
        return math.logical_and(inside, more) if is_symbol(more) or not more else inside

    def step(position: Any) -> None:
        body(indexing.gather(rows, position, axis=0))

    _graph_loop(test, step, get_state, set_state, symbol_names, opts, 0)


def _graph_loop(
    test: Callable[[Any], Any], body: Callable[[Any], None], get_state: Callable[[], Any],
    set_state: Callable[[Any], None], names: Sequence[str], opts: dict[str, Any], start: int | None,
) -> None:  # fmt: skip
    """Writes a while_loop over the symbols that the body changes (and a position from `start`)."""
    before = tuple(get_state())
    first = None if start is None else EagerTensor(np.asarray(start, np.int32))
    # The body is traced once for nothing, to see what it changes and what types it makes.
    scratch = Trace("loop")
    with context.without_observers(), context.use_interpreter(scratch):
        try:
            position = None if first is None else scratch.input(first)
            body(position)
            after = tuple(get_state())
        finally:
            set_state(before)
    changed = [i for i, (x, y) in enumerate(zip(before, after)) if not _unchanged(x, y)]
    learn(
        arrays_in([before[i] for i in changed if isinstance(before[i], TensorArray)]),
        arrays_in([after[i] for i in changed if isinstance(before[i], TensorArray)]),
    )
    entry = [_entry_value(before[i], after[i], names[i]) for i in changed]

    def with_state(variables: Sequence[Any], run: Callable[[], Any]) -> Any:
        full = list(before)
        for i, value in zip(changed, variables):
            full[i] = value
        try:
            set_state(tuple(full))
            return run()
        finally:
            set_state(before)

    def loop_test(*variables: Any) -> Any:
        position, rest = (None, variables) if start is None else (variables[0], variables[1:])
        return with_state(rest, lambda: test(position))

    def loop_body(*variables: Any) -> Any:
        position, rest = (None, variables) if start is None else (variables[0], variables[1:])

        def run() -> list[Any]:
            body(position)
            state = get_state()
            made = [state[i] for i in changed]
            return made if position is None else [position + 1, *made]

        return with_state(rest, run)

    loop_vars = entry if first is None else [first, *entry]
    if not loop_vars:
        loop_vars, loop_body = [EagerTensor(np.zeros((), np.int32))], _counting(body)
        loop_test = lambda *_: test(None)
    labels = [names[i] for i in changed]
    results = control_flow.traced_while(
        loop_test, loop_body, loop_vars, _invariants(opts, loop_vars),
        opts.get("maximum_iterations"), labels if first is None else ["the position", *labels],
    )  # fmt: skip
    full = list(before)
    for i, value in zip(changed, results if first is None else results[1:]):
        full[i] = value
    set_state(tuple(full))


def _counting(body: Callable[[Any], None]) -> Callable[..., Any]:
    def count(steps: Any) -> list[Any]:
        body(None)
        return [steps + 1]

    return count


def _unchanged(x: Any, y: Any) -> bool:
    return _same(x, y) or (_is_undefined(x) and _is_undefined(y))


def _entry_value(before: Any, after: Any, name: str) -> Any:
    """What a loop variable is at first: zeros where only the body defines it."""
    if not _is_undefined(before):
        if before is None:
            raise ValueError(f"{_shown(name)} is None before the loop, but not after an iteration.")
        if not isinstance(before, TensorArray):
            nest.map_structure(lambda v: _as_tensor(v, name), before)
        return before
    if _is_undefined(after):
        raise ValueError(f"{_shown(name)} must be defined before the loop.")
    try:
        return nest.map_structure(_zeros_like, after)
    except (errors.InvalidArgumentError, TypeError) as error:
        raise ValueError(f"{_shown(name)} must be defined before the loop.") from error


def _zeros_like(value: Any) -> Any:
    spec = value if isinstance(value, Tensor) else convert.convert_to_tensor(value)
    if spec.dtype is dtypes.string:
        raise errors.invalid("loop", "numbers", "strings")
    dims = tuple(0 if d is None else d for d in spec.shape)
    zeros = EagerTensor(np.zeros(dims, spec.dtype.numpy))
    if None not in spec.shape:
        return zeros
    target = EagerTensor(np.asarray(dims, np.int32))
    return movement.broadcast_to(
        EagerTensor(np.zeros((), spec.dtype.numpy)), target, shape=tuple(spec.shape)
    )


def _invariants(opts: dict[str, Any], loop_vars: Sequence[Any]) -> Any:
    given = opts.get("shape_invariants")
    if not given:
        return None
    return [
        next((shape for tensor, shape in given if tensor is variable), None)
        for variable in loop_vars
    ]


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
        and_, assert_stmt, eq, float_, for_stmt, if_exp, if_stmt, int_, len_, not_, not_eq, or_,
        print_, range_, while_stmt,
    )
}  # fmt: skip

"""What converted code calls for loops: Python on values, graph loops on tensors and data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import errors, nest
from distflow.base.specs import TensorSpec
from distflow.core import context
from distflow.core.tensor import EagerTensor, Tensor
from distflow.function import control_flow
from distflow.function.autograph import elements
from distflow.function.autograph.runtime import (
    as_tensor,
    if_stmt,
    is_symbol,
    is_undefined,
    same,
    shown,
    zeros_like,
)
from distflow.function.tensor_array import TensorArray, arrays_in, learn
from distflow.graph.build import Trace
from distflow.ops import math
from distflow.ops.prims import indexing, movement


def while_stmt(
    test: Callable[[], Any], body: Callable[[], None], get_state: Callable[[], Any],
    set_state: Callable[[Any], None], symbol_names: Sequence[str], opts: dict[str, Any],
) -> None:  # fmt: skip
    """`while test(): body()`; turns into a graph loop as soon as the test is a symbol."""

    def step(own: list[Any]) -> list[Any]:
        body()
        return own

    while True:
        more = test()
        if is_symbol(more):
            _graph_loop(lambda own: test(), step, [], get_state, set_state, symbol_names, opts)
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
    if not context.executing_eagerly():
        if isinstance(iter_, Tensor):
            _for_rows(iter_, extra_test, body, get_state, set_state, symbol_names, opts)
            return
        if elements.is_dataset(iter_):
            _for_elements(iter_, extra_test, body, get_state, set_state, symbol_names, opts)
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

    def step(own: list[Any]) -> list[Any]:
        body(indexing.gather(rows, own[0], axis=0))
        return [own[0] + 1]

    start = EagerTensor(np.zeros((), np.int32))
    test = _and_extra(lambda own: math.less(own[0], count), extra_test)
    _graph_loop(test, step, [start], get_state, set_state, symbol_names, opts)


def _for_elements(
    dataset: Any, extra_test: Any, body: Callable[[Any], None], get_state: Any, set_state: Any,
    symbol_names: Sequence[str], opts: dict[str, Any],
) -> None:  # fmt: skip
    source = elements.Elements(dataset)
    handle = source.start()

    def step(own: list[Any]) -> list[Any]:
        body(source.take(handle))
        return own

    test = _and_extra(lambda own: source.more(handle), extra_test)
    _graph_loop(test, step, [], get_state, set_state, symbol_names, opts)
    source.stop(handle)


def _and_extra(test: Callable[[list[Any]], Any], extra_test: Any) -> Callable[[list[Any]], Any]:
    """The loop's own test and the one that a break in the body adds."""
    if extra_test is None:
        return test

    def both(own: list[Any]) -> Any:
        more = extra_test()
        return math.logical_and(test(own), more) if is_symbol(more) or not more else test(own)

    return both


class _MoreChange(Exception):
    """The body changes symbols that were taken for constant."""

    def __init__(self, positions: list[int]):
        super().__init__(positions)
        self.positions = positions


def _graph_loop(
    test: Callable[[list[Any]], Any], body: Callable[[list[Any]], list[Any]], own: list[Any],
    get_state: Callable[[], Any], set_state: Callable[[Any], None], names: Sequence[str],
    opts: dict[str, Any],
) -> None:  # fmt: skip
    """Writes a while_loop over the symbols that the body changes.

    `own` holds the first values of variables of the loop's own, which `test` sees and `body`
    returns anew.
    """
    before = tuple(get_state())
    # The body is traced once for nothing, to see what it changes and what types it makes.
    scratch = Trace("loop")
    with context.without_observers(), context.use_interpreter(scratch):
        try:
            body([scratch.input(TensorSpec(t.shape, t.dtype)) for t in own])
            after = tuple(get_state())
        finally:
            set_state(before)
    changed = {i for i, (x, y) in enumerate(zip(before, after)) if not same(x, y)}
    learn(
        arrays_in([before[i] for i in sorted(changed) if isinstance(before[i], TensorArray)]),
        arrays_in([after[i] for i in sorted(changed) if isinstance(before[i], TensorArray)]),
    )
    if not own and not changed:  # the loop changes Variables only: let it count its steps
        _graph_loop(
            lambda own: test([]), lambda own: [*body([]), own[0] + 1],
            [EagerTensor(np.zeros((), np.int32))], get_state, set_state, names, opts,
        )  # fmt: skip
        return
    while True:
        try:
            _write_loop(
                test, body, own, before, after, sorted(changed), get_state, set_state, names, opts
            )
            return
        except _MoreChange as more:
            changed.update(more.positions)


def _write_loop(
    test: Callable[[list[Any]], Any], body: Callable[[list[Any]], list[Any]], own: list[Any],
    before: tuple[Any, ...], after: tuple[Any, ...], changed: list[int],
    get_state: Callable[[], Any], set_state: Callable[[Any], None], names: Sequence[str],
    opts: dict[str, Any],
) -> None:  # fmt: skip
    entry = [_entry_value(before[i], after[i], names[i]) for i in changed]
    count = len(own)

    def full_state(values: Sequence[Any]) -> tuple[Any, ...]:
        full = list(before)
        for i, value in zip(changed, values):
            full[i] = value
        return tuple(full)

    def loop_test(*variables: Any) -> Any:
        set_state(full_state(variables[count:]))
        try:
            return test(list(variables[:count]))
        finally:
            set_state(before)

    def loop_body(*variables: Any) -> Any:
        set_state(full_state(variables[count:]))
        try:
            made = body(list(variables[:count]))
            state = get_state()
        finally:
            set_state(before)
        fresh = [
            i for i in range(len(before)) if i not in changed and not same(state[i], before[i])
        ]
        if fresh:
            raise _MoreChange(fresh)
        return [*made, *[state[i] for i in changed]]

    loop_vars = [*own, *entry]
    results = control_flow.traced_while(
        loop_test, loop_body, loop_vars, _invariants(opts, loop_vars),
        opts.get("maximum_iterations"),
        [*[f"variable {i} of the loop" for i in range(count)], *[names[i] for i in changed]],
    )  # fmt: skip
    set_state(full_state(results[count:]))


def _entry_value(before: Any, after: Any, name: str) -> Any:
    """What a loop variable is at first: zeros where only the body defines it."""
    if not is_undefined(before):
        if before is None:
            raise ValueError(f"{shown(name)} is None before the loop, but not after an iteration.")
        if not isinstance(before, TensorArray):
            nest.map_structure(lambda v: as_tensor(v, name), before)
        return before
    if is_undefined(after):
        raise ValueError(f"{shown(name)} must be defined before the loop.")
    try:
        return nest.map_structure(zeros_like, after)
    except (errors.InvalidArgumentError, TypeError) as error:
        raise ValueError(f"{shown(name)} must be defined before the loop.") from error


def _invariants(opts: dict[str, Any], loop_vars: Sequence[Any]) -> Any:
    given = opts.get("shape_invariants")
    if not given:
        return None
    return [
        next((shape for tensor, shape in given if tensor is variable), None)
        for variable in loop_vars
    ]


OPERATORS: dict[str, Callable[..., Any]] = {"for_stmt": for_stmt, "while_stmt": while_stmt}

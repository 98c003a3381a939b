"""while_loop and scan: primitives that run a Graph again and again, closed under differentiation.

Under a tape both also return, stacked over the steps, what their gradient needs: the values that
the body saves, and the carried values among them. The gradient of either is a scan over these
records in reverse order, which carries the gradients of the loop's state and adds up those of
what the body closes over, from the last step to the first (`graph/step_sums.py` says which sums
are made outside). What is the same in each step is done before the loop (`graph/invariants.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.autodiff.backward import zeros_like
from distflow.base import dtypes, errors, shapes
from distflow.core import context
from distflow.core.primitive import Primitive
from distflow.graph import evaluate
from distflow.graph.build import set_replay
from distflow.graph.control import check_operands
from distflow.graph.invariants import lift_invariants
from distflow.graph.ir import Graph, has_side_effect
from distflow.graph.split import Split, split_of_body
from distflow.graph.step_back import step_back

# -- while_loop ----------------------------------------------------------------------------


def while_graphs(
    variables: Sequence[Any], captured: Sequence[Any], cond_graph: Graph, body_graph: Graph
) -> list[Any]:
    """Runs `variables = body(variables, captured)` as long as `cond` gives true.

    Both graphs take the loop variables, then the captured tensors and Variables.
    """
    count = len(variables)
    history = None
    if context.state.observers:
        made, cond_graph, body_graph = _lifted_while(captured, cond_graph, body_graph, count)
        captured = [*captured, *made]
        history = split_of_body(body_graph, count)
    outputs = while_loop(
        *variables, *captured, cond_graph=cond_graph,
        body_graph=history.forward if history else body_graph, num_vars=count, history=history,
    )  # fmt: skip
    return list(outputs[:count])


def _lifted_while(
    captured: Sequence[Any], cond_graph: Graph, body_graph: Graph, count: int
) -> tuple[list[Any], Graph, Graph]:
    """Returns what is done before the loop, and graphs that take it behind `captured`."""
    lifted = lift_invariants(body_graph, count)
    made = lifted.body.inputs[count + len(lifted.rest) :]
    if not made or any(has_side_effect(node) for node in cond_graph.nodes):
        return [], cond_graph, body_graph
    key = ("while", id(cond_graph))
    if key not in body_graph.derived:
        cond = cond_graph.with_nodes(cond_graph.nodes)
        cond.inputs = [*cond.inputs, *(v.like() for v in made)]
        body = lifted.body.with_nodes(lifted.body.nodes)
        body.inputs = [*body_graph.inputs, *made]
        # The cond graph is kept with the result, so its id stays its own.
        body_graph.derived[key] = (cond, body, cond_graph)
    cond, body, _ = body_graph.derived[key]
    return lifted.captured(captured)[len(lifted.rest) :], cond, body


def _while_dtype(
    *inputs: Any, cond_graph: Graph, body_graph: Graph, num_vars: int, history: Any
) -> Any:
    check_operands("while_loop", cond_graph, inputs, "dtype")
    check_operands("while_loop", body_graph, inputs, "dtype")
    found = [v.dtype for v in body_graph.outputs]
    assert found[:num_vars] == [v.dtype for v in body_graph.inputs[:num_vars]], "carried dtypes"
    return (*found, *([dtypes.int32] if history is not None else []))


def _while_shape(
    *inputs: Any, cond_graph: Graph, body_graph: Graph, num_vars: int, history: Any
) -> Any:
    check_operands("while_loop", cond_graph, inputs, "shape")
    check_operands("while_loop", body_graph, inputs, "shape")
    carried = [v.shape for v in body_graph.inputs[:num_vars]]
    if history is None:
        return carried
    return [*carried, *[(None, *v.shape) for v in body_graph.outputs[num_vars:]], (None,)]


def _while_ref(
    *arrays: Any, cond_graph: Graph, body_graph: Graph, num_vars: int, history: Any
) -> Any:
    variables, captured = list(arrays[:num_vars]), arrays[num_vars:]
    kept: list[list[Any]] = []
    while evaluate.run(cond_graph, [*variables, *captured])[0]:
        outputs = evaluate.run(body_graph, [*variables, *captured])
        variables = list(outputs[:num_vars])
        if history is not None:
            kept.append(list(outputs[num_vars:]))
    if history is None:
        return tuple(variables)
    stacked = _stack_rows(kept, body_graph.outputs[num_vars:], history.may_be_blank)
    return (*variables, *stacked, np.arange(len(kept), dtype=np.int32))


def _stack_rows(
    rows: list[list[Any]], types: Sequence[Any], may_be_blank: Sequence[bool]
) -> list[Any]:
    if not rows:
        return [np.zeros((0, *(d or 0 for d in v.shape)), v.dtype.numpy) for v in types]
    return [
        _stack([row[position] for row in rows], blank)
        for position, blank in enumerate(may_be_blank)
    ]


def _stack(column: list[Any], may_be_blank: bool) -> Any:
    if may_be_blank:
        shape = next((array.shape for array in column if array.size), column[0].shape)
        column = [array if array.size else np.zeros(shape, array.dtype) for array in column]
    for array in column:
        if array.shape != column[0].shape:
            raise errors.UnimplementedError(
                "loop: rows that are stacked, as the gradient needs them too, must have one "
                f"shape; received {shapes.text(column[0].shape)} and {shapes.text(array.shape)}."
            )
    return np.stack(column)


def _while_gradient(
    g: Any, out: Any, *inputs: Any, wanted: Sequence[bool], cond_graph: Graph, body_graph: Graph,
    num_vars: int, history: Split | None,
) -> Any:  # fmt: skip
    assert history is not None, "while_loop was bound under a tape by other means"
    return _loop_gradient(
        history, g[:-1], (*out[:-1],), inputs, wanted, num_vars, 0, out[-1], reverse=False
    )


# Carried shapes are those of the body's inputs: unknown dimensions may change from step to step.
while_loop = Primitive(
    "while_loop", _while_dtype, _while_shape, _while_ref, _while_gradient,
    family="control", keeps_variables=True,
)  # fmt: skip

# -- scan ----------------------------------------------------------------------------------


def scan_graph(
    carried: Sequence[Any], sequences: Sequence[Any], captured: Sequence[Any], body_graph: Graph,
    reverse: bool = False,
) -> list[Any]:  # fmt: skip
    """Runs `carried, rows = body(carried, rows of sequences, captured)` over leading dimensions.

    Returns the carried values, then the rows stacked in the order of the sequences.

    Args:
      sequences: at least one tensor; all have the same first dimension.
      captured: tensors and Variables, the same in each step.
      reverse: from the last row to the first.
    """
    count = len(carried)
    lifted = lift_invariants(body_graph, count + len(sequences))
    captured, body = lifted.captured(captured), lifted.body
    history = split_of_body(body, count) if context.state.observers else None
    outputs = scan(
        *carried, *sequences, *captured, body_graph=history.forward if history else body,
        num_carried=count, num_sequences=len(sequences), reverse=reverse, history=history,
    )  # fmt: skip
    return list(outputs[: len(body_graph.outputs)])


def _scan_dtype(
    *inputs: Any, body_graph: Graph, num_carried: int, num_sequences: int, reverse: bool,
    history: Any,
) -> Any:  # fmt: skip
    check_operands("scan", body_graph, inputs, "dtype")
    found = tuple(v.dtype for v in body_graph.outputs)
    assert found[:num_carried] == tuple(v.dtype for v in body_graph.inputs[:num_carried])
    return found


def _scan_shape(
    *inputs: Any, body_graph: Graph, num_carried: int, num_sequences: int, reverse: bool,
    history: Any,
) -> Any:  # fmt: skip
    sequences = inputs[num_carried : num_carried + num_sequences]
    rows = [shape[1:] for shape in sequences]
    check_operands(
        "scan", body_graph,
        [*inputs[:num_carried], *rows, *inputs[num_carried + num_sequences :]], "shape",
    )  # fmt: skip
    length = shapes.TensorShape([None])
    for shape in sequences:
        length = length.merge_with(shape[:1])
    return [
        *[v.shape for v in body_graph.inputs[:num_carried]],
        *[(length[0], *v.shape) for v in body_graph.outputs[num_carried:]],
    ]


def _scan_ref(
    *arrays: Any, body_graph: Graph, num_carried: int, num_sequences: int, reverse: bool,
    history: Any,
) -> Any:  # fmt: skip
    carried = list(arrays[:num_carried])
    sequences = arrays[num_carried : num_carried + num_sequences]
    captured = arrays[num_carried + num_sequences :]
    if len({len(s) for s in sequences}) != 1:
        raise errors.invalid(
            "scan", "all sequences must have the same first dimension",
            " and ".join(shapes.text(s.shape) for s in sequences),
        )  # fmt: skip
    rows: list[list[Any]] = []
    order = range(len(sequences[0]))
    for i in reversed(order) if reverse else order:
        outputs = evaluate.run(body_graph, [*carried, *[s[i] for s in sequences], *captured])
        carried = list(outputs[:num_carried])
        rows.append(list(outputs[num_carried:]))
    if reverse:
        rows.reverse()
    types = body_graph.outputs[num_carried:]
    blank = () if history is None else history.may_be_blank
    may_be_blank = (*(False for _ in types[len(blank) :]), *blank)
    return (*carried, *_stack_rows(rows, types, may_be_blank))


def _scan_gradient(
    g: Any, out: Any, *inputs: Any, wanted: Sequence[bool], body_graph: Graph, num_carried: int,
    num_sequences: int, reverse: bool, history: Split | None,
) -> Any:  # fmt: skip
    assert history is not None, "scan was bound under a tape by other means than scan_graph"
    return _loop_gradient(
        history, g, out, inputs, wanted, num_carried, num_sequences,
        inputs[num_carried], reverse,
    )  # fmt: skip


scan = Primitive(
    "scan", _scan_dtype, _scan_shape, _scan_ref, _scan_gradient,
    family="control", keeps_variables=True,
)  # fmt: skip

# -- the gradient of both ------------------------------------------------------------------


def _loop_gradient(
    history: Split, g: Sequence[Any], out: Sequence[Any], inputs: Sequence[Any],
    wanted: Sequence[bool], num_carried: int, num_sequences: int, steps: Any, reverse: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """Returns the gradients of a recorded loop's inputs.

    Args:
      history: split of the body; its forward half is what the loop ran.
      g, out: gradients (or None) and values of the final state, then of the stacked rows.
      inputs: of the loop: initial state, sequences, captured.
      wanted: which of the inputs need a gradient.
      steps: a tensor with one row a step, so that the scan has a length in any case.
      reverse: the order in which the loop itself went.
    """
    forward = history.forward
    arriving = tuple(
        v.is_differentiable if i < num_carried else g[i] is not None
        for i, v in enumerate(forward.outputs)
    )
    carried = [i for i in range(num_carried) if arriving[i]]
    closed_over = range(num_carried, len(inputs))
    rest = [i for i in closed_over if wanted[i] and forward.inputs[i].is_differentiable]
    sequences = [i for i in rest if i < num_carried + num_sequences]
    captured = [i for i in rest if i >= num_carried + num_sequences]
    key = ("gradient", arriving, tuple(rest), num_sequences)
    if key not in forward.derived:
        forward.derived[key] = step_back(
            history, arriving, num_carried, num_sequences, carried, sequences, captured
        )
    step = forward.derived[key]
    state = [zeros_like(out[i]) if g[i] is None else g[i] for i in carried]
    state += [zeros_like(inputs[captured[i]]) for i in step.summed]
    rows = [g[i] for i in range(num_carried, len(g)) if arriving[i]]
    rows += inputs[num_carried : num_carried + num_sequences]
    rows += [*out[history.num_outputs :], steps]
    closed = inputs[num_carried + num_sequences :]
    found = scan_graph(
        state, [rows[i] for i in step.rows], [closed[i] for i in step.closed], step.body,
        reverse=not reverse,
    )  # fmt: skip
    result: list[Any] = [None] * len(inputs)
    summed = [captured[i] for i in step.summed]
    for position, gradient in zip([*carried, *summed, *sequences], found):
        result[position] = gradient
    stack = dict(zip(step.stacked, [*rows, *found[len(carried) + len(summed) :]]))
    for i, total in step.totals.items():
        result[captured[i]] = total.formula(stack)
    return tuple(result)


def _replay_while(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    if attributes["history"] is not None:
        return while_loop(*inputs, **attributes)
    n = attributes["num_vars"]
    return tuple(
        while_graphs(inputs[:n], inputs[n:], attributes["cond_graph"], attributes["body_graph"])
    )


def _replay_scan(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    if attributes["history"] is not None:
        return scan(*inputs, **attributes)
    n = attributes["num_carried"]
    m = n + attributes["num_sequences"]
    return tuple(
        scan_graph(
            inputs[:n], inputs[n:m], inputs[m:], attributes["body_graph"], attributes["reverse"]
        )
    )


set_replay("while_loop", _replay_while)
set_replay("scan", _replay_scan)

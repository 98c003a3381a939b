"""One step of a loop's gradient: the body of the scan that goes over a loop's records backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distflow.autodiff.backward import zeros_like
from distflow.base import dtypes
from distflow.base.specs import TensorSpec
from distflow.graph.build import inline, trace_body
from distflow.graph.ir import Graph, Node, Value, live_nodes
from distflow.graph.split import Split
from distflow.graph.step_sums import Total, Totals
from distflow.ops.prims.elementwise import add


@dataclass(frozen=True)
class StepBack:
    """The body of a loop's gradient, and what goes in and comes out.

    Attributes:
      body: (state gradients, sums, rows, closed over) -> (state gradients, sums, row gradients,
        rows for the totals).
      summed: positions among the captured inputs asked for, whose sums are carried.
      totals: for the others, by position, how they are found from stacks.
      rows, closed: positions of what is needed among all rows (those of g, the sequences, the
        saved values, the step) and all captured inputs.
      stacked: the values that stand for all rows in the body, then those that it returns a row of.
    """

    body: Graph
    summed: tuple[int, ...]
    totals: dict[int, Total]
    rows: tuple[int, ...]
    closed: tuple[int, ...]
    stacked: tuple[Value, ...]


def step_back(
    history: Split, arriving: Sequence[bool], num_carried: int, num_sequences: int,
    carried: Sequence[int], sequences: Sequence[int], captured: Sequence[int],
) -> StepBack:  # fmt: skip
    """Returns the step for given gradients.

    Args:
      history: split of the loop's body, whose inputs the three positions are of.
      arriving: for each output of the body's forward half, whether a gradient comes.
      carried, sequences, captured: positions of the inputs that gradients are for.
    """
    traced, num_rows = _traced(
        history, arriving, num_carried, num_sequences, carried, sequences, captured
    )
    n, m = len(carried), len(captured)
    sums = traced.inputs[n : n + m]
    rows = traced.inputs[n + m : n + m + num_rows]
    closed = traced.inputs[n + m + num_rows :]
    state, terms = traced.outputs[:n], traced.outputs[n : n + m]
    of_rows = traced.outputs[n + m :]
    totals = Totals(traced, closed, {*rows, *of_rows})
    outside = {i: total for i in range(m) if (total := totals.of(terms[i])) is not None}
    summed = tuple(i for i in range(m) if i not in outside)
    added = [Value(terms[i].dtype, sums[i].shape) for i in summed]
    needed = dict.fromkeys(v for total in outside.values() for v in total.rows)
    extra = [v for v in needed if v not in rows and v not in of_rows]
    nodes = [Node(add, (sums[i], terms[i]), (v,), {}) for i, v in zip(summed, added)]
    outputs = [*state, *added, *of_rows, *extra]
    body = Graph(traced.name, traced.inputs, [*traced.nodes, *nodes], outputs)
    body.nodes = live_nodes(body)
    used = {v for node in body.nodes for v in node.inputs}.union(outputs)
    # One sequence at least, which says how many steps there are.
    used_rows = [i for i, v in enumerate(rows) if v in used] or [num_rows - 1]
    used_closed = [i for i, v in enumerate(closed) if v in used]
    body.inputs = [
        *traced.inputs[:n], *(sums[i] for i in summed), *(rows[i] for i in used_rows),
        *(closed[i] for i in used_closed),
    ]  # fmt: skip
    stacked = (*rows, *of_rows, *extra)
    return StepBack(body, summed, outside, tuple(used_rows), tuple(used_closed), stacked)


def _traced(
    history: Split, arriving: Sequence[bool], num_carried: int, num_sequences: int,
    carried: Sequence[int], sequences: Sequence[int], captured: Sequence[int],
) -> tuple[Graph, int]:  # fmt: skip
    """(state gradients, sums, all rows, closed) -> (state gradients, terms, row gradients)."""
    forward = history.forward
    half = history.backward(arriving, [*carried, *sequences, *captured])
    inputs = forward.inputs
    end = num_carried + num_sequences

    def spec(value: Any) -> TensorSpec:
        return TensorSpec(value.shape, value.dtype)

    def body(
        state: list[Any], sums: list[Any], g: list[Any], rows: list[Any], saved: list[Any],
        step: Any, closed: list[Any],
    ) -> Any:  # fmt: skip
        found = dict(zip(half.positions, inline(half.graph, [*state, *g, *rows, *closed, *saved])))
        new_state = [found[i] if i in found else zeros_like(s) for i, s in zip(carried, state)]
        terms = [found[i] if i in found else zeros_like(s) for i, s in zip(captured, sums)]
        of_rows = [found[i] if i in found else zeros_like(rows[i - num_carried]) for i in sequences]
        return [new_state, terms, of_rows]

    g = [spec(v) for i, v in enumerate(forward.outputs) if i >= num_carried and arriving[i]]
    args = [
        [spec(inputs[i]) for i in carried],
        [spec(inputs[i]) for i in captured],
        g,
        [spec(v) for v in inputs[num_carried:end]],
        [spec(v) for v in history.saved],
        _step_spec(forward, num_carried, num_sequences),
        list(inputs[end:]),
    ]
    graph = trace_body(f"{forward.name}_backward", body, args, closed=True)[0].graph
    return graph, len(g) + num_sequences + len(history.saved) + 1


def _step_spec(forward: Graph, num_carried: int, num_sequences: int) -> TensorSpec:
    """The row type of `steps`: the first sequence's, or an index for a while_loop."""
    if num_sequences:
        first = forward.inputs[num_carried]
        return TensorSpec(first.shape, first.dtype)
    return TensorSpec((), dtypes.int32)

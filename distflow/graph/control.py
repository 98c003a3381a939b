"""call and cond: primitives that hold Graphs, closed under differentiation.

Under a tape each is bound in a form that also returns the values that its gradient needs
(`Split`). The gradient of a call is a call, that of a cond a cond. Rooms above use `call_graph`
and `cond_graphs`, which choose the form, not the primitives. Loops: `graph/loops.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.autodiff.backward import zeros_like
from distflow.base import dtypes, errors, shapes
from distflow.base.specs import TensorSpec
from distflow.core import context
from distflow.core.primitive import Primitive
from distflow.core.tensor import EagerTensor
from distflow.graph import evaluate
from distflow.graph.build import inline, set_replay, trace_body
from distflow.graph.ir import Graph, Node, Value, without_unused
from distflow.graph.split import Split, split_of
from distflow.ops.prims.creation import constant

# -- call ----------------------------------------------------------------------------------


def call_graph(graph: Graph, inputs: Sequence[Any]) -> list[Any]:
    """Runs a graph on tensors (and Variables for its resources); returns its outputs.

    In a trace its nodes are written into the caller's graph.
    """
    if not context.executing_eagerly() or any(_is_symbolic(x) for x in inputs):
        return inline(graph, inputs)
    if not context.state.observers:
        arrays = _arrays(graph, inputs)
        if arrays is not None:
            return [EagerTensor(np.asarray(x)) for x in evaluate.run(graph, arrays)]
        return list(call(*inputs, graph=graph, split=None))
    split = split_of(graph)
    return list(call(*inputs, graph=split.forward, split=split)[: split.num_outputs])


def _arrays(graph: Graph, inputs: Sequence[Any]) -> list[Any] | None:
    """Returns what a graph runs on, where it is plain that it fits; None: `call` is to see."""
    if len(inputs) != len(graph.inputs):
        return None
    known = graph.derived.setdefault("fits", set())
    found = []
    for value, x in zip(graph.inputs, inputs):
        if type(x) is EagerTensor:
            array = x._array
            key = value, array.dtype, array.shape
            if key not in known:
                if x.dtype is not value.dtype or not value.shape.is_compatible_with(array.shape):
                    return None
                if len(known) < _MOST_FITS:
                    known.add(key)
            found.append(array)
        elif value.resource and x.dtype is value.dtype and tuple.__eq__(x.shape, value.shape):
            found.append(x)
        else:
            return None
    return found


# Types of operands that a graph remembers to fit.
_MOST_FITS = 1024


def _is_symbolic(x: Any) -> bool:
    return getattr(x, "interpreter", None) is not None


def check_operands(
    where: str, graph: Graph, received: Sequence[Any], kind: str, start: int = 0
) -> None:
    """Raises InvalidArgumentError unless operands' dtypes (or shapes) fit the graph's inputs."""
    expected = graph.inputs[start:]
    if len(received) != len(expected):
        raise errors.invalid(
            f"{where} {graph.name}", f"{len(expected)} inputs are needed", str(len(received))
        )
    for value, given in zip(expected, received):
        if kind == "dtype" and given is not value.dtype:
            raise errors.DtypeMismatchError(
                f"{where} {graph.name}: expected {value.name or 'input'} of {value.type_text()}; "
                f"received {given.name}."
            )
        if kind == "shape" and not value.shape.is_compatible_with(given):
            raise errors.invalid(
                f"{where} {graph.name}", f"expected {value.name or 'input'} of {value.type_text()}",
                shapes.text(given),
            )  # fmt: skip


def _call_dtype(*inputs: Any, graph: Graph, split: Any) -> Any:
    check_operands("call", graph, inputs, "dtype")
    return tuple(v.dtype for v in graph.outputs)


def _call_shape(*inputs: Any, graph: Graph, split: Any) -> Any:
    check_operands("call", graph, inputs, "shape")
    return [v.shape for v in graph.outputs]


def _call_gradient(
    g: Any, out: Any, *inputs: Any, wanted: Sequence[bool], graph: Graph, split: Split | None
) -> Any:
    assert split is not None, "call was bound under a tape by other means than call_graph"
    arriving = [x is not None for x in g]
    half = split.backward(arriving, [i for i, w in enumerate(wanted) if w])
    operands = [x for x in g if x is not None] + list(inputs) + list(out[split.num_outputs :])
    result: list[Any] = [None] * len(inputs)
    for position, gradient in zip(half.positions, call_graph(half.graph, operands)):
        result[position] = gradient
    return tuple(result)


# graph: what runs; split: the Split whose forward half `graph` is, under a tape.
call = Primitive(
    "call", _call_dtype, _call_shape,
    lambda *arrays, graph, split: tuple(evaluate.run(graph, arrays)),
    _call_gradient, family="control", keeps_variables=True,
)  # fmt: skip

# -- cond ----------------------------------------------------------------------------------


def cond_graphs(
    predicate: Any, inputs: Sequence[Any], true_graph: Graph, false_graph: Graph
) -> list[Any]:
    """Runs one of two graphs that take the same inputs, as the bool scalar `predicate` says."""
    if not context.state.observers:
        return list(
            cond(predicate, *inputs, true_graph=true_graph, false_graph=false_graph, splits=None)
        )
    splits = split_of(true_graph), split_of(false_graph)
    outputs = cond(
        predicate, *inputs, true_graph=_with_saved(splits, 0), false_graph=_with_saved(splits, 1),
        splits=splits,
    )  # fmt: skip
    return list(outputs[: len(true_graph.outputs)])


def _with_saved(splits: tuple[Split, Split], which: int) -> Graph:
    """The forward half of one branch, returning its own saved values and blanks for the other's."""
    split, other = splits[which], splits[1 - which]
    key = ("cond", id(other))
    if key not in split.forward.derived:
        blanks = [_blank(v) for v in other.saved]
        values = [Value(v.dtype, b.shape) for v, b in zip(other.saved, blanks)]
        nodes = [Node(constant, (), (v,), {"value": b}) for v, b in zip(values, blanks)]
        real, own = split.forward.outputs[: split.num_outputs], split.saved
        outputs = [*real, *own, *values] if which == 0 else [*real, *values, *own]
        # The other split is kept with the graph, so its id stays its own.
        split.forward.derived[key] = (
            split.forward.with_nodes([*nodes, *split.forward.nodes], outputs), other
        )  # fmt: skip
    return split.forward.derived[key][0]


def _blank(value: Value) -> Any:
    """What stands for a value that the other branch saves: of its shape, if that is known."""
    known = shapes.is_static(value.shape)
    dims = tuple(value.shape) if known else (0,) * len(value.shape)
    if value.dtype is dtypes.string:
        return np.full(dims, b"", object)
    return np.zeros(dims, value.dtype.numpy)


def _cond_dtype(
    predicate: Any, *inputs: Any, true_graph: Graph, false_graph: Graph, splits: Any
) -> Any:
    if predicate is not dtypes.bool_:
        raise errors.DtypeMismatchError(
            f"cond: expected a predicate of dtype bool; received {predicate.name}."
        )
    check_operands("cond", true_graph, inputs, "dtype")
    check_operands("cond", false_graph, inputs, "dtype")
    found = tuple(v.dtype for v in true_graph.outputs)
    if found != tuple(v.dtype for v in false_graph.outputs):
        raise errors.DtypeMismatchError(
            "cond: expected both branches to return the same dtypes; received "
            f"{[v.type_text() for v in true_graph.outputs]} and "
            f"{[v.type_text() for v in false_graph.outputs]}."
        )
    return found


def _cond_shape(
    predicate: Any, *inputs: Any, true_graph: Graph, false_graph: Graph, splits: Any
) -> Any:
    if tuple(predicate) != ():
        raise errors.invalid("cond", "the predicate must be a scalar", shapes.text(predicate))
    check_operands("cond", true_graph, inputs, "shape")
    check_operands("cond", false_graph, inputs, "shape")
    return [_common(a.shape, b.shape) for a, b in zip(true_graph.outputs, false_graph.outputs)]


def _common(a: Any, b: Any) -> Any:
    if len(a) != len(b):
        raise errors.invalid(
            "cond", "both branches must return tensors of the same rank",
            f"{shapes.text(a)} and {shapes.text(b)}",
        )  # fmt: skip
    return tuple(x if x == y else None for x, y in zip(a, b))


def _cond_ref(
    predicate: Any, *arrays: Any, true_graph: Graph, false_graph: Graph, splits: Any
) -> Any:
    return tuple(evaluate.run(true_graph if predicate else false_graph, arrays))


def _cond_gradient(
    g: Any, out: Any, predicate: Any, *inputs: Any, wanted: Sequence[bool],
    true_graph: Graph, false_graph: Graph, splits: tuple[Split, Split] | None,
) -> Any:  # fmt: skip
    assert splits is not None, "cond was bound under a tape by other means than cond_graphs"
    positions = tuple(
        i for i, w in enumerate(wanted[1:]) if w and true_graph.inputs[i].is_differentiable
    )
    arriving = tuple(x is not None for x in g)
    dynamic = tuple(i for i in positions if not shapes.is_static(inputs[i].shape))
    key = ("gradient", arriving, positions, dynamic)
    if key not in true_graph.derived:
        true_graph.derived[key] = without_unused(
            [_branch_backward(splits, which, arriving, positions, dynamic) for which in (0, 1)]
        )
    (true_backward, false_backward), kept = true_graph.derived[key]
    operands = [x for x in g if x is not None] + list(inputs)
    operands += list(out[splits[0].num_outputs :])
    # Zeros are made out here, so that the branches need not see inputs for their shapes only.
    operands += [zeros_like(inputs[i]) for i in dynamic]
    operands = [operands[i] for i in kept]
    result: list[Any] = [None] * (1 + len(inputs))
    gradients = cond_graphs(predicate, operands, true_backward, false_backward)
    for position, gradient in zip(positions, gradients):
        result[1 + position] = gradient
    return tuple(result)


def _branch_backward(
    splits: tuple[Split, Split], which: int, arriving: Sequence[bool], positions: Sequence[int],
    dynamic: Sequence[int],
) -> Graph:  # fmt: skip
    """Gradients of the inputs at `positions` through one branch, zeros where it has none.

    Inputs of the graph: arriving gradients, the cond's inputs, values saved by both branches,
    zeros for the inputs `dynamic`, of unknown shape.
    """
    split = splits[which]
    n, counts = split.num_outputs, [len(s.saved) for s in splits]
    start = n + (0 if which == 0 else counts[0])
    own = [*range(n), *range(start, start + counts[which])]
    half = split.backward([arriving[i] for i in own], positions)
    types = [*split.forward.outputs[:n], *splits[0].saved, *splits[1].saved]
    # A gradient of an output has the shape of whichever branch ran.
    g_types = [
        TensorSpec(_gradient_shape(splits, i), types[i].dtype)
        for i, comes in enumerate(arriving) if comes
    ]  # fmt: skip

    def body(
        g: list[Any], inputs: list[Any], saved: list[list[Any]], zeros: list[Any]
    ) -> list[Any]:
        blanks = dict(zip(dynamic, zeros))
        by_output = dict(zip([i for i, comes in enumerate(arriving) if comes], g))
        operands = [by_output[i] for i in own if i in by_output]
        found = inline(half.graph, [*operands, *inputs, *saved[which]])
        by_position = dict(zip(half.positions, found))
        return [
            by_position[i] if i in by_position
            else blanks[i] if i in blanks
            else zeros_like(inputs[i])
            for i in positions
        ]  # fmt: skip

    inputs = list(split.forward.inputs)
    zeros = [TensorSpec(inputs[i].shape, inputs[i].dtype) for i in dynamic]
    args = [g_types, inputs, [list(s.saved) for s in splits], zeros]
    # Shapes of saved values of the branch that did not run are blank.
    args[2] = [
        [TensorSpec([None] * len(v.shape), v.dtype) if i != which else v for v in s.saved]
        for i, s in enumerate(splits)
    ]
    return trace_body(f"{split.forward.name}_backward", body, args, closed=True)[0].graph


def _gradient_shape(splits: tuple[Split, Split], output: int) -> Any:
    a, b = splits
    if output < a.num_outputs:
        return _common(a.forward.outputs[output].shape, b.forward.outputs[output].shape)
    saved = [*a.saved, *b.saved][output - a.num_outputs]
    return [None] * len(saved.shape)


cond = Primitive(
    "cond", _cond_dtype, _cond_shape, _cond_ref, _cond_gradient,
    family="control", keeps_variables=True,
)  # fmt: skip


def _replay_call(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    if attributes["split"] is not None:
        return call(*inputs, **attributes)
    return tuple(call_graph(attributes["graph"], inputs))


def _replay_cond(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    if attributes["splits"] is not None:
        return cond(*inputs, **attributes)
    return tuple(
        cond_graphs(inputs[0], inputs[1:], attributes["true_graph"], attributes["false_graph"])
    )


set_replay("call", _replay_call)
set_replay("cond", _replay_cond)

"""Bodies put in place, branches and loops of known course, and results that nobody reads."""

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.autodiff.custom_gradient import custom_gradient
from distflow.base import dtypes, flags, log
from distflow.base.specs import TensorSpec
from distflow.compiler import optimize
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.core.convert import constant
from distflow.core.primitive import REGISTRY
from distflow.core.variable import Variable
from distflow.graph import trace
from distflow.graph.control import call, cond_graphs
from distflow.graph.loops import while_graphs
from distflow.ops import math
from distflow.ops.prims import movement

F32 = dtypes.float32
X = TensorSpec([2], F32)
I = TensorSpec([], dtypes.int32)


def _names(graph):
    return [node.primitive.name for node in graph.nodes]


def _run(graph, *arrays):
    # Bodies of control flow, too, run by references: what is inlined and what is not are equal.
    with flags.override(DISTFLOW_EXECUTOR="numpy"):
        return [y.tolist() for y in NumpyExecutable(graph)(arrays)]


x = np.float32([1.0, 2.0])


def test_a_call_is_replaced_by_its_body_each_time():
    body, _ = trace(lambda x: math.exp(x) * 2.0, X)

    def f(x):
        (y,) = call(x, graph=body, split=None)
        return call(y, graph=body, split=None)

    graph, _ = trace(f, X)
    after = optimize(graph)
    assert sorted(_names(after)) == ["constant", "exp", "exp", "mul", "mul"]
    assert _run(after, x) == _run(graph, x)


def test_a_custom_gradient_is_replaced_by_its_function():
    @custom_gradient
    def f(x):
        return math.exp(x), lambda g: g

    graph, _ = trace(lambda x: f(x) + 1.0, X)
    assert "custom_call" in _names(graph)
    assert sorted(_names(optimize(graph))) == ["add", "constant", "exp"]


def test_shapes_that_a_call_tells_are_known_in_the_body():
    body, _ = trace(lambda x: movement.shape_of(x, dtype=dtypes.int32), TensorSpec([None], F32))
    graph, _ = trace(lambda x: call(x, graph=body, split=None), X)
    assert _names(optimize(graph)) == ["constant"]
    assert _run(optimize(graph), x) == [[2]]


@pytest.mark.parametrize("taken", [True, False])
def test_a_known_branch_is_put_in_place(taken):
    yes, _ = trace(lambda x: math.exp(x), X)
    no, _ = trace(lambda x: math.sin(x), X)
    graph, _ = trace(lambda x: cond_graphs(constant(1) == (1 if taken else 2), [x], yes, no), X)
    assert _names(optimize(graph)) == ["exp" if taken else "sin"]


def _loop(limit, x, start=0, nodes=1, extra=None):
    def body(i, x, unread):
        for _ in range(nodes):
            x = math.sin(x)
        return i + 1, x, unread * 2.0

    go_on, _ = trace(lambda i, x, unread: math.less(i, constant(limit)), I, X, X)
    step, _ = trace(body, I, X, X)
    i = constant(start) if extra is None else extra
    return while_graphs([i, x, x], [], go_on, step)[1]


def test_a_loop_that_does_not_start_is_its_initial_values():
    graph, _ = trace(lambda x: _loop(0, x), X)
    after = optimize(graph)
    assert after.nodes == []
    assert _run(after, x) == [[1.0, 2.0]]


def test_a_short_loop_is_unrolled():
    graph, _ = trace(lambda x: _loop(3, x), X)
    after = optimize(graph)
    assert _names(after) == ["sin"] * 3
    assert _run(after, x) == _run(graph, x)


@pytest.mark.parametrize(("limit", "nodes"), [(9, 1), (8, 40)], ids=["steps", "nodes"])
def test_a_long_loop_stays(limit, nodes):
    graph, _ = trace(lambda x: _loop(limit, x, nodes=nodes), X)
    assert "while_loop" in _names(optimize(graph))


def test_a_loop_of_unknown_course_stays_without_what_nobody_reads():
    graph, _ = trace(lambda x, i: _loop(3, x, extra=i), X, I)
    after = optimize(graph)
    (node,) = [n for n in after.nodes if n.primitive.name == "while_loop"]
    assert len(node.outputs) == 2
    assert _run(after, x, np.int32(1)) == _run(graph, x, np.int32(1))


def test_a_carried_value_that_decides_is_kept():
    go_on, _ = trace(lambda i, x: math.less(x[0], 5.0), I, X)
    step, _ = trace(lambda i, x: (i + 1, x + 1.0), I, X)
    graph, _ = trace(lambda x, i: while_graphs([i, x], [], go_on, step)[0], X, I)
    assert _run(optimize(graph), x, np.int32(0)) == [4]


def test_results_of_a_branch_that_nobody_reads_are_not_computed():
    yes, _ = trace(lambda x, y: (math.exp(x), math.sin(y)), X, X)
    no, _ = trace(lambda x, y: (x, y), X, X)

    def f(x, y):
        return cond_graphs(math.less(x[0], y[0]), [x, y], yes, no)[0]

    graph, _ = trace(f, X, X)
    after = optimize(graph)
    (node,) = [n for n in after.nodes if n.primitive.name == "cond"]
    assert len(node.outputs) == 1
    assert len(node.inputs) == 2
    assert _names(node.attributes["true_graph"]) == ["exp"]
    assert _run(after, x, x + 1) == _run(graph, x, x + 1)


def test_a_branch_with_an_effect_stays_when_nobody_reads_its_result():
    v = Variable([0.0, 0.0])

    def write(x, v):
        REGISTRY["assign_variable"](v, x, mode="assign")
        return x

    yes, no = trace(write, X, v)[0], trace(lambda x, v: x, X, v)[0]

    def f(x, v):
        cond_graphs(math.less(x[0], x[1]), [x, v], yes, no)
        return x

    graph, _ = trace(f, X, v)
    NumpyExecutable(optimize(graph))([x, v])
    assert v.numpy().tolist() == [1.0, 2.0]


# -- what is logged ------------------------------------------------------------------------


def test_only_named_passes_are_logged(caplog):
    logger = log.get_logger()
    logger.addHandler(caplog.handler)
    graph, _ = trace(lambda x: (math.exp(x) + math.exp(x)) * 1.0, X)
    try:
        with flags.override(DISTFLOW_PRINT_PASSES=("simplify",)):
            optimize(graph)
    finally:
        logger.removeHandler(caplog.handler)
    assert "after simplify: 4 -> 3 nodes\n-%4: float32[2] = mul(%2, %3)" in caplog.text
    assert "after share_equal" not in caplog.text
    assert "before passes" not in caplog.text


def test_an_unknown_pass_is_a_clear_error():
    graph, _ = trace(lambda x: math.exp(x), X)
    with flags.override(DISTFLOW_PRINT_PASSES=("simplfy",)):
        with pytest.raises(
            ValueError, match=r"names passes among .*'simplify'.*received \['simplfy'\]"
        ):
            optimize(graph)

"""Passes keep meaning and effects; the executor releases what is dead; errors are clear."""

import weakref

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.base import dtypes, errors, flags, log
from distflow.base.specs import TensorSpec
from distflow.compiler import compile_graph, optimize
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.compiler.passes.dead import remove_dead
from distflow.compiler.passes.dedup import share_equal
from distflow.core.convert import constant
from distflow.core.primitive import REGISTRY, Primitive
from distflow.core.variable import Variable
from distflow.function import function
from distflow.graph import trace
from distflow.ops import math

F32 = dtypes.float32
X = TensorSpec([2], F32)


def _names(graph):
    return [node.primitive.name for node in graph.nodes]


def test_dead_code_goes_and_effects_stay():
    v = Variable(1.0)

    def f(x):
        math.exp(x)
        v.assign(3.0)
        v.read_value()
        return math.tanh(x)

    graph, _ = trace(f, X)
    assert _names(remove_dead(graph)) == ["constant", "assign_variable", "tanh"]


def test_equal_nodes_are_computed_once():
    graph, _ = trace(lambda x: math.exp(x) * math.exp(x) + math.exp(x) * math.exp(x), X)
    assert _names(share_equal(graph)) == ["exp", "mul", "add"]


def test_reads_are_shared_only_between_writes():
    v = Variable([1.0, 2.0])

    def f(x):
        a = v + v
        v.assign(x)
        return a + v + v

    graph, _ = trace(f, X)
    assert _names(share_equal(graph)).count("read_variable") == 2


@pytest.mark.parametrize(
    ("a", "b"),
    [(0.0, -0.0), (1, True), (1, 1.0), (np.float32(1), np.float64(1))],
    ids=["signs of zero", "int and bool", "int and float", "precision"],
)
def test_constants_that_only_compare_equal_are_not_shared(a, b):
    graph, _ = trace(lambda: (constant(a) + constant(a), constant(b) | constant(b))
                     if isinstance(b, bool) else (constant(a) * 1, constant(b) * 1))  # fmt: skip
    constants = [n for n in share_equal(graph).nodes if n.primitive.name == "constant"]
    assert any(np.array_equal(n.attributes["value"], a) for n in constants)
    kinds = {(n.attributes["value"].dtype, n.attributes["value"].tobytes()) for n in constants}
    for value in (a, b):
        array = constant(value).numpy()
        assert (array.dtype, array.tobytes()) in kinds


def test_random_numbers_and_writes_are_not_shared():
    v = Variable(0.0)

    def f():
        v.assign_add(1.0)
        v.assign_add(1.0)

    graph, _ = trace(f)
    # Nothing sees the first sum, so it is not written; both additions are made.
    assert _names(optimize(graph)).count("assign_variable") == 1
    assert _names(optimize(graph)).count("add") == 2


def test_passes_do_not_change_their_input():
    graph, _ = trace(lambda x: math.exp(x) + math.exp(x), X)
    before = str(graph)
    optimize(graph)
    assert str(graph) == before


def test_a_pass_that_breaks_the_graph_is_caught(monkeypatch):
    monkeypatch.setattr(
        "distflow.compiler.passes.rounds.PASSES", (("break", lambda g: g.with_nodes(g.nodes[1:])),)
    )
    graph, _ = trace(lambda x: math.exp(x) * x, X)
    with pytest.raises(errors.InternalError, match="used before it is defined"):
        optimize(graph)


def test_graphs_are_logged_around_passes_on_request(caplog):
    logger = log.get_logger()
    logger.addHandler(caplog.handler)
    graph, _ = trace(lambda x: math.exp(x) + math.exp(x), X)
    try:
        with flags.override(DISTFLOW_PRINT_PASSES=True):
            optimize(graph)
    finally:
        logger.removeHandler(caplog.handler)
    assert "before passes" in caplog.text
    assert "after share_equal: 3 -> 2 nodes\n-%1: float32[2] = exp(%in0)\n" in caplog.text
    assert "after fold" not in caplog.text


def test_an_unknown_executor_is_a_clear_error():
    graph, _ = trace(lambda x: x * 2.0, X)
    with flags.override(DISTFLOW_EXECUTOR="abacus"):
        with pytest.raises(
            errors.InvalidArgumentError, match=r"one of \['auto', 'cpu', 'numpy'\].*abacus"
        ):
            compile_graph(graph)


def test_intermediates_are_released_after_their_last_use():
    alive = []

    class Array(np.ndarray):
        pass

    def reference(x):
        made = (np.asarray(x) + 1).view(Array)
        alive.append(weakref.ref(made))
        seen.append(sum(r() is not None for r in alive))
        return made

    seen = []
    step = Primitive("test_step", lambda x: x, lambda x: tuple(x), reference, None, family="unary")
    try:
        graph, _ = trace(lambda x: step(step(step(step(step(x))))), X)
        NumpyExecutable(graph)([np.zeros(2, np.float32)])
    finally:
        del REGISTRY["test_step"]
    assert max(seen) <= 2


def test_a_wrong_number_of_inputs_is_a_clear_error():
    graph, _ = trace(lambda x: x * 2.0, X)
    with pytest.raises(errors.InvalidArgumentError, match="1 inputs are needed; received 0"):
        compile_graph(graph)([])


def test_errors_of_a_run_come_from_the_operation():
    f = function(lambda x, i: x[i])
    with pytest.raises(errors.InvalidArgumentError, match=r"indices must be in \[0, 2\)"):
        f(constant([1.0, 2.0]), constant(5))

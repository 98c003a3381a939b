"""Reads are shared and forwarded, updates lowered: where it holds, and nowhere else."""

import threading

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.base import dtypes
from distflow.base.specs import TensorSpec
from distflow.compiler import compile_graph, optimize
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.compiler.pipeline import ByOwnership
from distflow.core.convert import constant
from distflow.core.primitive import REGISTRY
from distflow.core.variable import Storage, Variable, VariableAggregation, combine
from distflow.distribute.context import get_replica_context
from distflow.distribute.mirrored import MirroredStrategy
from distflow.function import function
from distflow.graph import trace
from distflow.graph.control import cond_graphs
from distflow.ops import math
from distflow.ops.python_calls import py_function

F32 = dtypes.float32
X = TensorSpec([2], F32)


def _names(graph):
    return [node.primitive.name for node in graph.nodes]


def _modes(graph):
    return [n.attributes["mode"] for n in graph.nodes if n.primitive.name == "assign_variable"]


def _run(graph, *inputs):
    return NumpyExecutable(graph)(
        [np.asarray(x, np.float32) if isinstance(x, list) else x for x in inputs]
    )


def test_a_variable_is_read_once_between_writes_of_others():
    v, w = Variable([1.0, 2.0]), Variable([0.0, 0.0])

    def f(x):
        a = v * 2.0
        w.assign(x)
        return a + v * 2.0

    graph, _ = trace(f, X)
    assert _names(optimize(graph)).count("read_variable") == 1
    assert _names(optimize(graph)).count("mul") == 1


def test_a_read_after_a_write_gives_what_was_written():
    v = Variable([1.0, 2.0])

    def f(x):
        v.assign(x * 3.0)
        return v + 1.0

    graph, _ = trace(f, X)
    assert "read_variable" not in _names(optimize(graph))
    (found,) = _run(optimize(graph), [1.0, 2.0], v)
    assert found.tolist() == [4.0, 7.0]
    assert v.numpy().tolist() == [3.0, 6.0]


def test_a_read_before_a_write_keeps_the_old_value():
    v = Variable([1.0, 2.0])

    def f(x):
        old = v.read_value()
        v.assign(x)
        return old + v

    graph, _ = trace(f, X)
    assert _run(optimize(graph), [10.0, 20.0], v)[0].tolist() == [11.0, 22.0]


def test_updates_become_read_sum_and_assignment():
    v = Variable([1.0, 2.0])

    def f(x):
        v.assign_add(x)
        v.assign_sub(x * 3.0)

    graph, _ = trace(f, X)
    after = optimize(graph)
    assert _modes(after) == ["assign"]
    assert _names(after).count("read_variable") == 1
    _run(after, [0.25, -0.5], v)
    start = np.float32([1.0, 2.0])
    x = np.float32([0.25, -0.5])
    wanted = combine(combine(start, x, "add"), x * np.float32(3), "sub")
    assert v.numpy().tobytes() == wanted.tobytes()


def test_a_write_that_another_one_follows_unseen_is_left_out():
    v = Variable([1.0, 2.0])

    def f(x):
        v.assign(x * 3.0)
        v.assign_add(x)
        return v * 2.0

    graph, _ = trace(f, X)
    optimized = optimize(graph)
    assert _names(optimized).count("assign_variable") == 1
    (result,) = _run(optimized, [1.0, 2.0], v)
    np.testing.assert_array_equal(result, [8, 16])
    np.testing.assert_array_equal(v.numpy(), [4, 8])


def test_a_write_that_a_host_call_may_see_stays():
    v = Variable([1.0, 2.0])

    def f(x):
        v.assign(x * 3.0)
        seen = py_function(lambda y: y + v.numpy(), [x], TensorSpec([2], F32))
        v.assign(x)
        return seen

    graph, _ = trace(f, X)
    assert _names(optimize(graph)).count("assign_variable") == 2


def test_an_update_of_unknown_shape_stays():
    v = Variable(np.zeros(2, np.float32), shape=[None])
    graph, _ = trace(lambda x: (v.assign_add(x), None)[1], TensorSpec([None], F32))
    assert _modes(optimize(graph)) == ["add"]


def test_a_host_call_may_write_any_variable():
    v = Variable(1.0)

    def touch(x):
        v.assign(v + 1.0)
        return x

    @function
    def f(x):
        before = v.read_value()
        x = py_function(touch, [x], TensorSpec([], F32))
        return before, v.read_value(), x

    assert [float(y) for y in f(constant(0.0))[:2]] == [1.0, 2.0]


def test_a_branch_may_write_the_variables_it_takes():
    v, w = Variable([1.0, 2.0]), Variable([5.0, 5.0])

    def f(x, v, w):
        a, b = REGISTRY["read_variable"](v), REGISTRY["read_variable"](w)
        yes, _ = trace(lambda x, v: (REGISTRY["assign_variable"](v, x, mode="assign"), x)[1], X, v)
        no, _ = trace(lambda x, v: x, X, v)
        cond_graphs(math.less(x[0], x[1]), [x, v], yes, no)
        return a + REGISTRY["read_variable"](v), b + REGISTRY["read_variable"](w)

    graph, _ = trace(f, X, v, w)
    assert _names(optimize(graph)).count("read_variable") == 3
    assert [y.tolist() for y in _run(optimize(graph), [3.0, 4.0], v, w)] == [[4, 6], [10, 10]]


@pytest.mark.usefixtures("executor")
def test_a_variable_that_is_handed_over_twice_is_seen_as_one():
    def f(v, w):
        read, write = REGISTRY["read_variable"], REGISTRY["assign_variable"]
        a = read(v)
        write(w, a + 1.0, mode="assign")
        return a + read(v)

    v = Variable([1.0, 2.0])
    graph, _ = trace(f, v, v)
    executable = compile_graph(graph)
    assert executable([v, v])[0].tolist() == [3.0, 5.0]
    w = Variable([0.0, 0.0])
    assert executable([v, w])[0].tolist() == [4.0, 6.0]
    assert executable([v, v])[0].tolist() == [5.0, 7.0]


@pytest.mark.parametrize("write", ["add", "assign"])
@pytest.mark.usefixtures("executor")
def test_a_storage_of_its_own_kind_is_written_and_read_as_told(write):
    class Halving(Storage):
        reads_back = False

        def write(self, value, mode):
            super().write(value / 2, mode)

    v = Variable([0.0, 0.0], storage=Halving)

    def f(x):
        v.assign(x)
        if write == "add":
            v.assign_add(x)
        return v + 0.5

    graph, _ = trace(f, X)
    found = compile_graph(graph)([np.float32([2.0, 4.0]), v])[0]
    assert found.tolist() == ([2.5, 4.5] if write == "add" else [1.5, 2.5])


@pytest.mark.parametrize("aggregation", ["SUM", "MEAN"])
def test_what_replicas_assign_is_aggregated_before_it_is_read(aggregation):
    strategy = MirroredStrategy(logical_replicas=2)
    with strategy.scope():
        v = Variable(1.0, aggregation=VariableAggregation[aggregation])

    @function
    def step(x):
        v.assign_add(x)
        first = v.read_value()
        v.assign(x)
        return first, v.read_value()

    def body():
        return step(constant(float(get_replica_context().replica_id_in_sync_group) + 1.0))

    first, second = strategy.run(body)
    wanted = {"SUM": (4.0, 3.0), "MEAN": (2.5, 1.5)}[aggregation]
    for values, want in zip((first, second), wanted):
        assert [float(x) for x in values.values] == [want, want]


def test_forms_are_made_once_however_many_threads_call():
    v = Variable([0.0, 0.0])
    graph, _ = trace(lambda x: (v.assign_add(x), None)[1], X)
    made = []

    def make(graph):
        made.append(graph)
        return NumpyExecutable(graph)

    executable = ByOwnership(graph, make)
    start = threading.Barrier(4)

    def call():
        start.wait(10)
        executable([np.float32([1, 1]), v])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1

"""Buckets are the same on all workers, with every array once; updates move only where they may."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.base import dtypes
from distflow.base.specs import TensorSpec
from distflow.compiler.passes import collectives
from distflow.core.primitive import REGISTRY
from distflow.core.variable import Variable
from distflow.distribute import once, ops
from distflow.distribute.reduce import ReduceOp
from distflow.graph import trace

X = TensorSpec([2], dtypes.float32)


def names(graph):
    return [node.primitive.name for node in graph.nodes]


def sharing(graph, word):
    return {v: word for v in graph.inputs if v.resource}


def assign(variable, value):
    REGISTRY["assign_variable"](variable, value, mode="assign")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.sampled_from("fd")), max_size=30),
    st.lists(st.integers(1, 4000), min_size=1, max_size=3),
)
def test_every_array_is_in_one_bucket_of_its_dtype_and_size(arrays, limits):
    sizes, kinds = [s for s, _ in arrays], [d for _, d in arrays]
    groups = collectives.cut(sizes, kinds, limits)
    assert sorted(i for group in groups for i in group) == list(range(len(arrays)))
    for group in groups:
        assert len({kinds[i] for i in group}) == 1
        assert len(group) == 1 or sum(sizes[i] for i in group) <= max(limits)


def test_what_was_made_last_leaves_first_and_the_first_bucket_is_small():
    assert collectives.cut([64] * 6, "f" * 6, (64, 192)) == [[5], [4, 3, 2], [1, 0]]


def test_arrays_of_whole_vectors_come_first_in_a_bucket():
    assert collectives.cut([64, 12, 128, 4], "ffff", (1000,)) == [[2, 0, 3, 1]]


def test_a_reduction_becomes_buckets_and_its_results_theirs():
    graph, _ = trace(lambda x, y: ops.all_reduce(x, y, op=ReduceOp.SUM), X, X)
    cut = collectives.into_buckets(graph, 8)
    assert names(cut) == ["reduce_bucket", "reduce_bucket"]
    assert [n.inputs[0] for n in cut.nodes] == [graph.inputs[1], graph.inputs[0]]
    assert cut.outputs == [cut.nodes[1].outputs[0], cut.nodes[0].outputs[0]]


def test_arrays_of_unknown_shape_are_reduced_as_they_are():
    graph, _ = trace(lambda x: ops.all_reduce(x, op=ReduceOp.SUM), TensorSpec([None], X.dtype))
    assert collectives.into_buckets(graph) is graph


def test_assignments_of_means_become_one_reduction_and_one_update():
    def f(x, v, w):
        assign(v, x + 1.0)
        assign(w, x * 2.0)
        return x

    graph, _ = trace(f, X, Variable([0.0, 0.0]), Variable([0.0, 0.0]))
    gathered = collectives.gather_writes(graph, sharing(graph, "mean"))
    assert names(gathered)[-2:] == ["all_reduce", "once"]
    assert names(gathered).count("all_reduce") == 1
    assert len(gathered.nodes[-2].inputs) == 2


def test_an_assignment_that_is_read_later_stays_where_it_is():
    def f(x, v):
        assign(v, x + 1.0)
        return REGISTRY["read_variable"](v)

    graph, _ = trace(f, X, Variable([0.0, 0.0]))
    assert collectives.gather_writes(graph, sharing(graph, "mean")) is graph


def test_assignments_of_the_programs_own_variables_stay():
    graph, _ = trace(lambda x, v: assign(v, x), X, Variable([0.0, 0.0]))
    assert collectives.gather_writes(graph, sharing(graph, "own")) is graph


def test_an_update_of_a_lone_replica_is_part_of_its_program():
    def f(x, v):
        once.run_once(lambda t: assign(v, t * 3.0), [x])
        return x

    v = Variable([0.0, 0.0])
    graph, _ = trace(f, X, v)
    inner = collectives.inline_once(graph, sharing(graph, "none"))
    assert "once" not in names(inner)
    (write,) = (n for n in inner.nodes if n.primitive.name == "assign_variable")
    assert write.attributes == {"mode": "assign", "direct": True}


def test_an_update_of_copies_that_differ_between_replicas_stays_between_them():
    def f(x, v):
        once.run_once(lambda t: assign(v, t * 3.0), [x])
        return x

    graph, _ = trace(f, X, Variable([0.0, 0.0]))
    assert collectives.inline_once(graph, sharing(graph, "")) is graph


def test_a_reduction_over_a_single_replica_is_left_out():
    graph, _ = trace(lambda x: ops.all_reduce(x * 2.0, op=ReduceOp.MEAN)[0], X)
    lean = collectives.drop_reductions(graph)
    assert "all_reduce" not in names(lean)
    assert np.isin("mul", names(lean))

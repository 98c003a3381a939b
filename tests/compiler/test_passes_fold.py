"""Folding: what is computed ahead, with the reference's bits, and what is left to run."""

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.base import dtypes, errors
from distflow.base.specs import TensorSpec
from distflow.compiler import compile_graph, optimize
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.compiler.passes.dead import remove_dead
from distflow.compiler.passes.fold import (
    ELEMENTWISE,
    EXACT,
    EXACT_FOR_INTEGERS,
    LARGEST_BYTES,
    fold,
)
from distflow.core.convert import constant
from distflow.core.primitive import REGISTRY
from distflow.graph import trace
from distflow.ops import math, reduce
from tests.compiler.random_graphs import assert_same_bits
from tests.support.checks import call
from tests.support.samples import SAMPLES

F32 = dtypes.float32
X = TensorSpec([2, 3], F32)


def _folded(fn, *specs):
    graph, _ = trace(fn, *specs)
    return remove_dead(fold(graph))


def _names(graph):
    return [node.primitive.name for node in graph.nodes]


def _value(graph):
    (node,) = graph.nodes
    return node.attributes["value"]


def test_tables_name_primitives():
    assert ELEMENTWISE | EXACT | EXACT_FOR_INTEGERS <= set(REGISTRY)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
def test_samples_on_constants_give_the_references_bits(sample):
    for dtype in sample.dtypes:
        arrays = sample.arrays(dtype)
        graph, _ = trace(
            lambda a=arrays: call(sample.op, [constant(x) for x in a], sample.attributes)
        )
        wanted = NumpyExecutable(graph)([])
        found = NumpyExecutable(fold(graph))([])
        for a, b in zip(found, wanted):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            if a.dtype == object:
                assert a.tolist() == b.tolist()
            else:
                assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
def test_samples_give_the_same_bits_after_all_passes(sample):
    for dtype in sample.dtypes:
        arrays = sample.arrays(dtype)
        for shapes in ([a.shape for a in arrays], sample.unknown_shapes()):
            specs = [TensorSpec(s, dtypes.of_array(a)) for s, a in zip(shapes, arrays)]
            graph, _ = trace(lambda *t: call(sample.op, t, sample.attributes), *specs)
            wanted, found = (NumpyExecutable(g)(arrays) for g in (graph, optimize(graph)))
            if any(a.dtype.kind not in "fiub" for a in wanted):
                continue
            assert_same_bits(found, wanted)


def test_arithmetic_on_constants_is_done():
    assert _value(_folded(lambda: (constant(2.0) + 3.0) * 4.0)) == 20.0


def test_zeros_keep_their_sign():
    assert np.signbit(_value(_folded(lambda: constant(-0.0) * 1.0)))


@pytest.mark.parametrize(
    "f", [math.exp, math.tanh, math.log1p, lambda x: x**2.5, reduce.reduce_sum]
)
def test_what_executors_round_by_themselves_is_left(f):
    assert len(_names(_folded(lambda: f(constant([1.0, 2.0]))))) > 1


def test_integers_are_summed():
    assert _value(_folded(lambda: reduce.reduce_sum(constant([1, 2, 3])))) == 6


def test_large_results_are_left():
    count = LARGEST_BYTES // 4
    fits, large = (
        _folded(lambda n=n: REGISTRY["iota"](dtype=dtypes.int32, length=n))
        for n in (count, count + 1)
    )
    assert _names(fits) == ["constant"]
    assert _names(large) == ["iota"]


def test_a_number_spread_out_is_not_stored():
    graph = _folded(lambda: REGISTRY["broadcast_to"](constant(2.0), shape=(3, 4)) * 3.0)
    assert _names(graph) == ["constant", "broadcast_to"]
    assert graph.nodes[0].attributes["value"] == 6.0


def test_known_shapes_are_constants():
    graph = _folded(lambda x: REGISTRY["shape_of"](x, dtype=dtypes.int64), X)
    assert _value(graph).tolist() == [2, 3]
    assert _value(graph).dtype == np.int64


def test_unknown_shapes_are_left():
    names = _names(
        _folded(lambda x: REGISTRY["shape_of"](x, dtype=dtypes.int64), TensorSpec([None, 3], F32))
    )
    assert names == ["shape_of"]


@pytest.mark.parametrize("name", ["reshape", "broadcast_to"])
def test_a_known_target_becomes_the_shape(name):
    def f(x):
        return REGISTRY[name](x, constant([2, 3]), shape=(None, None))

    graph = _folded(f, X)
    assert [len(node.inputs) for node in graph.nodes] == [1]
    assert graph.outputs[0].shape == (2, 3)


def test_unbroadcast_between_known_shapes_is_a_sum():
    def f(x):
        return REGISTRY["unbroadcast"](x, constant([1, 3]), shape=(1, 3))

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph = _folded(f, X)
    assert _names(graph) == ["reduce_sum", "reshape"]
    assert NumpyExecutable(graph)([x])[0].tolist() == [[3, 5, 7]]


def test_what_raises_is_left_to_run():
    graph, _ = trace(lambda: constant(1) // constant(0))
    assert "floordiv" in _names(optimize(graph))
    with pytest.raises(errors.InvalidArgumentError, match="divisors must not be zero"):
        compile_graph(graph)([])

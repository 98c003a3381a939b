"""Graphs as bytes: the same program comes back, or there are none."""

import json

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors, specs
from distflow.graph import serialize
from distflow.graph.build import trace
from distflow.graph.ir import Graph, Node, Value
from distflow.graph.verify import verify
from distflow.ops.prims.creation import constant
from tests.compiler import random_graphs

FLOATS = specs.TensorSpec([3, 4], tf.float32)


def traced(function, *shapes):
    graph, _ = trace(function, *(shapes or [FLOATS]))
    return graph


def back(graph):
    return serialize.from_bytes(serialize.to_bytes(graph))


def test_text_and_types_stay():
    graph = traced(lambda x: tf.reduce_sum(tf.cast(tf.transpose(x) * 2.5, tf.float64), axis=1))
    found = back(graph)
    verify(found)
    assert str(found) == str(graph)


def test_unknown_dimensions_stay():
    graph = traced(lambda x: x + 1.0, specs.TensorSpec([None, 4], tf.float32))
    assert tuple(back(graph).outputs[0].shape) == (None, 4)


def test_variables_stay_variables():
    v = tf.Variable([1.0, 2.0], name="v")
    graph = traced(lambda x: v.assign_add(x), specs.TensorSpec([2], tf.float32))
    found = back(graph)
    assert [(i.resource, i.name) for i in found.inputs] == [
        (i.resource, i.name) for i in graph.inputs
    ]
    assert found.effect == "write"


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.5, -0.0, np.nan, np.inf], np.float32),
        np.array([2**63 - 1, -5], np.int64),
        np.array([[True], [False]]),
        np.array([1 + 2j], np.complex64),
        np.zeros((0, 3), np.float32),
        np.float32(0.1),
        np.array(1e-45, np.float32),
        np.arange(1000, dtype=np.float32),
    ],
    ids=str,
)
def test_constants_keep_their_bits(array):
    graph = traced(lambda x: (x, constant(value=array)))
    (found,) = [n for n in back(graph).nodes if n.primitive.name == "constant"]
    value = found.attributes["value"]
    assert (type(value), value.dtype, value.shape) == (type(array), array.dtype, array.shape)
    assert value.tobytes() == array.tobytes()


def test_bfloat16_constants_keep_their_bits():
    graph = traced(lambda x: (x, tf.constant([1.5, 3.0], tf.bfloat16)))
    (found,) = [n for n in back(graph).nodes if n.primitive.name == "constant"]
    assert found.attributes["value"].dtype == tf.bfloat16.as_numpy_dtype


def test_attributes_that_are_equal_as_keys_stay_apart():
    primitive = traced(lambda x: -x).nodes[0].primitive
    x = Value(tf.float32, [2])
    told = [1, 1.0, True, "1", (1,), None]
    nodes = [Node(primitive, [x], [Value(tf.float32, [2])], {"k": v}) for v in told]
    found = [n.attributes["k"] for n in back(Graph("f", [x], nodes, [])).nodes]
    assert [(type(v), v) for v in found] == [(type(v), v) for v in told]


def test_inputs_may_be_those_of_another_graph():
    graph = traced(lambda x: x + 1.0)
    found = serialize.from_bytes(serialize.to_bytes(graph), graph.inputs)
    assert found.inputs[0] is graph.inputs[0]
    assert found.nodes[-1].inputs[0] is graph.inputs[0]


def test_inputs_of_other_types_are_refused():
    graph = traced(lambda x: x + 1.0)
    with pytest.raises(errors.InvalidArgumentError, match="bytes that to_bytes wrote"):
        serialize.from_bytes(serialize.to_bytes(graph), [Value(tf.float64, [3, 4])])


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff\xfe", b'{"types": [["float33", []]], "inputs": []}'],
    ids=repr,
)  # fmt: skip
def test_other_bytes_are_refused(data):
    with pytest.raises(errors.InvalidArgumentError, match="bytes that to_bytes wrote"):
        serialize.from_bytes(data)


def test_unknown_primitives_are_refused():
    found = json.loads(serialize.to_bytes(traced(lambda x: -x)))
    found["operations"][0][0] = "no_such_primitive"
    with pytest.raises(errors.InvalidArgumentError, match="bytes that to_bytes wrote"):
        serialize.from_bytes(json.dumps(found).encode())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.py_function(lambda y: y, [x], FLOATS),
        lambda x: (x, tf.constant(["text"])),
    ],
    ids=["Python function", "strings"],
)
def test_what_is_not_plain_has_no_bytes(function):
    assert serialize.to_bytes(traced(function)) is None


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_mean_the_same(seed):
    graph, arrays, starts = random_graphs.make(seed)
    written = serialize.to_bytes(graph)
    found = serialize.from_bytes(written)
    assert serialize.to_bytes(found) == written
    random_graphs.assert_same_bits(
        random_graphs.run(found, arrays, starts), random_graphs.run(graph, arrays, starts)
    )

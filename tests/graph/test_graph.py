"""Graphs: tracing, printing and parsing, verification by mutation, specs of outputs."""

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.base import dtypes, errors
from distflow.base.specs import TensorSpec
from distflow.core.convert import constant
from distflow.core.variable import Variable
from distflow.function import cond, function, while_loop
from distflow.graph import Graph, Node, Value, output_specs, parse, to_text, trace, verify
from distflow.ops import array, math, reduce
from distflow.ops.matmul import matmul
from distflow.ops.prims import elementwise

F32 = dtypes.float32


def _sample():
    w = Variable(np.ones((3, 2), np.float32), name="kernel")

    def f(x):
        w.assign_add(w * 2.0)
        y = matmul(x, w)
        y = cond(reduce.reduce_sum(y) > 0.0, lambda: y, lambda: y * w[0])
        return while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, math.tanh(y)), (0, y))[1], y

    return trace(f, TensorSpec([None, 3], F32, "x"))[0]


# -- text ----------------------------------------------------------------------------------


def test_text_names_inputs_types_and_attributes():
    graph, _ = trace(lambda x: math.tanh(x) * x, TensorSpec([None, 3], F32, "x"), name="f")
    assert str(graph).splitlines() == [
        "graph f(%x: float32[?, 3]) {",
        "  %0: float32[?, 3] = tanh(%x)",
        "  %1: float32[?, 3] = mul(%0, %x)",
        "  return %1",
        "}",
    ]


def test_text_parses_back_to_itself():
    graph = _sample()
    text = to_text(graph)
    assert "&float32[3, 2]" in text
    again = parse(text)
    verify(again)
    assert to_text(again) == text


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("nonsense", "expected graph name"),
        ("graph f(%x: float32[]) {\n  %0: float32[] = tanh(%y)\n  return %0\n}", "instead of %y"),
        ("graph f() {\n  %0: float32[] = nothing()\n  return %0\n}", "a known primitive"),
        ("graph f(%x: float32[]) {\n  %0: float32[] = tanh(%x,,)\n}", "primitive"),
        ("graph f(%x: float32[]) {\n  %0: float32[] = tanh(%x, a=open)\n}", "literal attributes"),
    ],
)
def test_text_that_is_no_graph_is_refused(text, match):
    with pytest.raises(errors.InvalidArgumentError, match=match):
        parse(text)


# -- verify --------------------------------------------------------------------------------


def _drop_node(graph):
    del graph.nodes[0]


def _swap_nodes(graph):
    graph.nodes[:] = graph.nodes[::-1]


def _change_dtype(graph):
    graph.nodes[-1].outputs[0].dtype = dtypes.int32


def _change_shape(graph):
    last = graph.nodes[-1].outputs[0]
    last.shape = last.shape[:-1]


def _forget_dimension(graph):
    last = graph.nodes[-1].outputs[0]
    last.shape = type(last.shape)((None,) * len(last.shape))


def _unknown_output(graph):
    graph.outputs = [Value(F32, ())]


def _double_definition(graph):
    graph.nodes.append(graph.nodes[-1])


def _double_input(graph):
    graph.inputs.append(graph.inputs[0])


def _other_operand(graph):
    node = graph.nodes[-1]
    graph.nodes[-1] = node.with_inputs([Value(F32, ()) for _ in node.inputs])


def _result_too_many(graph):
    node = graph.nodes[-1]
    graph.nodes[-1] = Node(
        node.primitive, node.inputs, (*node.outputs, Value(F32, ())), node.attributes
    )


MUTATIONS = {
    _drop_node: "used before it is defined",
    _swap_nodes: "used before it is defined",
    _change_dtype: "dtype must be float32",
    _change_shape: "shape must be",
    _forget_dimension: "shape must be",
    _unknown_output: "output is not defined",
    _double_definition: "defined twice",
    _double_input: "input stands twice",
    _other_operand: "used before it is defined",
    _result_too_many: "has 1 results",
}


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda m: m.__name__.strip("_"))
def test_verify_catches_a_broken_graph(mutate):
    graph, _ = trace(lambda x: math.tanh(math.exp(x)) * x, TensorSpec([2, 3], F32, "x"))
    verify(graph)
    mutate(graph)
    with pytest.raises(errors.InternalError, match=MUTATIONS[mutate]):
        verify(graph)


def test_verify_looks_into_bodies():
    graph = _sample()
    node = next(n for n in graph.nodes if n.primitive.name == "while_loop")
    node.attributes["body_graph"].nodes.pop()
    with pytest.raises(errors.InternalError, match="graph body: an output is not defined"):
        verify(graph)


def test_verify_shows_the_neighbourhood_of_the_bad_node():
    graph, _ = trace(lambda x: math.tanh(math.exp(x)), TensorSpec([2], F32, "x"))
    graph.nodes[1].outputs[0].dtype = dtypes.int32
    with pytest.raises(errors.InternalError, match=r"(?s)%0.*exp\(%x\).*--> %1.*tanh\(%0\)"):
        verify(graph)


def test_verify_accepts_what_set_shape_added():
    def f(x):
        y = array.reshape(x, array.shape(x))
        y.set_shape([4])
        return y

    graph, specs = trace(f, TensorSpec([None], F32))
    verify(graph)
    assert specs.shape == (4,)


# -- tracing -------------------------------------------------------------------------------


def test_eager_tensors_from_before_are_captured_and_new_ones_are_constants():
    before = constant([1.0, 2.0])
    graph, _ = trace(lambda x: x + before + constant([3.0, 4.0]), TensorSpec([2], F32))
    assert len(graph.inputs) == 2
    assert [n.primitive.name for n in graph.nodes] == ["add", "constant", "add"]


def test_a_variable_is_one_resource_input_however_often_it_is_used():
    v = Variable(1.0)
    graph, _ = trace(lambda x: x * v + v, TensorSpec([], F32))
    assert [i.resource for i in graph.inputs] == [False, True]


def test_node_effects_include_those_of_bodies():
    v = Variable(1.0)
    graph, _ = trace(
        lambda x: cond(x > 0.0, lambda: v.assign_add(1.0) + 0.0, lambda: x), TensorSpec([], F32)
    )
    assert graph.nodes[-1].effect == "write"


def test_inputs_need_a_rank():
    with pytest.raises(errors.InvalidArgumentError, match="rank of input x must be known"):
        function(lambda x: x).get_concrete_function(TensorSpec(None, F32, "x"))


# -- output_specs --------------------------------------------------------------------------


def test_output_specs_keep_unknown_dimensions_and_structure():
    w = Variable(np.ones((3, 5), np.float32))
    specs = output_specs(
        lambda x, flag: {"y": matmul(x["a"], w), "flag": flag}, {"a": TensorSpec([None, 3], F32)},
        True,
    )  # fmt: skip
    assert specs["y"] == TensorSpec([None, 5], F32)
    assert specs["flag"] is True


def test_output_specs_leave_no_side_effects():
    v = Variable(1.0)
    output_specs(lambda x: v.assign_add(x), TensorSpec([], F32))
    assert v.numpy() == 1.0


def test_output_specs_raise_the_errors_of_the_function():
    with pytest.raises(errors.InvalidArgumentError, match=r"matmul|dot_general|inner"):
        output_specs(lambda x: matmul(x, np.ones((4, 5), np.float32)), TensorSpec([None, 3], F32))


def test_values_print_their_type():
    assert Value(F32, (None, 3)).type_text() == "float32[?, 3]"
    assert repr(Graph("f")) == "<Graph f: 0 inputs, 0 nodes, 0 outputs>"
    assert elementwise.add.name == "add"

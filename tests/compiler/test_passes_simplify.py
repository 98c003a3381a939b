"""Rules of simplification, one by one; what looks like one of them but is not stays."""

import numpy as np
import pytest

from distflow.base import dtypes
from distflow.base.specs import TensorSpec
from distflow.compiler import optimize
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.compiler.passes.simplify import RULES
from distflow.core.primitive import REGISTRY
from distflow.graph import trace
from tests.compiler.random_graphs import assert_same_bits

KINDS = {"f": dtypes.float32, "i": dtypes.int32, "b": dtypes.bool_, "c": dtypes.complex64,
         "d": dtypes.float64}  # fmt: skip


def p(name, *operands, **attributes):
    return REGISTRY[name](*operands, **attributes)


def number(value, dtype=np.float32):
    return p("constant", value=np.asarray(value, dtype))


def dot(a, b, contract=((1,), (0,))):
    return p("dot_general", a, b, contract=contract, batch=((), ()))


def move(x, *perm):
    return p("transpose", x, perm=perm)


def cast(x, dtype):
    return p("cast", x, dtype=KINDS.get(dtype, dtype))


def whole(x, stop=None):
    return p("slice", x, starts=(0, 0), stops=(stop, None), strides=(1, 1))


def nothing(x, low=0):
    return p("pad", x, number(1.0), config=((low, 0, 0), (0, 0, 0)))


def shaped(x, *shape):
    return p("reshape", x, shape=shape)


def spread(x, *shape):
    return p("broadcast_to", x, shape=shape)


# What a function of x (and y) of a kind, both [2, 3], comes to: the names of its nodes.
CASES = {
    "x * 1": ("f", lambda x, y: p("mul", x, number(1)), ""),
    "1 * x": ("f", lambda x, y: p("mul", number([1, 1, 1]), x), ""),
    "x * 1 of integers": ("i", lambda x, y: p("mul", x, number(1, np.int32)), ""),
    "x * 1 of complex": ("c", lambda x, y: p("mul", x, number(1, np.complex64)), "constant mul"),
    "x * 1 that spreads": ("f", lambda x, y: p("mul", x, spread(number(1), 4, 2, 3)),
                           "broadcast_to"),
    "x * 0": ("f", lambda x, y: p("mul", x, number(0)), "constant mul"),
    "x / 1": ("f", lambda x, y: p("div", x, number(1)), ""),
    "1 / x": ("f", lambda x, y: p("div", number(1), x), "constant div"),
    "x / 4": ("f", lambda x, y: p("div", x, number(4)), "constant mul"),
    "x / -0.5": ("f", lambda x, y: p("div", x, number(-0.5)), "constant mul"),
    "x / 3": ("f", lambda x, y: p("div", x, number(3)), "constant div"),
    "x / 2**127": ("f", lambda x, y: p("div", x, number(2.0**127)), "constant div"),
    "x / 0": ("f", lambda x, y: p("div", x, number(0)), "constant div"),
    "x / 2 of integers": ("i", lambda x, y: p("div", x, number(2, np.int32)), "constant div"),
    "x + 0": ("f", lambda x, y: p("add", x, number(0)), "constant add"),
    "x + -0": ("f", lambda x, y: p("add", x, number(-0.0)), ""),
    "x + 0 of integers": ("i", lambda x, y: p("add", number(0, np.int32), x), ""),
    "x - 0": ("f", lambda x, y: p("sub", x, number(0)), ""),
    "x - -0": ("f", lambda x, y: p("sub", x, number(-0.0)), "constant sub"),
    "0 - x": ("f", lambda x, y: p("sub", number(0), x), "constant sub"),
    "x + -y": ("f", lambda x, y: p("add", x, p("neg", y)), "sub"),
    "-x + y": ("f", lambda x, y: p("add", p("neg", x), y), "sub"),
    "x - -y": ("f", lambda x, y: p("sub", x, p("neg", y)), "add"),
    "- - x": ("f", lambda x, y: p("neg", p("neg", x)), ""),
    "not not x": ("b", lambda x, y: p("not", p("not", x)), ""),
    "conj conj x": ("c", lambda x, y: p("conj", p("conj", x)), ""),
    "|-x|": ("f", lambda x, y: p("abs", p("neg", x)), "abs"),
    "max(x, x)": ("f", lambda x, y: p("max", x, x), ""),
    "max(x, y)": ("f", lambda x, y: p("max", x, y), "max"),
    "x and x": ("b", lambda x, y: p("and", x, x), ""),
    "x xor x": ("b", lambda x, y: p("xor", x, x), "xor"),
    "select true": ("f", lambda x, y: p("select", number([True] * 3, bool), x, y), ""),
    "select false": ("f", lambda x, y: p("select", number(False, bool), y, x), ""),
    "select of one": ("f", lambda x, y: p("select", p("le", x, y), x, x), ""),
    "select not": ("b", lambda x, y: p("select", p("not", x), x, y), "select"),
    "cast to itself": ("f", lambda x, y: cast(x, "f"), ""),
    "cast there and back": ("f", lambda x, y: cast(cast(x, "d"), "f"), ""),
    "cast back and there": ("d", lambda x, y: cast(cast(x, "f"), "d"), "cast cast"),
    "cast by way of more": ("i", lambda x, y: cast(cast(x, "d"), "f"), "cast"),
    "cast by way of less": ("i", lambda x, y: cast(cast(x, "f"), "d"), "cast cast"),
    "cast of floats to integers": ("f", lambda x, y: cast(cast(x, "d"), "i"), "cast cast"),
    "stop_gradient": ("f", lambda x, y: p("stop_gradient", x), ""),
    "reshape to its shape": ("f", lambda x, y: shaped(x, -1, 3), ""),
    "reshape of reshape": ("f", lambda x, y: shaped(shaped(x, 6), 3, 2), "reshape"),
    "reshape and back": ("f", lambda x, y: shaped(shaped(x, 6), 2, 3), ""),
    "broadcast to its shape": ("f", lambda x, y: spread(x, 2, 3), ""),
    "broadcast twice": ("f", lambda x, y: spread(spread(x, 4, 2, 3), 5, 4, 2, 3), "broadcast_to"),
    "spread operand": ("f", lambda x, y: p("add", spread(shaped(x, 1, 2, 3), 4, 2, 3),
                                           spread(y, 4, 2, 3)), "add broadcast_to"),
    "leading ones": ("f", lambda x, y: p("sub", p("exp", shaped(x, 1, 2, 3)), spread(y, 4, 2, 3)),
                     "exp broadcast_to sub"),
    "ones in the middle": ("f", lambda x, y: p("mul", p("exp", shaped(x, 2, 1, 3)),
                           shaped(y, 2, 1, 3)), "exp mul reshape"),
    "ones at the end": ("f", lambda x, y: p("sub", y, p("exp", shaped(p("reduce_max", x, axes=(1,)),
                        2, 1))), "reduce_max exp reshape sub"),
    "ones on one side": ("f", lambda x, y: p("mul", shaped(x, 2, 1, 3), spread(y, 2, 2, 3)),
                         "reshape mul"),
    "gather of all": ("f", lambda x, y: p("gather", x, number([0, 1, 2], np.int32), axis=1), ""),
    "gather of neighbours": ("f", lambda x, y: p("gather", x, number([1, 2], np.int32), axis=1),
                             "slice"),
    "gather of others": ("f", lambda x, y: p("gather", x, number([0, 2], np.int32), axis=1),
                         "constant gather"),
    "transpose by nothing": ("f", lambda x, y: move(x, 0, 1), ""),
    "transpose twice": ("f", lambda x, y: move(move(x, 1, 0), 1, 0), ""),
    "transpose of ones": ("f", lambda x, y: move(shaped(x, 2, 1, 3), 1, 0, 2), "reshape"),
    "reverse of nothing": ("f", lambda x, y: p("reverse", x, axes=()), ""),
    "reverse of one": ("f", lambda x, y: p("reverse", shaped(x, 1, 6), axes=(0,)), "reshape"),
    "reverse twice": ("f", lambda x, y: p("reverse", p("reverse", x, axes=(0,)), axes=(0,)), ""),
    "slice of all": ("f", lambda x, y: whole(x), ""),
    "slice beyond all": ("f", lambda x, y: whole(x, 7), ""),
    "slice of some": ("f", lambda x, y: whole(x, 1), "slice"),
    "pad by nothing": ("f", lambda x, y: nothing(x), ""),
    "pad by some": ("f", lambda x, y: nothing(x, 1), "constant pad"),
    "concat of one": ("f", lambda x, y: p("concat", x, axis=0), ""),
    "concat with none": ("f", lambda x, y: p("concat", x, whole(x, 0), axis=0), ""),
    "max over no axes": ("f", lambda x, y: p("reduce_max", x, axes=()), ""),
    "sum over no axes": ("f", lambda x, y: p("reduce_sum", x, axes=()), "add constant"),
    "sum of integers over none": ("i", lambda x, y: p("reduce_sum", x, axes=()), ""),
    "max over one": ("f", lambda x, y: p("reduce_max", shaped(x, 6, 1), axes=(1,)), "reshape"),
    "product transposed": ("i", lambda x, y: move(dot(x, y, ((1,), (1,))), 1, 0), "dot_general"),
    "product of transposed": ("i", lambda x, y: dot(x, move(y, 1, 0)), "dot_general"),
    "product used twice": ("i", lambda x, y: p("add", dot(x, y, ((1,), (1,))),
                           move(dot(x, y, ((1,), (1,))), 1, 0)), "dot_general transpose add"),
    "summed axes out of order": ("i", lambda x, y: dot(move(x, 1, 0), shaped(y, 3, 2),
                                 ((0, 1), (0, 1))), "transpose reshape dot_general"),
    "free axes out of order": ("i", lambda x, y: dot(move(shaped(x, 1, 2, 3), 2, 1, 0), y,
                               ((1,), (0,))), "reshape transpose dot_general"),
    "dropout": ("f", lambda x, y: p("select", p("le", x, y), p("div", x, number(0.5)),
                p("mul", x, number(0))), "le constant constant mul mul select"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_rule(name):
    kind, f, expected = CASES[name]
    graph, _ = trace(f, *[TensorSpec([2, 3], KINDS[kind])] * 2)
    after = optimize(graph)
    assert sorted(n.primitive.name for n in after.nodes) == sorted(expected.split())
    x = np.array([[-0.0, 0.0, np.nan], [np.inf, -3.5, 1e-42]])
    with np.errstate(invalid="ignore"):
        arrays = [np.nan_to_num(a, posinf=4) if kind in "ib" else a for a in (x, x[::-1, ::-1])]
        arrays = [a.astype(KINDS[kind].numpy) for a in arrays]
    assert_same_bits(NumpyExecutable(after)(arrays), NumpyExecutable(graph)(arrays))


def test_every_rule_has_a_primitive():
    assert set(RULES) <= set(REGISTRY)


def test_what_a_caller_knows_of_a_shape_is_kept():
    def f(x):
        y = p("stop_gradient", x)
        y.set_shape([4, 3])
        return p("exp", y)

    graph, _ = trace(f, TensorSpec([None, 3], dtypes.float32))
    assert optimize(graph).outputs[0].shape == (4, 3)


def test_division_by_powers_of_two_is_exact_where_results_underflow():
    graph, _ = trace(lambda x: p("div", x, number(2.0**100)), TensorSpec([1000], dtypes.float32))
    x = (np.random.default_rng(0).normal(size=1000) * 2.0**-40).astype(np.float32)
    found, wanted = (NumpyExecutable(g)([x])[0] for g in (optimize(graph), graph))
    assert [n.primitive.name for n in optimize(graph).nodes] == ["constant", "mul"]
    assert 100 < np.count_nonzero(wanted) < 1000
    assert found.tobytes() == wanted.tobytes()

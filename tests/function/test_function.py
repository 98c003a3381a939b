"""What `function` promises: traces, captures, variables, errors."""

import contextlib
import copy
import gc
import threading
import weakref

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.base import dtypes, errors, log
from distflow.base.specs import TensorSpec
from distflow.core import context
from distflow.core.convert import constant
from distflow.core.variable import Variable
from distflow.function import (
    function,
    functions_run_eagerly,
    inside_function,
    run_functions_eagerly,
)


def _ones(*shape, dtype=np.float32):
    return constant(np.ones(shape, dtype))


def _square_plus(x, y=1.0):
    return x * x + y


# -- traces --------------------------------------------------------------------------------

# (calls, traces): each call is (args, kwargs).
RETRACING = {
    "same shape and dtype": ([((_ones(2),), {}), ((_ones(2),), {})], 1),
    "another shape": ([((_ones(2),), {}), ((_ones(3),), {})], 2),
    "another dtype": ([((_ones(2),), {}), ((_ones(2, dtype=np.float64),), {})], 2),
    "numpy arrays count as tensors": ([((_ones(2),), {}), ((np.zeros(2, np.float32),), {})], 1),
    "equal Python values": ([((_ones(2), 3.0), {}), ((_ones(2), 3.0), {})], 1),
    "other Python values": ([((_ones(2), 3.0), {}), ((_ones(2), 4.0), {})], 2),
    "int and float of one value": ([((_ones(2), 3.0), {}), ((_ones(2), 3), {})], 2),
    "1 and True": ([((1, 1), {}), ((True, 1), {})], 2),
    "keyword or position": ([((_ones(2), 3.0), {}), ((_ones(2),), {"y": 3.0})], 1),
    "default given": ([((_ones(2), 1.0), {}), ((_ones(2),), {})], 1),
    "0.0 and -0.0": ([((_ones(2), 0.0), {}), ((_ones(2), -0.0), {})], 2),
}


@pytest.mark.parametrize("case", RETRACING)
def test_traces_once_for_each_signature(case):
    calls, traces = RETRACING[case]
    f = function(_square_plus)
    for args, kwargs in calls:
        f(*args, **kwargs)
    assert f.experimental_get_tracing_count() == traces


def test_structures_are_told_apart_by_type_and_keys():
    f = function(lambda x: 0.0)
    for argument in ([1, 2], (1, 2), {"a": 1, "b": 2}, {"a": 1, "c": 2}, [1, 2]):
        f(argument)
    assert f.experimental_get_tracing_count() == 4


def test_variables_count_by_identity():
    f = function(lambda v: v + 1.0)
    a, b = Variable(1.0), Variable(2.0)
    assert [f(a).numpy(), f(b).numpy(), f(a).numpy()] == [2.0, 3.0, 2.0]
    assert f.experimental_get_tracing_count() == 2


def test_python_side_effects_happen_while_tracing_only():
    seen = []
    f = function(lambda x: seen.append(1) or x)
    f(_ones(2)), f(_ones(2))
    assert seen == [1]


def test_reduce_retracing_relaxes_the_dimensions_that_differ():
    f = function(lambda x: x * 2.0, reduce_retracing=True)
    for n in (2, 3, 4, 5):
        assert f(_ones(n, 3)).shape == (n, 3)
    assert f.experimental_get_tracing_count() == 2


def test_a_trace_with_unknown_dimensions_serves_known_ones():
    f = function(lambda x: x * 2.0)
    f.get_concrete_function(TensorSpec([None, 2]))
    f(_ones(3, 2)), f(_ones(4, 2))
    assert f.experimental_get_tracing_count() == 1


def test_many_retraces_are_warned_about(caplog):
    f = function(lambda x: x)
    logger = log.get_logger()
    logger.addHandler(caplog.handler)
    try:
        for i in range(6):
            f(i)
    finally:
        logger.removeHandler(caplog.handler)
    assert "triggered tf.function retracing" in caplog.text


def test_results_keep_their_structure_and_none():
    f = function(lambda x: {"a": [x, None], "b": (x + 1.0, 3)})
    result = f(_ones(2))
    assert result["a"][1] is None
    assert result["b"][1].numpy() == 3
    assert list(result["b"][0].numpy()) == [2, 2]


def test_arguments_in_structures_keep_their_places():
    f = function(lambda d, *rest, scale=1.0: (d["x"] - d["y"]) * scale + rest[0])
    result = f({"y": constant(1.0), "x": constant(5.0)}, constant(2.0), scale=constant(10.0))
    assert result.numpy() == 42.0


def test_wrong_arguments_are_a_type_error():
    with pytest.raises(TypeError, match="missing a required argument"):
        function(_square_plus)()


def test_concrete_function_says_its_types():
    f = function(_square_plus)
    concrete = f.get_concrete_function(TensorSpec([None, 3]), constant(1.0))
    assert concrete.structured_outputs.shape == (None, 3)
    assert [s.name for s in concrete.inputs] == ["x", "y"]
    assert concrete(_ones(2, 3), constant(2.0)).numpy().tolist() == [[3.0] * 3] * 2
    assert "mul(%x, %x)" in str(concrete.graph)
    with pytest.raises(TypeError, match=r"expected TensorSpec.*received TensorSpec"):
        concrete(_ones(2, 4), constant(1.0))


def test_a_concrete_function_is_found_again():
    f = function(_square_plus)
    assert f.get_concrete_function(_ones(2)) is f.get_concrete_function(_ones(2))


# -- input_signature -----------------------------------------------------------------------


def test_input_signature_traces_once():
    f = function(lambda x: x * 2.0, input_signature=[TensorSpec([None], dtypes.float32)])
    f(_ones(2)), f(_ones(5)), f([1.0, 2.0])
    assert f.experimental_get_tracing_count() == 1
    assert f.get_concrete_function().structured_outputs.shape == (None,)


@pytest.mark.parametrize(
    "argument", [_ones(2, 2), _ones(2, dtype=np.float64), "text", [_ones(2)]],
    ids=["rank", "dtype", "text", "structure"],
)  # fmt: skip
def test_input_signature_refuses_what_does_not_fit(argument):
    f = function(lambda x: x, input_signature=[TensorSpec([None], dtypes.float32)])
    with pytest.raises(TypeError, match=r"expected .*TensorSpec.*received"):
        f(argument)


def test_input_signature_longer_than_the_parameters_is_refused():
    with pytest.raises(TypeError, match="takes 1 arguments"):
        function(lambda x: x, input_signature=[TensorSpec([]), TensorSpec([])])


# -- captures ------------------------------------------------------------------------------


def test_captured_variables_are_read_at_each_call():
    v = Variable(1.0)
    f = function(lambda: v * 2.0)
    assert f().numpy() == 2.0
    v.assign(5.0)
    assert f().numpy() == 10.0


def test_effects_keep_program_order():
    v = Variable(1.0)

    @function
    def f():
        a = v.read_value()
        v.assign(3.0)
        b = v.read_value()
        v.assign_add(1.0)
        return a, b, v.read_value()

    assert [x.numpy() for x in f()] == [1.0, 3.0, 4.0]
    assert v.numpy() == 4.0


def test_methods_have_traces_of_their_own_and_keep_nothing_alive():
    class Model:
        def __init__(self, w):
            self.w = Variable(w)

        @function
        def call(self, x):
            return x * self.w

    a, b = Model(2.0), Model(3.0)
    assert a.call(constant(1.0)).numpy() == 2.0
    assert b.call(constant(1.0)).numpy() == 3.0
    assert a.call is a.call
    gone = weakref.ref(a)
    del a
    gc.collect()
    assert gone() is None


def test_a_leaked_tensor_names_its_function():
    kept = []

    @function
    def leaky(x):
        kept.append(x * 2.0)
        return x

    leaky(constant(1.0))
    with pytest.raises(errors.InvalidArgumentError, match="leaky"):
        kept[0] + 1.0
    with pytest.raises(errors.InvalidArgumentError, match="leaky"):
        function(lambda: kept[0] + 1.0)()


def test_nested_functions_capture_outer_symbols():
    @function
    def outer(x):
        y = x * 2.0
        inner = function(lambda z: z + y)
        return inner(x) + inner(x)

    assert outer(constant(3.0)).numpy() == 18.0


def test_a_nested_function_that_captured_a_symbol_is_traced_again():
    box = {}
    inner = function(lambda: box["x"] * 2.0)

    def run(x):
        box["x"] = x
        return inner()

    outer = function(run)
    assert outer(constant(1.0)).numpy() == 2.0
    assert outer(_ones(2)).numpy().tolist() == [2.0, 2.0]
    assert inner.experimental_get_tracing_count() == 2


# -- variables made inside -----------------------------------------------------------------


def test_variables_may_be_made_on_the_first_call():
    class Layer:
        w = None

        @function
        def call(self, x):
            if self.w is None:
                self.w = Variable(constant(2.0) * 3.0)
            return x * self.w

    layer = Layer()
    assert layer.call(constant(2.0)).numpy() == 12.0
    assert layer.call(_ones(2)).numpy().tolist() == [6.0, 6.0]


def test_variables_made_on_every_call_are_an_error():
    f = function(lambda: Variable(1.0) + 1.0)
    with pytest.raises(ValueError, match=r"only supports singleton tf\.Variables"):
        f()


# -- the rest ------------------------------------------------------------------------------


def test_functions_can_run_eagerly():
    seen = []
    f = function(lambda x: seen.append(inside_function()) or x)
    f(1.0)
    run_functions_eagerly(True)
    try:
        f(1.0)
        assert functions_run_eagerly()
    finally:
        run_functions_eagerly(False)
    assert seen == [True, False]


def test_threads_trace_once_and_then_all_run():
    traced, start = [], threading.Barrier(4)
    results = [None] * 4

    @function
    def f(x):
        traced.append(1)
        return x * 2.0

    def work(i):
        start.wait()
        results[i] = float(f(constant(float(i))))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert results == [0.0, 2.0, 4.0, 6.0]
    assert len(traced) == 1


def test_the_replica_of_the_thread_is_seen_while_tracing():
    class Replica:
        def outside_python(self):
            return contextlib.nullcontext()

    seen, replica = [], Replica()
    f = function(lambda: seen.append(context.state.replica) or 0.0)
    before, context.state.replica = context.state.replica, replica
    try:
        f()
    finally:
        context.state.replica = before
    f()
    assert seen == [replica, before]


def test_the_decorator_takes_arguments_and_keeps_name_and_docstring():
    @function(jit_compile=True, autograph=False)
    def named(x):
        """Documented."""
        return x

    assert (named.__name__, named.__doc__) == ("named", "Documented.")
    assert named.python_function(3) == 3


def test_functions_can_be_copied_with_the_objects_that_hold_them():
    f = function(_square_plus)
    assert copy.deepcopy({"f": f})["f"](constant(3.0)).numpy() == 10.0

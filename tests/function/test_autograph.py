"""Python control flow on tensors inside functions: the same as eager code, with clear errors."""

import types

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.autodiff import GradientTape
from distflow.base import dtypes, errors, shapes
from distflow.base.specs import TensorSpec
from distflow.core.convert import constant
from distflow.core.variable import Variable
from distflow.function import TensorArray, autograph, function
from distflow.ops import array, math, reduce


def if_else(x):
    if x > 0:
        y = x * 2
    else:
        y = -x
    return y


def if_without_else(x):
    y = x
    if x > 2:
        y = y * 10
    return y


def elif_chain(x):
    if x > 2:
        return x * 3
    elif x > 0:
        return x * 2
    return x - 1


def early_return(x):
    if x < 0:
        return -x
    z = x * x
    if z > 4:
        return z
    return z + 100


def while_counting(x):
    n = 0
    while x < 100:
        x = x * 3 + 1
        n += 1
    return x, n


def while_break(x):
    total = x * 0
    while True:
        total = total + x
        if total > 20:
            break
    return total


def while_continue(x):
    i, total = constant(0), x * 0
    while i < 10:
        i += 1
        if math.equal(i % 2, 0):
            continue
        total += i * x
    return total


def for_range(x):
    total = x * 0
    for i in math.range(x):
        total = total * 2 + i
    return total


def for_python_range_of_a_tensor(x):
    total = 0
    for i in range(x):
        total += i
    return total


def for_rows_with_break(x):
    rows = array.stack([x, x + 1, x + 2, x + 3])
    found = x * 0 - 1
    for row in rows:
        if row > 3:
            found = row
            break
    return found


def for_nested(x):
    total = x * 0
    for i in math.range(3):
        for j in math.range(i + 1):
            if j > 0:
                total += i * j * x
    return total


def return_in_loop(x):
    for i in math.range(10):
        if i * i > x:
            return i
    return constant(-1)


def python_loop_with_tensor_break(x):
    y = x
    for _ in range(4):
        if y > 10:
            break
        y = y * 2
    return y


def logic(x):
    if x > 0 and x < 10 and not x > 3:
        return x
    if x > 100 or x < -2:
        return x * 2
    return x * 3


def chained_comparison_and_if_expression(x):
    return x * 2 if 0 < x < 5 else x - 1


def structures(x):
    state = {"a": x, "b": (x, x + 1)}
    if x > 0:
        state = {"a": x * 2, "b": (x, x)}
    return state["a"] + state["b"][1]


def local_to_loop(x):
    i = constant(0)
    while i < 3:
        square = i * i + x
        i += 1
    return square


def delayed_copies(x):
    y = z = x
    a = b = 0
    i = constant(0)
    while i < 3:
        z = y
        y = y + x
        b = a
        a = a + 1
        i += 1
    return x * 0 + z, y, a, b


def arrays(x):
    values = TensorArray(dtypes.int32, size=0, dynamic_size=True)
    for i in math.range(4):
        values = values.write(i, i * x)
    return values.stack()


def calls_other(x):
    return if_else(x) + while_counting(x)[1]


class Object:
    def __init__(self):
        self.value = None

    def method(self, x):
        self.value = x
        if x > 0:
            self.value = x * 7
        return self.value


def attributes(x):
    return Object().method(x)


def lambdas(x):
    f = lambda v: v * 2 if v > 0 else v
    return f(x)


def closures(x):
    k = 3

    def inner(v):
        while v < 10:
            v = v + k
        return v

    return inner(x)


def length_and_conversions(x):
    return len(array.reshape(x, [1])) + int(float(x) * 2.0)


PROGRAMS = [
    if_else, if_without_else, elif_chain, early_return, while_counting, while_break,
    while_continue, for_range, for_python_range_of_a_tensor, for_rows_with_break, for_nested,
    return_in_loop, python_loop_with_tensor_break, logic, chained_comparison_and_if_expression,
    structures, local_to_loop, delayed_copies, arrays, calls_other, attributes, lambdas, closures,
    length_and_conversions,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("x", [1, 3, 5])
def test_traced_programs_do_what_python_does(program, x):
    expected = program(constant(x))
    found = function(program)(constant(x))
    for a, b in zip(_flat(found), _flat(expected)):
        assert np.array_equal(np.asarray(a), np.asarray(b))
    unknown = function(program, input_signature=[TensorSpec([], dtypes.int32)])
    for a, b in zip(_flat(unknown(constant(x))), _flat(expected)):
        assert np.array_equal(np.asarray(a), np.asarray(b))


def _flat(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize(
    "program", [if_else, while_counting, for_range, elif_chain], ids=lambda p: p.__name__
)
def test_tensor_control_flow_becomes_graph_control_flow(program):
    graph = function(program).get_concrete_function(TensorSpec([], dtypes.int32)).graph
    names = {node.primitive.name for node in graph.nodes}
    assert names & {"cond", "while_loop"}


def test_python_control_flow_stays_python():
    @function
    def f(x, n):
        if n > 2:
            for _ in range(n):
                x = x + 1.0
        return x

    graph = f.get_concrete_function(constant(1.0), 3).graph
    assert [n.primitive.name for n in graph.nodes if n.primitive.name != "constant"] == ["add"] * 3


def test_gradients_flow_through_python_loops_and_branches():
    w = Variable(1.5)

    def f(x):
        y = x
        for i in math.range(4):
            if math.equal(i % 2, 0):
                y = y * w
            else:
                y = math.sin(y)
        return y

    x = constant(0.4)
    found = []
    for g in (f, function(f)):
        with GradientTape() as tape:
            tape.watch(x)
            y = g(x)
        found.append([t.numpy() for t in tape.gradient(y, [x, w])])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


def test_assignments_to_variables_happen_in_loops():
    v = Variable(0)

    @function
    def f(n):
        for i in math.range(n):
            if math.equal(i % 2, 0):
                v.assign_add(i)

    f(constant(5))
    assert v.numpy() == 6


def test_shape_invariants_of_python_loops():
    @function
    def f(n):
        v = constant([0])
        for i in math.range(n):
            autograph.set_loop_options(shape_invariants=[(v, shapes.TensorShape([None]))])
            v = array.concat([v, [i]], 0)
        return v

    assert f(constant(3)).numpy().tolist() == [0, 0, 1, 2]


def test_methods_and_callable_objects_are_converted():
    class Model:
        @function
        def __call__(self, x):
            return self.inner(x)

        def inner(self, x):
            if reduce.reduce_sum(x) > 0.0:
                return x
            return -x

    assert Model()(constant([-1.0, -2.0])).numpy().tolist() == [1.0, 2.0]


def test_user_code_called_by_the_library_can_be_converted():
    def user(x):
        if x > 0:
            return x
        return -x

    def layer(x):
        return autograph.convert_user_code(user)(x)

    namespace = types.FunctionType(layer.__code__, layer.__globals__, "layer", None,
                                   layer.__closure__)  # fmt: skip
    namespace.__module__ = "distflow.keras.layers"
    f = function(lambda x: namespace(x))
    assert f(constant(-3)).numpy() == 3
    assert autograph.convert_user_code(user) is user


class Numbers:
    """A data set, as far as loops need to know."""

    element_spec = (TensorSpec([None], dtypes.float32), {"k": TensorSpec([], dtypes.int32)})

    def __init__(self, lengths):
        self.lengths, self.started = lengths, 0

    def __iter__(self):
        self.started += 1
        for k, n in enumerate(self.lengths):
            yield constant(np.full(n, float(k), np.float32)), {"k": constant(k)}


@pytest.mark.parametrize(("stop", "expected"), [(99, [11.0, 6]), (1, [1.0, 1])])
def test_loops_over_data_sets_fetch_elements_when_the_graph_runs(stop, expected):
    data = Numbers([4, 1, 2, 2])

    @function
    def f(stop):
        total, count = 0.0, 0
        for x, extra in data:
            if extra["k"] > stop:
                break
            total += reduce.reduce_sum(x)
            count += extra["k"]
        return total, count

    assert [t.numpy() for t in f(constant(stop))] == expected
    assert [t.numpy() for t in f(constant(stop))] == expected
    assert data.started == 2
    from distflow.function.autograph import elements

    assert not elements._running


def test_gradients_flow_through_loops_over_data_sets():
    w = Variable(3.0)
    data = Numbers([2, 2, 2])

    @function
    def f():
        total = 0.0
        for x, _ in data:
            total += reduce.reduce_sum(x) * w * w
        return total

    with GradientTape() as tape:
        y = f()
    assert tape.gradient(y, w).numpy() == 36.0
    assert data.started == 1


# -- prints and asserts --------------------------------------------------------------------


def test_prints_of_tensors_happen_when_the_graph_runs(capsys):
    @function
    def f(x):
        print("value", x, 3)
        return x

    f(constant(1))
    f(constant(2))
    assert capsys.readouterr().out == "value 1 3\nvalue 2 3\n"


def test_asserts_on_tensors_are_checked_when_the_graph_runs():
    @function
    def f(x):
        assert x > 0, "x must be positive"
        return x

    f(constant(1))
    with pytest.raises(errors.InvalidArgumentError, match="x must be positive"):
        f(constant(-1))


def test_asserts_with_computed_messages_do_not_stop_the_conversion():
    @function
    def f(x, n):
        assert n > 0, f"n is {n}"
        if x > 0:
            return x
        return -x

    assert f(constant(-1), 1).numpy() == 1

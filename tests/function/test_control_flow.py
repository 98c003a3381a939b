"""cond, case, while_loop, scan, map_fn and TensorArray: eager = traced, and their gradients."""

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (operators on tensors)
from distflow.autodiff import GradientTape
from distflow.base import dtypes, errors, shapes
from distflow.base.specs import TensorSpec
from distflow.core.convert import constant
from distflow.core.variable import Variable
from distflow.function import (
    TensorArray,
    case,
    cond,
    foldl,
    foldr,
    function,
    map_fn,
    scan,
    switch_case,
    vectorized_map,
    while_loop,
)
from distflow.ops import array, math, reduce


def _numeric(f, arrays, direction, epsilon=1e-6):
    up = [a + epsilon * d for a, d in zip(arrays, direction)]
    down = [a - epsilon * d for a, d in zip(arrays, direction)]
    return (f(*up) - f(*down)) / (2 * epsilon)


def _branches(x, w):
    return cond(
        reduce.reduce_sum(x) > 0.5,
        lambda: math.sin(x * w) * 2.0,
        lambda: math.exp(x) * w * w,
    )


def _nested_branches(x, w):
    return cond(
        x[0] > 0.0, lambda: cond(w[0] > 0.0, lambda: x * w * x, lambda: x), lambda: math.exp(x + w)
    )


def _loop(x, w):
    _, h = while_loop(
        lambda i, h: i < 4, lambda i, h: (i + 1, math.tanh(h * w + x)), (constant(0), x * 1.0)
    )
    return h


def _loop_of_branches(x, w):
    def body(i, h):
        h = cond(math.equal(i % 2, 0), lambda: math.sin(h * w), lambda: h * h + x)
        return [i + 1, h]

    return while_loop(lambda i, h: i < 5, body, [constant(0), x])[1]


def _nested_loops(x, w):
    def inner(h):
        return while_loop(lambda j, h: j < 3, lambda j, h: (j + 1, math.sin(h) * w), (0, h))[1]

    return while_loop(lambda i, h: i < 2, lambda i, h: (i + 1, inner(h) + x), (0, x))[1]


def _cumulated(x, w):
    return scan(lambda a, row: math.tanh(a * w[0] + row), x, initializer=w[1] * 1.0)


def _cumulated_from_the_end(x, w):
    return scan(lambda a, row: a * row + w[0], x, reverse=True)


def _mapped(x, w):
    return map_fn(lambda row: math.sin(row) * w, x)


def _folded(x, w):
    left = foldl(lambda a, row: a * row + w[0], x)
    return left * foldr(lambda a, row: math.sin(a) * row, x, initializer=w[1])


def _into_array(x, w):
    values = TensorArray(dtypes.float64, size=3)

    def body(i, values, h):
        h = math.sin(h * w)
        return i + 1, values.write(i, h), h

    _, values, _ = while_loop(lambda i, *_: i < 3, body, (constant(0), values, x))
    return values.stack()


def _through_a_growing_array(x, w):
    values = TensorArray(dtypes.float64, size=0, dynamic_size=True, element_shape=[2])

    def body(i, values):
        before = cond(i > 0, lambda: values.read(i - 1), lambda: x)
        return i + 1, values.write(i, math.sin(before * w))

    return while_loop(lambda i, _: i < 4, body, (constant(0), values))[1].stack()


CASES = [
    _branches, _nested_branches, _loop, _loop_of_branches, _nested_loops, _cumulated,
    _cumulated_from_the_end, _mapped, _folded, _into_array, _through_a_growing_array,
]  # fmt: skip
POINTS = [
    (np.array([0.7, 0.4]), np.array([1.1, 0.8])),
    (np.array([-0.7, 0.3]), np.array([-1.2, 0.5])),
]


@pytest.mark.parametrize("f", CASES, ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize("point", [0, 1])
def test_eager_and_traced_values_agree(f, point):
    x, w = map(constant, POINTS[point])
    expected = f(x, w).numpy()
    np.testing.assert_allclose(function(f)(x, w).numpy(), expected, rtol=1e-12)
    unknown = function(f).get_concrete_function(*[TensorSpec([None], dtypes.float64)] * 2)
    np.testing.assert_allclose(unknown(x, w).numpy(), expected, rtol=1e-12)


def _gradients(f):
    def of(x, w):
        with GradientTape() as tape:
            tape.watch([x, w])
            y = reduce.reduce_sum(math.sin(f(x, w)))
        return tape.gradient(y, [x, w], unconnected_gradients="zero")

    return of


@pytest.mark.parametrize("f", CASES, ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize("point", [0, 1])
@pytest.mark.parametrize("where", ["tape outside", "tape inside"])
def test_gradients_equal_finite_differences(f, point, where):
    arrays = POINTS[point]
    direction = [np.array([0.3, -0.9]), np.array([0.5, 0.7])]
    gradients = _gradients(function(f)) if where == "tape outside" else function(_gradients(f))
    gx, gw = gradients(*map(constant, arrays))
    found = float(np.sum(gx.numpy() * direction[0]) + np.sum(gw.numpy() * direction[1]))
    value = lambda x, w: float(np.sum(np.sin(f(constant(x), constant(w)).numpy())))
    assert found == pytest.approx(_numeric(value, arrays, direction), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("f", CASES[:-1], ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize("where", ["tapes outside", "tapes inside", "one of each"])
def test_second_derivatives_equal_finite_differences_of_the_first(f, where):
    arrays = POINTS[0]
    direction = [np.array([0.3, -0.9]), np.array([0.5, 0.7])]

    def first(g):
        of = _gradients(g)

        def total(x, w):
            gx, gw = of(x, w)
            return reduce.reduce_sum(gx * gx) + reduce.reduce_sum(gw)

        return total

    inside = {
        "tapes outside": lambda: _gradients(first(function(f))),
        "tapes inside": lambda: function(_gradients(first(f))),
        "one of each": lambda: _gradients(function(first(f))),
    }[where]
    gx, gw = inside()(*map(constant, arrays))
    found = float(np.sum(gx.numpy() * direction[0]) + np.sum(gw.numpy() * direction[1]))
    value = lambda x, w: float(np.sin(first(f)(constant(x), constant(w)).numpy()))
    assert found == pytest.approx(_numeric(value, arrays, direction), rel=2e-5, abs=1e-7)


def test_second_derivatives_of_growing_arrays_are_a_clear_error():
    gradients = _gradients(lambda x, w: _gradients(function(_through_a_growing_array))(x, w)[0])
    with pytest.raises(errors.UnimplementedError, match="must have one shape"):
        gradients(*map(constant, POINTS[0]))


# -- cond ----------------------------------------------------------------------------------


def test_only_the_chosen_branch_has_effects():
    v = Variable(0.0)

    @function
    def f(p):
        cond(p, lambda: v.assign_add(1.0), lambda: v.assign_add(10.0))

    f(constant(True))
    assert v.numpy() == 1.0
    f(constant(False))
    assert v.numpy() == 11.0


def test_state_inside_a_branch_advances_once_under_a_tape():
    counter = Variable(1.0)

    def branch(x):
        counter.assign_add(1.0)
        return x * counter

    @function
    def f(x):
        return cond(x > 0.0, lambda: branch(x), lambda: x)

    x = constant(3.0)
    with GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    counter.assign(50.0)
    assert (y.numpy(), tape.gradient(y, x).numpy()) == (6.0, 2.0)


def test_state_inside_a_loop_advances_once_under_a_tape():
    counter = Variable(0.0)

    @function
    def f(x):
        def body(i, h):
            counter.assign_add(1.0)
            return i + 1, h * counter

        return while_loop(lambda i, h: i < 3, body, (0, x))[1]

    x = constant(1.0)
    with GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    counter.assign(50.0)
    assert (y.numpy(), tape.gradient(y, x).numpy()) == (6.0, 6.0)


def test_gradients_reach_variables_in_loops():
    w = Variable(2.0)
    f = function(lambda x: while_loop(lambda i, h: i < 3, lambda i, h: (i + 1, h * w), (0, x))[1])
    with GradientTape() as tape:
        y = f(constant(1.0))
    assert tape.gradient(y, w).numpy() == 12.0


@pytest.mark.parametrize(
    ("true_fn", "false_fn", "match"),
    [
        (lambda x: x, lambda x: (x, x), "same structure"),
        (lambda x: x, lambda x: 1, "same dtypes"),
        (lambda x: x, lambda x: None, "a tensor, or neither"),
        (lambda x: x, lambda x: [x], "same structure"),
    ],
)
def test_branches_must_agree(true_fn, false_fn, match):
    f = function(lambda x: cond(x > 0.0, lambda: true_fn(x), lambda: false_fn(x)))
    with pytest.raises(TypeError, match=match):
        f(constant(1.0))


def test_predicates_must_be_scalars():
    for run in (lambda f: f, function):
        with pytest.raises(errors.InvalidArgumentError, match="must be a scalar"):
            run(lambda x: cond(x, lambda: x, lambda: x))(constant([True]))


@pytest.mark.parametrize("run", [lambda f: f, function], ids=["eager", "traced"])
def test_case_and_switch_case_choose(run):
    f = run(
        lambda x: case([(x < 1, lambda: constant(10)), (x < 2, lambda: constant(20))],
                       default=lambda: constant(30))
    )  # fmt: skip
    assert [f(constant(i)).numpy() for i in range(4)] == [10, 20, 30, 30]
    g = run(lambda i: switch_case(i, [lambda: constant(5), lambda: constant(6)]))
    assert [g(constant(i)).numpy() for i in (0, 1, 7, -1)] == [5, 6, 6, 6]
    exclusive = run(lambda x: case([(x < 1, lambda: x), (x < 2, lambda: x)], exclusive=True))
    with pytest.raises(errors.InvalidArgumentError, match="at most one"):
        exclusive(constant(0))
    with pytest.raises(errors.InvalidArgumentError, match="no default"):
        exclusive(constant(9))


# -- while_loop ----------------------------------------------------------------------------


@pytest.mark.parametrize("run", [lambda f: f, function], ids=["eager", "traced"])
def test_maximum_iterations_stops_the_loop(run):
    f = run(lambda n: while_loop(lambda i: True, lambda i: [i + 1], [0], maximum_iterations=n))
    assert f(constant(7))[0].numpy() == 7


def test_shapes_may_change_where_an_invariant_says_so():
    def f(x, **kwargs):
        body = lambda i, v: (i + 1, array.concat([v, v], 0))
        return while_loop(lambda i, v: i < 3, body, (0, x), **kwargs)[1]

    invariants = (shapes.TensorShape([]), shapes.TensorShape([None]))
    traced = function(lambda x: f(x, shape_invariants=invariants))
    assert traced(constant([1.0])).shape == (8,)
    with pytest.raises(errors.InvalidArgumentError, match="shape_invariants"):
        function(f)(constant([1.0]))


def test_loop_variables_keep_their_dtype():
    f = function(lambda: while_loop(lambda i: i < 3, lambda i: (math.cast(i, "int64"),), (0,)))
    with pytest.raises(TypeError, match="enters the loop with dtype int32"):
        f()


def test_loops_that_do_not_run_have_gradients():
    f = function(
        lambda x, n: while_loop(lambda i, h: i < n, lambda i, h: (i + 1, h * h), (0, x))[1]
    )
    x = constant(3.0)
    for n, expected in ((0, 1.0), (1, 6.0), (2, 108.0)):
        with GradientTape() as tape:
            tape.watch(x)
            y = f(x, constant(n))
        assert tape.gradient(y, x).numpy() == expected


def test_loop_variables_may_be_structures():
    f = function(
        lambda: while_loop(
            lambda state: state["i"] < 3,
            lambda state: [{"i": state["i"] + 1, "pair": (state["pair"][1], state["pair"][0])}],
            [{"i": 0, "pair": (1.0, 2.0)}],
        )
    )
    (result,) = f()
    assert [t.numpy() for t in result["pair"]] == [2.0, 1.0]


# -- scan and map_fn -----------------------------------------------------------------------


@pytest.mark.parametrize("run", [lambda f: f, function], ids=["eager", "traced"])
def test_scan_map_and_folds_follow_numpy(run):
    x = np.arange(1.0, 6.0)
    tensor = constant(x)
    assert run(lambda t: scan(lambda a, b: a + b, t))(tensor).numpy().tolist() == (
        np.cumsum(x).tolist()
    )
    backwards = run(lambda t: scan(lambda a, b: a + b, t, reverse=True))(tensor)
    assert backwards.numpy().tolist() == np.cumsum(x[::-1])[::-1].tolist()
    assert run(lambda t: foldl(lambda a, b: a - b, t))(tensor).numpy() == 1 - 2 - 3 - 4 - 5
    assert run(lambda t: foldr(lambda a, b: a - b, t))(tensor).numpy() == 5 - 4 - 3 - 2 - 1
    pairs = run(lambda t: map_fn(lambda ab: (ab[0] * ab[1], ab[0]), (t, t + 1.0)))(tensor)
    assert pairs[0].numpy().tolist() == (x * (x + 1)).tolist()
    assert run(lambda t: vectorized_map(lambda a: a * a, t))(tensor).numpy()[-1] == 25.0
    assert run(lambda t: map_fn(lambda a: a * 2.0, t))(constant(np.zeros((0, 3)))).shape == (0, 3)


def test_map_fn_checks_the_dtype_it_was_told():
    with pytest.raises(TypeError, match="expected fn to return int32"):
        map_fn(lambda a: a * 2.0, constant([1.0]), fn_output_signature=dtypes.int32)


# -- TensorArray ---------------------------------------------------------------------------


@pytest.mark.parametrize("run", [lambda f: f, function], ids=["eager", "traced"])
def test_arrays_write_read_stack_and_grow(run):
    @run
    def f(x):
        a = TensorArray(dtypes.float32, size=1, dynamic_size=True)
        a = a.write(0, x).write(2, x * 3.0).write(1, x * 2.0)
        return a.stack(), a.read(2), a.size(), a.gather([2, 0]), a.concat()

    stacked, third, size, gathered, joined = f(constant([1.0, 10.0]))
    assert stacked.numpy().tolist() == [[1, 10], [2, 20], [3, 30]]
    assert third.numpy().tolist() == [3, 30]
    assert size.numpy() == 3
    assert gathered.numpy().tolist() == [[3, 30], [1, 10]]
    assert joined.numpy().tolist() == [1, 10, 2, 20, 3, 30]


@pytest.mark.parametrize("run", [lambda f: f, function], ids=["eager", "traced"])
def test_arrays_take_tensors_apart(run):
    f = run(lambda x, i: TensorArray(dtypes.float32, size=3).unstack(x).read(i))
    assert f(constant([1.0, 2.0, 3.0]), constant(1)).numpy() == 2.0


def test_arrays_written_in_loops_learn_the_shape_of_their_elements():
    @function(input_signature=[TensorSpec([None, None], dtypes.float32)])
    def f(x):
        rows = array.shape(x)[0]
        a = TensorArray(dtypes.float32, size=rows)
        a = while_loop(lambda i, a: i < rows, lambda i, a: (i + 1, a.write(i, x[i] * 2.0)), (0, a))[
            1
        ]
        return a.stack()

    assert f(constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).numpy()[-1].tolist() == [10, 12]


@pytest.mark.parametrize("run", [lambda f: f, function], ids=["eager", "traced"])
def test_arrays_refuse_positions_dtypes_and_shapes_that_do_not_fit(run):
    fresh = lambda: TensorArray(dtypes.float32, size=2)
    with pytest.raises(errors.InvalidArgumentError, match=r"index must be in \[0, 2\)"):
        run(lambda i: fresh().write(i, 1.0).stack())(constant(2))
    with pytest.raises(TypeError, match="expected dtype float32"):
        run(lambda i: fresh().write(i, constant([1])).stack())(constant(0))
    with pytest.raises(errors.InvalidArgumentError, match="must have shape"):
        run(lambda x: fresh().write(0, x).write(1, 1.0).stack())(constant([1.0]))

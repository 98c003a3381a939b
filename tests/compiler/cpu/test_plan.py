"""Plans: memory of a step's values, and random programs with variables against the references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import distflow as tf
from distflow.base import flags
from distflow.compiler.cpu.executor import explain
from distflow.compiler.cpu.operations import Native
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.pipeline import optimize
from distflow.graph.build import trace

pytest.importorskip("llvmlite")

SHAPE = (6, 6)


def plan_of(function, *shapes):
    specs = [tf.TensorSpec(s, tf.float32) for s in shapes]
    graph, _ = trace(function, *specs)
    graph = optimize(graph)
    resources = {v for v in graph.inputs if v.resource}
    return Plan(graph, [tuple(v.shape) for v in graph.inputs], resources)


# -- random steps with variables -------------------------------------------------------------

UNARY = {
    "negated": lambda x: -x,
    "tanh": tf.tanh,
    "transposed": tf.transpose,
    "reversed": lambda x: x[::-1],
    "turned": lambda x: tf.reshape(tf.reshape(x, [4, 9]), [6, 6]),
    "shifted": lambda x: tf.concat([x[1:], x[:1]], 0),
    "row": lambda x: tf.broadcast_to(x[2], SHAPE),
    "column": lambda x: x[:, 3:4] + tf.zeros(SHAPE),
    "halved": lambda x: 0.5 * x,
    "centred": lambda x: x - tf.reduce_mean(x, 0),
    "summed": lambda x: tf.broadcast_to(tf.reduce_sum(x, 1, keepdims=True) * 0.1, SHAPE),
    "softmax": tf.nn.softmax,
    "running": lambda x: tf.cumsum(x) * 0.2,
    "gathered": lambda x: tf.gather(x, [5, 0, 3, 3, 1, 2]),
}
BINARY = {
    "plus": lambda x, y: x + y,
    "minus": lambda x, y: x - y,
    "times": lambda x, y: x * y * 0.5,
    "product": lambda x, y: tf.matmul(x, y) * 0.2,
    "product of transposed": lambda x, y: tf.matmul(x, y, transpose_a=True) * 0.2,
    "larger": tf.maximum,
}
UPDATES = ("assign", "assign_add", "assign_sub")
KINDS = (
    "unary",
    "unary",
    "binary",
    "binary",
    "read",
    "update",
    "update",
    "look",
    "host",
    "perhaps",
)


@st.composite
def steps(draw):
    """Instructions on a growing list of values; variables are read and written in between."""
    found, count = [], 2
    for _ in range(draw(st.integers(2, 16))):
        kind = draw(st.sampled_from(KINDS))
        pick = st.integers(0, count - 1)
        if kind == "unary":
            found.append((kind, draw(st.sampled_from(sorted(UNARY))), draw(pick)))
        elif kind == "binary":
            found.append((kind, draw(st.sampled_from(sorted(BINARY))), draw(pick), draw(pick)))
        elif kind in ("read", "look"):
            found.append((kind, draw(st.integers(0, 2))))
        elif kind == "host":
            found.append((kind, draw(pick)))
        else:
            variable = draw(st.integers(0, 2))
            found.append((kind, draw(st.sampled_from(UPDATES)), variable, draw(pick)))
        if kind in ("look", "update", "perhaps"):
            continue
        count += 1
    wanted = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=4))
    return found, wanted


def run(program, executor, threads=1):
    instructions, wanted = program
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=SHAPE).astype(np.float32) for _ in range(5)]
    variables = [tf.Variable(a) for a in arrays[2:]]

    seen = []

    @tf.function(autograph=False)
    def step(x, y):
        values = [x, y]
        for kind, *rest in instructions:
            if kind == "unary":
                values.append(UNARY[rest[0]](values[rest[1]]))
            elif kind == "binary":
                values.append(BINARY[rest[0]](values[rest[1]], values[rest[2]]))
            elif kind == "read":
                values.append(variables[rest[0]].read_value())
            elif kind == "look":
                v = variables[rest[0]]
                tf.py_function(lambda v=v: seen.append(v.numpy()), [], [])
            elif kind == "host":
                spec = tf.TensorSpec(SHAPE, tf.float32)
                values.append(tf.numpy_function(lambda a: a[::-1] * 0.5, [values[rest[0]]], spec))
            else:
                write = getattr(variables[rest[1]], rest[0])
                value = tf.clip_by_value(values[rest[2]], -9, 9)
                if kind == "update":
                    write(value)
                else:
                    tf.cond(
                        value[0, 0] > 0,
                        lambda w=write, v=value: w(v).read_value()[0, 0],
                        lambda v=value: v[0, 0],
                    )
        return [values[i] for i in wanted]

    found = []
    with flags.override(DISTFLOW_EXECUTOR=executor, DISTFLOW_THREADS=threads):
        for _ in range(3):
            # What a step returned is held on to, and looked at in the end.
            found += step(tf.constant(arrays[0]), tf.constant(arrays[1]))
    return [np.array(x) for x in found] + seen + [v.numpy() for v in variables]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(steps(), st.integers(1, 3))
def test_random_steps_do_to_variables_what_the_references_do(program, threads):
    for found, want in zip(run(program, "cpu", threads), run(program, "numpy"), strict=True):
        np.testing.assert_allclose(found, want, rtol=2e-3, atol=2e-3)


# -- memory --------------------------------------------------------------------------------


def living(plan):
    """(first byte, end, first time, last time) of each value in the arena."""
    found = {}
    for operation in plan.operations:
        start, end = plan._spans[operation]
        writes = operation.writes if isinstance(operation, Native) else []
        for v in (*operation.reads, *writes):
            if v in plan.offsets:
                size = 4 * plan.shapes.size(v)
                first = found.get(v, (0, 0, start, 0))[2]
                last = found.get(v, (0, 0, 0, end))[3]
                begin = plan.offsets[v]
                found[v] = begin, begin + size, min(first, start), max(last, end)
    return found


def deep(x, w):
    with tf.GradientTape() as tape:
        tape.watch(w)
        y = x
        for _ in range(4):
            y = tf.tanh(tf.matmul(y, w)) + tf.reduce_mean(y, 0)
        loss = tf.reduce_sum(y * y)
    return loss, tape.gradient(loss, w)


def test_values_that_live_at_one_time_lie_apart_or_take_over():
    plan = plan_of(deep, (32, 16), (16, 16))
    lives = living(plan)
    assert len(lives) > 8
    values = list(lives)
    for i, a in enumerate(values):
        for b in values[:i]:
            begin_a, end_a, start_a, last_a = lives[a]
            begin_b, end_b, start_b, last_b = lives[b]
            if begin_a < end_b and begin_b < end_a:
                # One operation reads the one for the last time and makes the other.
                assert last_a <= start_b or last_b <= start_a


def test_nobody_takes_the_memory_of_what_others_read_at_that_time():
    def both(x):
        m = tf.matmul(x, x)
        return tf.matmul(tf.tanh(m), tf.matmul(m, x)), tf.matmul(tf.matmul(x, m), tf.exp(0.1 * m))

    x = np.random.default_rng(4).normal(size=(24, 24)).astype(np.float32)
    with flags.override(DISTFLOW_EXECUTOR="cpu", DISTFLOW_THREADS=1):
        found = tf.function(both)(tf.constant(x))
    m = x @ x
    for a, b in zip(found, (np.tanh(m) @ (m @ x), (x @ m) @ np.exp(np.float32(0.1) * m))):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-2)


def test_the_arena_is_smaller_than_all_values():
    def chain(x):
        for _ in range(12):
            x = tf.matmul(x, x) * 0.1
        return x

    plan = plan_of(chain, (64, 64))
    made = [v for o in plan.operations if isinstance(o, Native) for v in o.writes]
    everything = sum(4 * plan.shapes.size(v) for v in made)
    assert plan.arena_bytes < everything / 3


def test_results_have_memory_of_their_own():
    plan = plan_of(lambda x: (tf.exp(x), tf.transpose(tf.exp(x)), tf.matmul(x, x)), (8, 8))
    roots = {plan.views.root(v) for v in plan.graph.outputs}
    assert roots == plan.fresh
    assert not roots & set(plan.offsets)


# -- what becomes of nodes -----------------------------------------------------------------


def test_movements_that_strides_can_express_cost_nothing():
    def moved(x):
        return tf.exp(tf.reshape(tf.transpose(x)[1:, :4], [3, 4])[:, tf.newaxis])

    assert plan_of(moved, (6, 4)).describe() == ["loop [3, 4]: exp"]


def test_a_variable_and_its_update_are_one_loop():
    v, m = tf.Variable(np.ones(SHAPE, np.float32)), tf.Variable(np.zeros(SHAPE, np.float32))

    def momentum(g):
        m.assign(0.9 * m + g)
        v.assign_sub(0.1 * m)

    (line,) = plan_of(momentum, SHAPE).describe()
    assert line.startswith("loop [6, 6]: ")


def test_what_has_no_kernel_says_why():
    lines = explain(plan_of(lambda x: tf.cumsum(tf.exp(x)), SHAPE).graph)
    assert lines == ["loop [6, 6]: exp", "numpy: cumsum (cumsum has no row in the table)"]


@pytest.mark.parametrize("written", [True, False])
def test_variables_that_nobody_claims_are_written_by_their_storage(written):
    v = tf.Variable(np.ones(SHAPE, np.float32))

    def double(x):
        v.assign(x * 2.0)

    graph, _ = trace(double, tf.TensorSpec(SHAPE, tf.float32))
    graph = optimize(graph)
    claimed = {i for i in graph.inputs if i.resource and written}
    plan = Plan(graph, [SHAPE, SHAPE], claimed)
    assert any("assign_variable" in line for line in plan.describe()) is not written

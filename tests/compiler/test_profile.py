"""Profiles: where the time of a step goes, and what `explain` says runs it."""

import io
import time

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.compiler import profile as measuring
from distflow.compiler.cpu import program

pytest.importorskip("llvmlite")

X = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(96, 160)).astype(np.float32)


@pytest.fixture(autouse=True)
def on_the_cpu_executor():
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        yield


def layer(x, w):
    return tf.reduce_sum(tf.tanh(tf.matmul(x, w)), 0)


def measure(f, *args, steps=3):
    return measuring.measure(f, args, {}, steps)


def row(found, part):
    (one,) = [r for r in found.rows if part in r.label]
    return one


# -- explain ---------------------------------------------------------------------------------


def test_explain_has_a_line_for_each_operation_with_its_shapes():
    text = tf.function(layer).explain(tf.constant(X), tf.constant(W))
    counts, *lines = text.splitlines()
    assert counts.startswith("layer: 1 loops, 1 kernels, 0 on the host, ")
    assert lines == [
        "  kernel: dot_general [64, 96], [96, 160] -> [64, 160]",
        "  loop [64, 160]: tanh, reduce_sum",
    ]


def test_explain_says_why_something_runs_on_numpy():
    text = tf.function(lambda x: tf.cumsum(x)).explain(tf.constant(X))
    assert "numpy: cumsum (cumsum has no row in the table) [64, 96] -> [64, 96]" in text


def test_explain_takes_specs_in_place_of_tensors_and_runs_nothing():
    v = tf.Variable(0.0)

    @tf.function
    def step(x):
        v.assign_add(tf.reduce_sum(x))

    assert "reduce_sum" in step.explain(tf.TensorSpec([4, 5], tf.float32))
    assert float(v) == 0


def test_explain_of_unknown_dimensions_is_one_clear_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="all dimensions must be known"):
        tf.function(tf.exp).explain(tf.TensorSpec([None, 5], tf.float32))


def test_explain_of_one_shape_is_that_of_a_trace_for_many():
    f = tf.function(layer, input_signature=[tf.TensorSpec([None, 96]), tf.TensorSpec([96, None])])
    assert "[7, 96], [96, 3] -> [7, 3]" in f.explain(tf.ones([7, 96]), tf.ones([96, 3]))


def test_explain_with_the_numpy_executor_says_so():
    with flags.override(DISTFLOW_EXECUTOR="numpy"):
        text = tf.function(layer).explain(tf.constant(X), tf.constant(W))
    assert "numpy: dot_general" in text


def test_explain_counts_repeated_primitives_of_a_loop():
    text = tf.function(lambda x: (x * 2.0 + 1.0) * x * 3.0).explain(tf.constant(X))
    assert "loop [64, 96]: mul x3, add" in text


def test_explain_of_a_method():
    class Model(tf.Module):
        @tf.function
        def call(self, x):
            return tf.exp(x)

    assert "exp" in Model().call.explain(tf.constant(X))


# -- profile ---------------------------------------------------------------------------------


def test_a_matmul_counts_two_operations_for_each_product():
    found = measure(tf.function(layer), tf.constant(X), tf.constant(W))
    matmul = row(found, "dot_general")
    assert matmul.flops == 2 * 64 * 96 * 160
    assert matmul.num_bytes == 4 * (64 * 96 + 96 * 160 + 64 * 160)
    assert matmul.calls == 1
    assert matmul.gflops == pytest.approx(matmul.flops / matmul.ms / 1e6)
    assert row(found, "tanh").flops == 0


def test_a_convolution_and_its_gradients_count_alike():
    @tf.function
    def step(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.reduce_sum(tf.nn.conv2d(x, w, 1, "VALID") ** 2.0)
        return tape.gradient(y, [x, w])

    found = measure(step, tf.ones([2, 10, 12, 4]), tf.ones([3, 3, 4, 8]))
    convolutions = [r.flops for r in found.rows if "conv" in r.label]
    assert convolutions == [2 * (2 * 8 * 10 * 8) * (3 * 3 * 4)] * 3


def test_regions_and_the_rest_make_up_the_step():
    found = measure(tf.function(layer), tf.constant(X), tf.constant(W), steps=5)
    assert sum(r.ms for r in found.rows) == pytest.approx(found.ms, rel=0.02)
    assert all(r.ms > 0 for r in found.rows[:-1])
    times = [r.ms for r in found.rows[:-1]]
    assert times == sorted(times, reverse=True)


def test_the_time_of_the_host_is_its_own():
    def slow(a):
        time.sleep(0.02)
        return a

    @tf.function
    def step(x):
        return tf.numpy_function(slow, [tf.exp(x)], tf.TensorSpec(X.shape, tf.float32))

    host = row(measure(step, tf.constant(X)), "host_call")
    assert 20 <= host.ms < 40
    assert row(measure(step, tf.constant(X)), "exp").ms < 10


def test_bodies_on_the_host_are_not_counted_twice():
    @tf.function
    def step(x):
        return tf.while_loop(
            lambda i, a: tf.reduce_sum(a) < 1e9, lambda i, a: (i + 1, tf.matmul(a, a)), (0, x)
        )[1]

    found = measure(step, tf.constant(np.full((40, 40), 0.05, np.float32)))
    assert row(found, "dot_general").calls > 1
    assert sum(r.ms for r in found.rows) == pytest.approx(found.ms, rel=0.05)


def test_a_scan_shows_what_its_steps_do():
    @tf.function
    def step(x, w):
        return tf.scan(lambda a, row: tf.tanh(tf.matmul(a, w) + row), x, tf.zeros([8, 16]))

    found = measure(step, tf.ones([12, 8, 16]), tf.ones([16, 16]))
    assert sum(r.flops for r in found.rows) == 12 * 2 * 8 * 16 * 16


def test_what_a_scan_does_once_counts_once():
    @tf.function
    def step(x, w):
        return tf.scan(
            lambda a, row: tf.tanh(tf.matmul(a, w, transpose_b=True) + row), x, tf.zeros([8, 16])
        )

    found = measure(step, tf.ones([12, 8, 16]), tf.ones([16, 16]))
    assert row(found, "kernel: transpose").calls == 1
    assert row(found, "dot_general").calls == 12


def test_a_step_trains_while_it_is_measured_and_nothing_measures_afterwards():
    v = tf.Variable(0.0)

    @tf.function
    def step():
        v.assign_add(1.0)

    measure(step, steps=4)
    assert float(v) == 2 * 4 + 2 * 2
    assert program.recorder is None


def test_a_failing_step_leaves_nothing_measuring():
    calls = []

    def fail_later():
        calls.append(0)
        if len(calls) > 6:
            raise ValueError("on purpose")

    @tf.function
    def step():
        tf.py_function(fail_later, [], [])

    with pytest.raises(Exception, match="on purpose"):
        measure(step, steps=3)
    assert program.recorder is None


def test_what_compiles_nothing_is_one_clear_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="must run something that is compiled"):
        measure(lambda: 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="steps must be 1 at least"):
        measure(tf.function(layer), tf.constant(X), tf.constant(W), steps=0)


def test_short_regions_are_one_line_of_the_table():
    rows = [measuring.Row(f"r{i}", 1, ms) for i, ms in enumerate([5, 4, 0.001, 0.002])]
    found = measuring.Profile([*rows, measuring.Row("Python, and waiting", ms=0.997)], 10, 1, 10)
    labels = [cells[-1] for cells in found.table()]
    assert labels == ["region", "r0", "r1", "2 regions below 0.1 %", "Python, and waiting"]


# -- what is public ----------------------------------------------------------------------------


def test_profile_prints_a_table(capsys):
    found = tf.profiler.profile(tf.function(layer), tf.constant(X), w=tf.constant(W), steps=2)
    out = capsys.readouterr().out
    assert out == f"{found}\n"
    assert out.splitlines()[0].split() == ["calls", "share", "ms", "GFLOP/s", "GB/s", "region"]
    assert " ms on 1 thread (" in out.splitlines()[-1]


def test_profile_draws_a_table_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "120")
    tf.profiler.profile(tf.function(layer), tf.constant(X), tf.constant(W), steps=2)
    assert "loop [64, 160]: tanh, reduce_sum" in screen.getvalue()
    assert "─" in screen.getvalue()

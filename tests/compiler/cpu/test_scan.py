"""Scans as part of a native step: the bits of a loop on the host, for any number of threads."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.compiler import optimize
from distflow.compiler.cpu import plan
from distflow.compiler.cpu.executor import CpuExecutable, explain
from distflow.compiler.cpu.scan_plan import Loop
from distflow.graph import scan_graph
from distflow.graph.build import trace, trace_body

pytest.importorskip("llvmlite")

B, F, U = 5, 6, 40


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def spec(x):
    return tf.TensorSpec(x.shape, x.dtype)


def scan(cell, carried, sequences, reverse=False):
    """Runs a cell (carried, rows) -> (carried, rows), which may close over tensors."""
    rows = [tf.TensorSpec(s.shape[1:], s.dtype) for s in sequences]
    body, _ = trace_body("cell", cell, [[spec(c) for c in carried], rows])
    return scan_graph(carried, sequences, body.externals, body.graph, reverse)


def lstm(x, h, c, w, u, b, reverse=False):
    """Returns the states and all outputs of an LSTM over time-major inputs."""

    def cell(state, rows):
        h, c = state
        i, f, g, o = tf.split(rows[0] + tf.matmul(h, u), 4, axis=1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return [[h, c], [h]]

    return scan(cell, [h, c], [tf.matmul(x, w) + b], reverse)


def lstm_arrays(times):
    return [
        normal(times, B, F), normal(B, U), normal(B, U, seed=1), normal(F, 4 * U),
        normal(U, 4 * U) / 4, normal(4 * U),
    ]  # fmt: skip


def gradients(f, positions):
    def run(*args):
        with tf.GradientTape() as tape:
            tape.watch([args[i] for i in positions])
            results = f(*args)
            loss = sum(tf.reduce_sum(tf.sin(y)) for y in results)
        return [*results, *tape.gradient(loss, [args[i] for i in positions])]

    return run


def graph_of(f, arrays, shapes=None):
    shapes = shapes or [a.shape for a in arrays]
    graph, _ = trace(f, *[tf.TensorSpec(s, a.dtype) for s, a in zip(shapes, arrays)])
    return optimize(graph)


def loops_of(graph, arrays):
    found = plan.Plan(graph, [a.shape for a in arrays], set())
    return [o for o in found.operations if isinstance(o, Loop)]


def on_host(graph, arrays, monkeypatch):
    """Runs scans step by step, each step by an executable of the body."""
    with monkeypatch.context() as patch, flags.override(DISTFLOW_EXECUTOR="cpu"):
        patch.setattr(plan, "NESTED", {})
        assert not loops_of(graph, arrays)
        return CpuExecutable(graph)(arrays)


def check(f, arrays, monkeypatch, scans=1):
    """Compares bits on the host and on 1, 2, 3 threads, twice each; returns the results."""
    graph = graph_of(f, arrays)
    expected = on_host(graph, arrays, monkeypatch)
    assert len(loops_of(graph, arrays)) == scans
    run = CpuExecutable(graph)
    for threads in (1, 2, 3, 2):
        with flags.override(DISTFLOW_THREADS=threads):
            for _ in range(2):
                found = run(arrays)
                for have, want in zip(found, expected, strict=True):
                    assert have.dtype == want.dtype
                    assert have.shape == want.shape
                    assert have.tobytes() == want.tobytes()
    return expected


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("times", [1, 2, 7])
def test_an_lstm_has_the_bits_of_its_steps(times, reverse, monkeypatch):
    h, _, rows = check(
        lambda *a: lstm(*a, reverse=reverse), lstm_arrays(times), monkeypatch
    )  # fmt: skip
    assert rows.shape == (times, B, U)
    np.testing.assert_array_equal(rows[0 if reverse else -1], h)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("times", [1, 2, 7])
def test_gradients_of_an_lstm_have_the_bits_of_their_steps(times, reverse, monkeypatch):
    f = gradients(lambda *a: lstm(*a, reverse=reverse), range(6))
    check(f, lstm_arrays(times), monkeypatch, scans=2)


@pytest.mark.parametrize("known", [(None, B), (7, None), (None, None)])
def test_dimensions_may_be_unknown_when_a_loop_is_traced(known, monkeypatch):
    arrays = lstm_arrays(7)
    shapes = [a.shape for a in arrays]
    shapes[0], shapes[1], shapes[2] = (*known, F), (known[1], U), (known[1], U)
    f = gradients(lstm, range(6))
    graph = graph_of(f, arrays, shapes)
    assert len(loops_of(graph, arrays)) == 2
    expected = check(f, arrays, monkeypatch, scans=2)
    for have, want in zip(CpuExecutable(graph)(arrays), expected, strict=True):
        assert have.tobytes() == want.tobytes()


def test_work_is_shared_by_threads_within_a_step(monkeypatch):
    x, w = normal(4, 64, 64), normal(64, 64) / 8

    def f(x, w):
        return scan(lambda s, r: [[tf.tanh(tf.matmul(s[0], w) + r[0])], []], [x[0]], [x])

    check(f, [x, w], monkeypatch)


def test_the_sums_are_those_of_numpy(monkeypatch):
    x = normal(9, 3)
    last, sums = check(
        lambda x: scan(lambda s, r: [[s[0] + r[0]], [s[0] + r[0]]], [tf.zeros([3])], [x]),
        [x], monkeypatch,
    )  # fmt: skip
    np.testing.assert_array_equal(sums, np.cumsum(x, axis=0))
    np.testing.assert_array_equal(last, sums[-1])


def test_carried_values_may_change_places(monkeypatch):
    a, b, x = normal(4), normal(4, seed=1), normal(3, 4)
    results = check(
        lambda a, b, x: scan(lambda s, r: [[s[1], s[0]], [s[0], s[0], r[0]]], [a, b], [x]),
        [a, b, x], monkeypatch,
    )  # fmt: skip
    for have, want in zip(results, [b, a, [a, b, a], [a, b, a], x], strict=True):
        np.testing.assert_array_equal(have, want)


def test_results_may_be_constants_views_and_captured_values(monkeypatch):
    a, x, w = normal(2, 3), normal(4, 2, 3), normal(3, 2)

    def f(a, x, w):
        def cell(s, r):
            y = tf.exp(r[0])
            return [[s[0] + 1.0], [tf.ones([2]), tf.transpose(y), y, w, y[:, 1:], tf.transpose(w)]]

        return scan(cell, [a], [x])

    results = check(f, [a, x, w], monkeypatch)
    np.testing.assert_array_equal(results[1], np.ones((4, 2)))
    np.testing.assert_array_equal(results[4], np.stack([w] * 4))
    np.testing.assert_array_equal(results[5], results[3][:, :, 1:])


def test_sequences_may_be_views(monkeypatch):
    x, a = normal(3, 8, 6), normal(2, 3)
    (_, rows) = check(
        lambda a, x: scan(
            lambda s, r: [[s[0] * r[0]], [r[0] + 1.0]],
            [a], [tf.transpose(x, [1, 2, 0])[2:6, 1:6:3]],
        ),
        [a, x], monkeypatch,
    )  # fmt: skip
    np.testing.assert_array_equal(rows, np.transpose(x, (1, 2, 0))[2:6, 1:6:3] + np.float32(1))


def test_what_is_captured_is_turned_once():
    x, h, w = normal(4, 8, 32), normal(8, 16), normal(16, 32)

    def f(x, h, w):
        return scan(lambda s, r: [[tf.matmul(r[0], w, transpose_b=True) + s[0]], []], [h], [x])

    (loop,) = loops_of(graph_of(f, [x, h, w]), [x, h, w])
    assert [len(phase) for phase in loop.body.before] == [1]


def test_two_scans_run_in_one_step(monkeypatch):
    def f(*args):
        return [*lstm(*args), *lstm(*args, reverse=True)]

    check(gradients(f, range(6)), lstm_arrays(6), monkeypatch, scans=4)


def test_results_are_arrays_of_their_own():
    x = normal(4, 3)
    graph = graph_of(lambda x: scan(lambda s, r: [[s[0] + r[0]], [r[0]]], [x[0]], [x]), [x])
    run = CpuExecutable(graph)
    first = run([x])
    kept = [a.copy() for a in first]
    run([x + 1])
    for have, want in zip(first, kept, strict=True):
        np.testing.assert_array_equal(have, want)


def test_integers_are_carried(monkeypatch):
    x = np.arange(12, dtype=np.int32).reshape(4, 3)
    total, _ = check(
        lambda x: scan(lambda s, r: [[s[0] + r[0]], [s[0] * r[0]]], [x[0]], [x]), [x], monkeypatch
    )
    np.testing.assert_array_equal(total, x[0] + x.sum(0))


def test_nothing_needs_to_be_carried(monkeypatch):
    x = normal(5, 3)
    (rows,) = check(lambda x: scan(lambda s, r: [[], [r[0] * 2.0]], [], [x]), [x], monkeypatch)
    np.testing.assert_array_equal(rows, x * 2)


def test_rows_may_be_one_and_the_same(monkeypatch):
    x = normal(3)

    def f(x):
        rows = tf.broadcast_to(x, [5, 3])
        return scan(lambda s, r: [[s[0] + r[0]], []], [tf.zeros([3])], [rows])

    (total,) = check(f, [x], monkeypatch)
    np.testing.assert_allclose(total, 5 * x, rtol=1e-6)


def test_masks_may_be_views(monkeypatch):
    x, mask = normal(B, 7, F), normal(B, 7) > 0

    def cell(s, r):
        return [[tf.where(r[1][:, None], r[0] + s[0], s[0])], [r[1]]]

    def f(x, mask):
        return scan(cell, [tf.zeros([B, F])], [tf.transpose(x, [1, 0, 2]), tf.transpose(mask)])

    total, rows = check(f, [x, mask], monkeypatch)
    np.testing.assert_array_equal(rows, mask.T)
    np.testing.assert_allclose(total, (x * mask[..., None]).sum(1), rtol=1e-5, atol=1e-6)


def test_lookups_that_may_fail_stay_on_the_host(monkeypatch):
    x, i = normal(5, 3), np.array([[1], [4], [7]], np.int32)

    def f(x, i):
        return scan(lambda s, r: [[s[0]], [tf.gather(s[0], r[0])]], [x], [i])

    graph = graph_of(f, [x, i])
    assert not loops_of(graph, [x, i])
    with pytest.raises(tf.errors.InvalidArgumentError, match="7"):
        CpuExecutable(graph)([x, i])


def test_inner_scans_run_on_the_host():
    x = normal(4, 3, 2)

    def f(x):
        def outer(s, r):
            return [[scan(lambda s, r: [[s[0] + r[0]], []], s, r)[0]], []]

        return scan(outer, [tf.zeros([2])], [x])

    (total,) = CpuExecutable(graph_of(f, [x]))([x])
    np.testing.assert_allclose(total, x.sum((0, 1)), rtol=1e-5, atol=1e-6)


def test_variables_are_read_where_they_lie():
    model = tf.keras.Sequential([tf.keras.Input((4, 3)), tf.keras.layers.LSTM(8)])
    optimizer = tf.keras.optimizers.SGD(0.1)
    x = normal(2, 4, 3)

    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x) ** 2)
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    start = [v.numpy() for v in model.trainable_variables]
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        function = tf.function(step)
        losses = [float(function(tf.constant(x))) for _ in range(3)]
    for v, value in zip(model.trainable_variables, start):
        v.assign(value)
    with flags.override(DISTFLOW_EXECUTOR="numpy"):
        function = tf.function(step)
        expected = [float(function(tf.constant(x))) for _ in range(3)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[2] < losses[0]


def test_explain_tells_why_a_scan_is_not_native():
    x = normal(5, 3)

    def f(x):
        return scan(lambda s, r: [[s[0]], [tf.argsort(r[0])]], [x[0]], [x])

    (line,) = [row for row in explain(graph_of(f, [x])) if "scan" in row]
    assert "numpy: scan (in its body: " in line


def test_explain_lists_the_steps_of_a_native_scan():
    x = normal(5, 3)
    lines = explain(graph_of(lambda x: scan(lambda s, r: [[s[0] * r[0]], []], [x[0]], [x]), [x]))
    assert "scan of 5 steps" in lines
    assert any(line.startswith("  loop [3]: mul") for line in lines)

"""The cpu executor against the numpy one: every op sample, effects, control flow, equal bits."""

import importlib.util
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import distflow as tf
from distflow.base import dtypes, errors, flags, specs
from distflow.compiler import compile_graph, optimize
from distflow.compiler.cpu import executor, isa
from distflow.compiler.cpu.executor import CpuExecutable, explain
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.core.primitive import REGISTRY
from distflow.graph.build import trace
from tests.support.checks import call
from tests.support.records import TOLERANCE
from tests.support.samples import ERRORS, EXTREMES, SAMPLES

pytest.importorskip("llvmlite")


def traced(function, arrays, shapes=None):
    """The optimised graph of a function of tensors like the arrays."""
    shapes = [a.shape for a in arrays] if shapes is None else shapes
    graph, _ = trace(
        function, *[specs.TensorSpec(s, dtypes.of_array(a)) for s, a in zip(shapes, arrays)]
    )
    return optimize(graph)


def assert_agree(results, expected, tolerance):
    assert len(results) == len(expected)
    for result, want in zip(results, expected):
        assert result.dtype == want.dtype
        assert result.shape == want.shape
        if want.dtype.kind in "fcV" or want.dtype.name == "bfloat16":
            kind = np.complex128 if want.dtype.kind == "c" else np.float64
            np.testing.assert_allclose(
                result.astype(kind), want.astype(kind), rtol=tolerance, atol=tolerance
            )
        else:
            np.testing.assert_array_equal(result, want)


@pytest.mark.parametrize("unknown", [False, True], ids=["known", "unknown"])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
def test_op_samples_agree_with_numpy(sample, unknown):
    for dtype in sample.dtypes:
        arrays = sample.arrays(dtype)
        shapes = sample.unknown_shapes() if unknown else None
        graph = traced(lambda *t: call(sample.op, t, sample.attributes), arrays, shapes)
        expected = NumpyExecutable(graph)(arrays)
        limit = max([TOLERANCE.get(dtype, 0), *(TOLERANCE.get(e.dtype.name, 0) for e in expected)])
        assert_agree(CpuExecutable(graph)(arrays), expected, limit)


@pytest.mark.parametrize("extreme", EXTREMES, ids=lambda e: e.op)
def test_extreme_values_agree_with_numpy(extreme):
    arrays = [np.asarray(a) for a in extreme.inputs]
    graph = traced(lambda *t: call(extreme.op, t, extreme.attributes), arrays)
    assert_agree(CpuExecutable(graph)(arrays), NumpyExecutable(graph)(arrays), 3e-7)


@pytest.mark.parametrize(
    "bad", [b for b in ERRORS if b.error is errors.InvalidArgumentError], ids=lambda b: b.op
)
def test_bad_values_are_refused_alike(bad):
    arrays = [np.asarray(a) for a in bad.inputs]
    try:
        graph = traced(lambda *t: call(bad.op, t, bad.attributes), arrays)
    except errors.InvalidArgumentError:
        return  # refused by a rule, before any executor
    with pytest.raises(bad.error, match=re.escape(bad.words)):
        CpuExecutable(graph)(arrays)


# -- random graphs -------------------------------------------------------------------------

OPS = ("add", "sub", "mul", "max", "min")
UNARY = ("neg", "abs", "tanh", "sigmoid", "exp", "sin")
SHAPES = ((), (1,), (17,), (5, 1), (5, 17), (2, 1, 17), (2, 5, 17))


@st.composite
def programs(draw):
    """A list of instructions: (op, operands' positions, axes)."""
    steps, count = [], len(SHAPES)
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(("binary", "unary", "sum", "reduce_max")))
        pick = st.integers(0, count - 1)
        if kind == "binary":
            steps.append((draw(st.sampled_from(OPS)), (draw(pick), draw(pick)), None))
        elif kind == "unary":
            steps.append((draw(st.sampled_from(UNARY)), (draw(pick),), None))
        else:
            name = "reduce_sum" if kind == "sum" else kind
            steps.append((name, (draw(pick),), draw(st.integers(0, 7))))
        count += 1
    return steps


def interpret(steps, tensors):
    values = list(tensors)
    for name, operands, mask in steps:
        given_ = [values[i] for i in operands]
        if name == "exp":
            given_ = [REGISTRY["min"](given_[0], np.float32(3))]
        if mask is not None:
            axes = tuple(a for a in range(len(given_[0].shape)) if mask >> a & 1)
            values.append(REGISTRY[name](given_[0], axes=axes))
        else:
            values.append(REGISTRY[name](*given_))
    return values[len(tensors) :]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(programs())
def test_random_graphs_agree_with_numpy(steps):
    rng = np.random.default_rng(5)
    arrays = [rng.normal(size=s).astype(np.float32) for s in SHAPES]
    try:
        graph = traced(lambda *t: interpret(steps, t), arrays)
    except errors.InvalidArgumentError:
        reject()  # shapes that do not broadcast
    for result, want in zip(CpuExecutable(graph)(arrays), NumpyExecutable(graph)(arrays)):
        # Sums may cancel: errors are relative to the largest number around.
        scale = max(1.0, float(np.max(np.abs(want[np.isfinite(want)]), initial=0)))
        np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-4 * scale)


# -- structure -----------------------------------------------------------------------------


def softmax(x):
    largest = tf.reduce_max(x, axis=-1, keepdims=True)
    e = tf.exp(x - largest)
    return e / tf.reduce_sum(e, axis=-1, keepdims=True)


X = np.random.default_rng(0).normal(size=(33, 21)).astype(np.float32)


def test_softmax_runs_in_one_loop_and_agrees():
    graph = traced(softmax, [X])
    assert_agree(CpuExecutable(graph)([X]), NumpyExecutable(graph)([X]), 1e-6)
    assert explain(graph) == ["loop [33, 21]: reduce_max, sub, exp, reduce_sum, div"]


def test_explain_says_why_a_node_is_not_native():
    graph = traced(lambda x: tf.cumsum(tf.exp(x)), [X])
    assert explain(graph) == [
        "loop [33, 21]: exp",
        "numpy: cumsum (cumsum has no row in the table)",
    ]


def test_explain_with_unknown_shapes_says_so():
    graph = traced(tf.exp, [X], [(None, 21)])
    assert explain(graph) == ["numpy: exp (its shape depends on data)"]
    assert explain(graph, [(33, 21)]) == ["loop [33, 21]: exp"]


def test_unknown_dimensions_are_known_when_it_runs():
    def bias_gradient(x, b):
        with tf.GradientTape() as tape:
            tape.watch(b)
            y = tf.reduce_sum(tf.tanh(x + b))
        return tape.gradient(y, b)

    b = X[0]
    graph = traced(bias_gradient, [X, b], [(None, None), (None,)])
    runs = CpuExecutable(graph)
    for array in (X, X[:5], X[:, :21][:1]):
        assert_agree(runs([array, b]), NumpyExecutable(graph)([array, b]), 1e-5)
    lines = explain(graph, [X.shape, b.shape])
    assert any(line.startswith("loop") and "unbroadcast" in line for line in lines)


def test_a_result_is_not_read_before_its_loop_is_over():
    # x - sum(x) goes over the shape that the sum goes over, but cannot be in its loop.
    graph = traced(lambda x: tf.exp(x) - tf.reduce_sum(tf.exp(x)), [X])
    assert_agree(CpuExecutable(graph)([X]), NumpyExecutable(graph)([X]), 1e-5)


def test_nothing_outside_stands_between_the_nodes_of_a_loop():
    # exp -> cumsum -> add reads exp as well: add must not join the loop of exp.
    graph = traced(lambda x: tf.exp(x) + tf.cumsum(tf.exp(x)), [X])
    assert_agree(CpuExecutable(graph)([X]), NumpyExecutable(graph)([X]), 1e-5)


def test_a_key_that_is_made_is_in_memory_before_bits_are_drawn():
    def draws(seed):
        key = seed * np.uint32(3)
        return REGISTRY["random_bits"](key, seed, shape=(2,)) + key

    seed = np.array([5, 7], np.uint32)
    graph = traced(draws, [seed])
    assert_agree(CpuExecutable(graph)([seed]), NumpyExecutable(graph)([seed]), 0)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17])
def test_small_and_empty_arrays(size):
    x = X.reshape(-1)[:size]
    graph = traced(lambda x: (tf.exp(x) * 2.0, tf.reduce_sum(x)), [x])
    assert_agree(CpuExecutable(graph)([x]), NumpyExecutable(graph)([x]), 1e-6)


def test_strided_and_unaligned_inputs():
    graph = traced(lambda x: tf.exp(x) + 1.0, [X[:, ::2]])
    strided = X[:, ::2]
    raw = np.zeros(strided.size * 4 + 1, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(strided.shape)
    unaligned[...] = strided
    for x in (strided, np.asfortranarray(strided), unaligned):
        assert_agree(CpuExecutable(graph)([x]), NumpyExecutable(graph)([strided]), 1e-6)


def test_inputs_are_not_written_to():
    x = X.copy()
    x.flags.writeable = False
    graph = traced(lambda x: x * 2.0 + 1.0, [x])
    CpuExecutable(graph)([x])
    np.testing.assert_array_equal(x, X)


def test_wrong_shape_from_the_host_falls_back_to_the_references():
    def wrong(x):
        y = tf.numpy_function(lambda a: a[:2], [x], tf.TensorSpec((None,), tf.float32))
        y.set_shape((4,))
        return tf.exp(y) + 1.0

    x = np.arange(4, dtype=np.float32)
    graph = traced(wrong, [x])
    np.testing.assert_allclose(CpuExecutable(graph)([x])[0], np.exp(x[:2]) + 1, rtol=1e-6)


def test_wrong_number_of_inputs_is_one_clear_error():
    graph = traced(tf.exp, [X])
    with pytest.raises(errors.InvalidArgumentError, match="1 inputs are needed; received 2"):
        CpuExecutable(graph)([X, X])


def test_effects_keep_their_order():
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        v = tf.Variable([1.0, 2.0])

        @tf.function
        def step(x):
            before = v + 0.0
            v.assign_add(x)
            middle = v * 2.0
            v.assign(tf.exp(v))
            return before, middle, v + 0.0

        before, middle, after = step(tf.constant([1.0, 1.0]))
    np.testing.assert_array_equal(before, [1, 2])
    np.testing.assert_array_equal(middle, [4, 6])
    np.testing.assert_allclose(after, np.exp([2.0, 3.0]), rtol=1e-6)


def test_a_loop_that_waits_does_not_let_effects_pass():
    # The loop of exp also computes the last sum, and so waits for cumsum, which comes after the
    # second read: that one must wait all the same.
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        v = tf.Variable(np.zeros(5, np.float32))

        @tf.function
        def step(x):
            e = tf.exp(x)
            v.assign(e)
            after = v + 0.0
            return after, e + tf.cumsum(x)

        after, _ = step(tf.constant(X[0, :5]))
    np.testing.assert_allclose(after, np.exp(X[0, :5]), rtol=1e-6)


def test_threads_may_run_one_executable_at_once():
    graph = traced(lambda x: tf.reduce_sum(softmax(x) * x, axis=0), [X], [(None, 21)])
    runs = CpuExecutable(graph)
    inputs = [X[: n + 1] for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda x: runs([x])[0], inputs * 3))
    for x, result in zip(inputs * 3, results):
        assert_agree([result], NumpyExecutable(graph)([x]), 1e-5)


def test_plans_unused_for_longest_are_let_go():
    graph = traced(tf.exp, [X[0]], [(None,)])
    runs = CpuExecutable(graph)
    for n in range(executor._MOST_PLANS + 5):
        runs([X.reshape(-1)[: n + 1]])
    assert len(runs._plans) == executor._MOST_PLANS


def test_control_flow_runs_its_bodies_natively():
    with flags.override(DISTFLOW_EXECUTOR="cpu"):

        @tf.function
        def f(x):
            return tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, tf.tanh(a)), (0, x))[1]

        result = f(tf.constant(X))
    np.testing.assert_allclose(result, np.tanh(np.tanh(np.tanh(X))), rtol=1e-5)


# -- equal bits ----------------------------------------------------------------------------


def layer_step(x, w):
    with tf.GradientTape() as tape:
        tape.watch(w)
        y = tf.reduce_mean(tf.math.log(softmax(tf.tanh(x * w) + tf.sin(x))))
    return y, tape.gradient(y, w)


def bits(count=None):
    x = np.random.default_rng(1).normal(size=(700, 450)).astype(np.float32)
    graph = traced(layer_step, [x, x[0]])
    with flags.override(**({} if count is None else {"DISTFLOW_THREADS": count})):
        return [a.tobytes() for a in CpuExecutable(graph)([x, x[0]])]


def test_bits_do_not_depend_on_the_number_of_threads():
    assert bits(1) == bits(2) == bits(3)


@pytest.mark.parametrize("level", isa.offered())
def test_bits_do_not_depend_on_the_vector_unit(level):
    expected = bits()
    with flags.override(DISTFLOW_CPU=level):
        assert bits() == expected


def test_a_row_does_not_depend_on_how_many_there_are():
    graph = traced(lambda x: tf.reduce_sum(softmax(x) * x, axis=-1), [X], [(None, 21)])
    runs = CpuExecutable(graph)
    whole = runs([X])[0]
    for rows in (1, 2, 17, 32):
        assert runs([X[:rows]])[0].tobytes() == whole[:rows].tobytes()


JOB = Path(__file__).parents[2] / "distribute" / "golden_job.py"


@pytest.fixture(scope="module")
def golden():
    spec = importlib.util.spec_from_file_location("golden_job", JOB)
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        return job.train(tf.distribute.MirroredStrategy(logical_replicas=job.REPLICAS))


def run_job(command, **environment):
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, "DISTFLOW_EXECUTOR": "cpu", "DISTFLOW_REPLICAS": "4", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"sha256=([0-9a-f]{64})", done.stdout))


@pytest.mark.spawn
def test_golden_job_has_one_hash_on_two_workers(golden):
    command = ["-m", "distflow_launcher", "run", "-n", "2", "--backend", "grpc", str(JOB)]
    assert run_job(command) == {golden}


@pytest.mark.spawn
@pytest.mark.parametrize("level", isa.offered())
def test_golden_job_has_one_hash_on_every_vector_unit(golden, level):
    assert run_job([str(JOB)], DISTFLOW_CPU=level) == {golden}


@pytest.mark.spawn
@pytest.mark.parametrize("count", ["1", "3"])
def test_golden_job_has_one_hash_for_any_number_of_threads(golden, count):
    assert run_job([str(JOB)], DISTFLOW_THREADS=count) == {golden}


COUNTING = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
from distflow.compiler.cpu import jit
print("sha256=" + format(jit.counts()["compiled"], "064d"))
"""


@pytest.mark.spawn
def test_second_start_of_a_job_compiles_nothing(tmp_path):
    # Another hash seed as well: the text of the IR must not hang on the order of a set.
    first, second = (
        max(run_job(["-c", COUNTING, str(JOB)], DISTFLOW_CACHE_DIR=str(tmp_path),
                    PYTHONHASHSEED=seed), key=lambda found: found.startswith("0" * 50))
        for seed in ("1", "2")
    )  # fmt: skip
    assert int(first) > 0
    assert int(second) == 0


# -- without llvmlite ----------------------------------------------------------------------


def test_without_llvmlite_there_is_one_clear_error(monkeypatch):
    graph = traced(tf.exp, [X])
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    isa._binding.cache_clear()
    isa._target.cache_clear()
    with pytest.raises(errors.MissingExtraError, match="pip install llvmlite"):
        executor.CpuExecutable(graph)


def test_without_llvmlite_programs_run_on_numpy(monkeypatch):
    graph = traced(tf.exp, [X])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(flags, "_best_executor", flags._best_executor.__wrapped__)
    with flags.override(DISTFLOW_EXECUTOR="auto"):
        assert type(compile_graph(graph)) is NumpyExecutable


def test_import_of_distflow_does_not_import_llvmlite():
    code = "import distflow, sys; assert 'llvmlite' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_equal_nodes_keep_their_own_operands():
    # Both products have one kernel, which is made once.
    rng = np.random.default_rng(2)
    arrays = [rng.normal(size=(64, 64)).astype(np.float32) for _ in range(3)]
    graph = traced(lambda a, b, c: (tf.matmul(a, b), tf.matmul(a, c)), arrays)
    assert_agree(CpuExecutable(graph)(arrays), NumpyExecutable(graph)(arrays), 1e-4)
    filters = [rng.normal(size=(3, 3, 4, 4)).astype(np.float32) for _ in range(2)]
    x = rng.normal(size=(2, 8, 8, 4)).astype(np.float32)
    graph = traced(lambda *t: [tf.nn.conv2d(t[0], w, 1, "SAME") for w in t[1:]], [x, *filters])
    agree = CpuExecutable(graph)([x, *filters]), NumpyExecutable(graph)([x, *filters])
    assert_agree(*agree, 1e-4)

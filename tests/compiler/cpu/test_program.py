"""Programs: the records of each thread, barriers between what depends, and their memory."""

import ctypes
import itertools

import numpy as np
import pytest

import distflow as tf
from distflow.base import dtypes, flags, specs
from distflow.compiler.cpu import streams as streams_of_threads
from distflow.compiler.cpu import threads, worker
from distflow.compiler.cpu.executor import CpuExecutable
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.cpu.program import Program
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.compiler.pipeline import optimize
from distflow.graph.build import trace

pytest.importorskip("llvmlite")

COUNTS = [1, 2, 3, 4, 5]
RNG = np.random.default_rng(0)
X, W = (RNG.normal(size=s).astype(np.float32) for s in ((200, 120), (120, 150)))


def network(x, w):
    with tf.GradientTape() as tape:
        tape.watch(w)
        y = tf.nn.softmax(tf.tanh(tf.matmul(x, w)))
        loss = tf.reduce_sum(y * y)
    return loss, tape.gradient(loss, w), tf.cumsum(y), tf.exp(tf.cumsum(y) * 0.001)


def graph_of(function, *arrays):
    graph, _ = trace(function, *[specs.TensorSpec(a.shape, dtypes.of_array(a)) for a in arrays])
    return optimize(graph)


@pytest.fixture(scope="module")
def plan():
    return Plan(graph_of(network, X, W), [X.shape, W.shape], set())


def records(stream):
    words = list(stream)
    return [tuple(words[i : i + worker.RECORD_WORDS]) for i in range(0, len(words), 4)]


def streams(program):
    """(records of each thread, those of a thread alone) for each segment with native work."""
    for made in program._segments:
        if made is not None:
            *threads, alone = made[2][0]
            yield [records(t) for t in threads], records(alone)


@pytest.mark.parametrize("count", COUNTS)
def test_threads_do_together_what_one_does_alone(plan, count):
    for parts, alone in streams(Program(plan, count)):
        assert len(parts) == count
        units = {(f, p): (begin, end) for f, p, begin, end in alone if f != worker.END}
        done = {}
        for thread in parts:
            for f, p, begin, end in thread:
                if f > worker.REPEAT:
                    done.setdefault((f, p), []).append((begin, end))
        assert done.keys() == units.keys()
        for key, ranges in done.items():
            ranges.sort()
            assert ranges[0][0] == units[key][0]
            assert ranges[-1][1] == units[key][1]
            assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))


@pytest.mark.parametrize("count", COUNTS)
def test_all_threads_meet_at_the_same_barriers_and_end(plan, count):
    most = 0
    for parts, alone in streams(Program(plan, count)):
        met = [sum(f == worker.BARRIER for f, *_ in thread) for thread in parts]
        assert len(set(met)) == 1
        assert all(r[0] != worker.BARRIER for r in alone)
        assert all(thread[-1][0] == worker.END for thread in (*parts, alone))
        most = max(most, met[0])
    assert (most > 0) == (count > 1)


@pytest.mark.parametrize("shared_work", [streams_of_threads._SHARED_WORK, 0])
@pytest.mark.parametrize("count", COUNTS)
def test_a_barrier_stands_between_phases_that_different_threads_run(
    plan, count, shared_work, monkeypatch
):
    monkeypatch.setattr(streams_of_threads, "_SHARED_WORK", shared_work)
    program = Program(plan, count)
    made = [s for s in program._segments if s is not None]
    wanted = [s for s in plan.segments if s.phases]
    native = worker.functions()
    shared = {threads.function_address(f) for f in (native.own, native.steal)}
    for (_, _, kept, _), segment in zip(made, wanted, strict=True):
        phase_of = {}
        for i, phase in enumerate(segment.phases):
            phase_of.update((program._pointers(0, o, call), i) for o, call in phase)
        # For each phase: which thread did it, after how many barriers.
        ran = {}
        for t, stream in enumerate(kept[0][:-1]):
            barriers = 0
            for f, p, _, _ in records(stream):
                if f == worker.BARRIER:
                    barriers += 1
                elif f > worker.REPEAT:
                    if f in shared:  # of a descriptor: (function, pointers, ...)
                        p = (ctypes.c_int64 * 2).from_address(p)[1]
                    ran.setdefault(phase_of[p], set()).add((t, barriers))
        for i, earlier in ran.items():
            for j, later in ran.items():
                if i < j:
                    assert all(a < b or (a == b and t == u) for t, a in earlier for u, b in later)


@pytest.mark.parametrize("shared_work", [streams_of_threads._SHARED_WORK, 0])
def test_results_are_equal_for_any_number_of_threads(plan, shared_work, monkeypatch):
    monkeypatch.setattr(streams_of_threads, "_SHARED_WORK", shared_work)
    expected = NumpyExecutable(plan.graph)([X, W])
    first = None
    for count in COUNTS:
        with flags.override(DISTFLOW_THREADS=count):
            found = Program(plan, count)([X, W])
        for a, b in zip(found, expected):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        bits = [a.tobytes() for a in found]
        first = first or bits
        assert bits == first


def test_a_program_may_be_run_again_with_other_arrays(plan):
    program = Program(plan, 2)
    held = program([X, W])
    copies = [a.copy() for a in held]
    for scale in (2, -1):
        x = (X * scale).astype(np.float32)
        for a, b in zip(program([x, W]), NumpyExecutable(plan.graph)([x, W])):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    for a, b in zip(held, copies):
        np.testing.assert_array_equal(a, b)


def test_results_do_not_lie_in_the_memory_of_the_program(plan):
    program = Program(plan, 1)
    for array in program([X, W]):
        assert not np.may_share_memory(array, program._arena)


def test_what_the_host_gets_and_keeps_does_not_change():
    kept = []

    def keeping(x):
        y = tf.exp(x)
        z = tf.transpose(y * 2.0)
        (out,) = tf.numpy_function(
            lambda *a: kept.append(a) or [a[0] + 1], [y, z, z[1:]], [tf.TensorSpec(X.shape)]
        )
        return tf.exp(-out)

    runs = CpuExecutable(graph_of(keeping, X))
    for scale in (1, 0.5, 0.25):
        runs([(X * scale).astype(np.float32)])
    for scale, (y, z, part) in zip((1, 0.5, 0.25), kept):
        want = np.exp(X * np.float32(scale))
        np.testing.assert_allclose(y, want, rtol=1e-5)
        np.testing.assert_allclose(z, 2 * want.T, rtol=1e-5)
        np.testing.assert_allclose(part, 2 * want.T[1:], rtol=1e-5)


def test_a_result_that_is_an_input_or_a_view_of_one():
    graph = graph_of(lambda x: (x, tf.transpose(x), x[3:5], tf.reshape(x, [-1])), X)
    for found, want in zip(CpuExecutable(graph)([X]), (X, X.T, X[3:5], X.reshape(-1))):
        np.testing.assert_array_equal(found, want)


def test_one_result_twice():
    graph = graph_of(lambda x: [tf.exp(x)] * 2, X)
    a, b = CpuExecutable(graph)([X])
    np.testing.assert_array_equal(a, b)

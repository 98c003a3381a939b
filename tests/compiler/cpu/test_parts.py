"""Concatenations that a loop writes itself."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.compiler import optimize
from distflow.compiler.cpu.executor import CpuExecutable, explain
from distflow.compiler.numpy_backend import NumpyExecutable
from distflow.graph.build import trace

pytest.importorskip("llvmlite")

X, Y = np.random.default_rng(0).normal(size=(2, 40, 60)).astype(np.float32)


def check(function, *arrays, concats):
    graph, _ = trace(function, *[tf.TensorSpec(a.shape, a.dtype) for a in arrays])
    graph = optimize(graph)
    lines = explain(graph)
    assert sum("concat" in line for line in lines) == concats, lines
    expected = NumpyExecutable(graph)(arrays)
    for threads in (1, 2):
        with flags.override(DISTFLOW_THREADS=threads):
            for have, want in zip(CpuExecutable(graph)(arrays), expected, strict=True):
                np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_one_loop_writes_all_parts(axis):
    check(lambda x, y: tf.concat([x * y, x + y, x - y], axis=axis), X, Y, concats=0)


def test_who_reads_the_whole_waits_for_the_loop():
    check(lambda x, y: tf.reduce_sum(tf.concat([x * y, x + y], axis=1) ** 2, axis=0), X, Y,
          concats=0)  # fmt: skip


def test_parts_of_two_loops_are_copied():
    # The second loop goes along its rows, which are the columns of the first.
    def f(x, y):
        return tf.concat([x * 2.0, tf.reduce_max(y) + y[:, :3]], axis=1)

    check(f, X, Y, concats=1)


def test_a_part_that_is_a_result_is_copied():
    def f(x, y):
        a = x * y
        return a, tf.concat([a, x + y], axis=1)

    check(f, X, Y, concats=1)


def test_a_part_that_others_read_is_copied():
    def f(x, y):
        a = x * y
        return tf.matmul(a, a, transpose_b=True), tf.concat([a, x + y], axis=1)

    check(f, X, Y, concats=1)


def test_a_value_that_is_two_parts_is_copied():
    def f(x, y):
        a = x * y
        return tf.concat([a, x + y, a], axis=1)

    check(f, X, Y, concats=1)


def test_sums_are_copied():
    check(lambda x, y: tf.concat([tf.reduce_sum(x, 1), tf.reduce_sum(y, 1)], 0), X, Y, concats=1)

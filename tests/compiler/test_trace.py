"""Timelines: tf.profiler.experimental writes what ran, in Chrome's trace event format."""

import gzip
import json

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.compiler.cpu import program

pytest.importorskip("llvmlite")

profiler = tf.profiler.experimental


@pytest.fixture(autouse=True)
def on_the_cpu_executor():
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        yield


@tf.function
def step(x):
    y = tf.tanh(tf.matmul(x, x))
    return tf.numpy_function(lambda a: a + 1, [y], tf.TensorSpec([64, 64], tf.float32))


def events(folder):
    (path,) = folder.rglob("*.trace.json.gz")
    return json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]


def test_a_trace_has_programs_regions_and_names_of_the_user(tmp_path):
    x = tf.constant(np.eye(64, dtype=np.float32))
    step(x)
    with profiler.Profile(tmp_path):
        for i in range(3):
            with profiler.Trace("train", step_num=i, _r=1):
                step(x)
    found = events(tmp_path)
    (row,) = [e for e in found if e["ph"] == "M"]
    found.remove(row)
    assert row["args"] == {"name": "regions, first thread"}
    named = {}
    for event in found:
        assert event["ph"] == "X"
        assert event["dur"] >= 0
        named.setdefault(event["name"].split(" [")[0], []).append(event)
    assert {name: len(some) for name, some in named.items()} == {
        "train": 3, "step": 3, "kernel: dot_general": 3, "loop": 3,
        "numpy: host_call (host_call has no row in the table)": 3,
    }  # fmt: skip
    assert [e["args"]["step_num"] for e in named["train"]] == [0, 1, 2]
    for train, run in zip(named["train"], named["step"]):
        inside = [e for e in found if train["ts"] <= e["ts"] < train["ts"] + train["dur"]]
        assert run in inside
        assert len(inside) == 5


def test_a_second_profiler_is_refused(tmp_path):
    profiler.start(tmp_path)
    try:
        with pytest.raises(tf.errors.AlreadyExistsError, match="no profiler that runs"):
            profiler.start(tmp_path)
    finally:
        profiler.stop(save=False)
    assert program.recorder is None
    assert list(tmp_path.iterdir()) == []


def test_stop_without_start_is_refused():
    with pytest.raises(tf.errors.UnavailableError, match="a profiler that runs; received none"):
        profiler.stop()


def test_options_are_refused(tmp_path):
    with pytest.raises(tf.errors.InvalidArgumentError, match="options must be None"):
        profiler.start(tmp_path, options=object())


def test_a_name_costs_nothing_without_a_profiler():
    with profiler.Trace("train", step_num=1) as trace:
        trace.set_metadata(loss=2)

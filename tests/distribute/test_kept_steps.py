"""A replica's step from disk: its program with buckets, made in another run."""

import numpy as np
import pytest

import distflow as tf
from distflow.compiler import forms, kept
from distflow.compiler.cpu import jit, plan_record
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.passes import rounds
from tests.distribute.workers import digest, on_threads

pytest.importorskip("llvmlite")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """What was optimised and planned of programs with buckets, as it happens."""
    done = []

    def optimize(*arguments):
        done.append("optimised")
        return rounds.optimize(*arguments)

    class Planned(Plan):
        def __init__(self, graph, *arguments):
            if any(node.primitive.name == "reduce_bucket" for node in graph.nodes):
                done.append("planned")
            super().__init__(graph, *arguments)

    monkeypatch.setattr(kept, "_LEAST_NODES", 0)
    monkeypatch.setattr(forms, "optimize", optimize)
    monkeypatch.setattr(plan_record, "Plan", Planned)
    monkeypatch.setenv("DISTFLOW_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("DISTFLOW_EXECUTOR", "cpu")
    return done


def train(early):
    """Returns the hash with which two workers end after three steps."""

    def job(strategy):
        strategy.overlaps, strategy.bucket_bytes = early, 256
        with strategy.scope():
            w = tf.Variable(np.linspace(-1, 1, 60).reshape(6, 10), dtype=tf.float32, name="w")
            u = tf.Variable(np.linspace(1, -1, 30).reshape(10, 3), dtype=tf.float32, name="u")
            optimizer = tf.keras.optimizers.SGD(0.1, momentum=0.9, name="sgd")
            optimizer.build([w, u])

        def replica_step(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.tanh(tf.tanh(x @ w) @ u) ** 2)
            optimizer.apply_gradients(zip(tape.gradient(loss, [w, u]), [w, u]))
            return loss

        step = tf.function(lambda x: strategy.run(replica_step, args=(x,)))
        for i in range(3):
            step(np.float32(np.arange(24).reshape(4, 6) * (1 + i + strategy.worker_rank) / 50))
        return digest([w.numpy(), u.numpy()])

    one, two = on_threads(2, 2, job)
    assert isinstance(one, str), one
    assert one == two
    return one


@pytest.mark.parametrize("early", [False, True])
def test_the_second_start_neither_optimises_nor_plans(early, work):
    first = train(early)
    assert "optimised" in work
    assert "planned" in work
    jit.wait()
    del work[:]
    assert train(early) == first
    assert work == []


def test_when_buckets_leave_is_in_the_name(work):
    first = train(False)
    jit.wait()
    del work[:]
    assert train(True) == first
    assert "planned" in work


def test_a_plan_with_buckets_that_was_read_has_all_that_a_plan_has(work, monkeypatch):
    plans = []

    class Seen(Plan):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            plans.append(self)

    monkeypatch.setattr(plan_record, "Plan", Seen)
    train(True)
    (plan, *_) = [p for p in plans if p.in_buckets]
    record = plan_record.to_bytes(plan)
    monkeypatch.undo()
    found = plan_record.from_bytes(record, plan.graph)
    assert vars(found).keys() == vars(plan).keys()
    assert plan_record.to_bytes(found) == record

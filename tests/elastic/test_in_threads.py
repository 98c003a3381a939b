"""Workers as threads of this process, disturbed at named phases: the fast elastic tests."""

import hashlib
import os
import random
import re
import socket
import threading

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags, log
from distflow.cluster.coordinator import Coordinator
from distflow.cluster.member import Member
from distflow.cluster.membership import Membership
from distflow.comm import Placement, faults
from distflow.distribute import elastic_audit
from distflow.distribute.elastic import ElasticStrategy
from distflow.distribute.elastic_group import Settings
from distflow.distribute.elastic_job import ElasticJob
from distflow.distribute.elastic_placement import Speeds
from distflow.telemetry import metrics

REPLICAS, STEPS, ROWS = 4, 6, 10
TOKEN = "t" * 32


def train(strategy, after_step=lambda step: None):
    """Returns the digest of weights, slots and the history of a small fit."""
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(STEPS * ROWS, 5)) * 10.0 ** rng.uniform(-3, 3, (1, 5))).astype("float32")
    y = rng.normal(size=(STEPS * ROWS, 3)).astype("float32")
    init = tf.keras.initializers.GlorotUniform(seed=4)
    with strategy.scope():
        model = tf.keras.Sequential(
            [
                tf.keras.Input((5,), name="in"),
                tf.keras.layers.Dense(6, "tanh", kernel_initializer=init, name="first"),
                tf.keras.layers.Dropout(0.3, seed=5, name="drop"),
                tf.keras.layers.Dense(3, kernel_initializer=init, name="second"),
            ],
            name="small",
        )
        model.compile(tf.keras.optimizers.Adam(0.01, name="adam"), "mse", metrics=["mae"])
    calls = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: after_step(b))
    history = model.fit(
        x, y, batch_size=ROWS, epochs=2, shuffle=False, verbose=0, callbacks=[calls]
    )
    sha = hashlib.sha256(repr(history.history).encode())
    for array in [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


@pytest.fixture(scope="module")
def golden():
    return train(tf.distribute.MirroredStrategy(logical_replicas=REPLICAS))


class Killed(BaseException):
    """A worker vanishes."""


class Cluster:
    """A coordinator, and workers as threads."""

    def __init__(self, monkeypatch):
        self.coordinator = Coordinator(Membership(1, 4), token=TOKEN)
        self.jobs, self.threads, self.results, self.faults = {}, {}, {}, {}
        self.audit_rate, self.speculate = 0.0, None
        monkeypatch.setattr(faults, "reach", self.reach)

    def reach(self, phase, position=None):
        slot = next((s for s, t in self.threads.items() if t is threading.current_thread()), None)
        fault = self.faults.get(slot)
        if fault is None or fault[0] != phase or self.jobs[slot].position < fault[1]:
            return
        del self.faults[slot]
        self.jobs[slot].group.drop()
        self.coordinator.slot_ended(slot)
        raise Killed

    def start(self, slots, after_step=lambda slot, step: None):
        for slot in slots:
            self.coordinator.slot_started(slot)
        for slot in slots:
            self.threads[slot] = threading.Thread(target=self.run, args=(slot, after_step))
        for slot in slots:
            self.threads[slot].start()

    def run(self, slot, after_step):
        settings = Settings(
            job="threads", token=TOKEN, host="127.0.0.1", num_replicas=REPLICAS,
            silence_seconds=20.0, timeout_seconds=20.0, join_seconds=30.0,
            audit_rate=self.audit_rate, speculate=self.speculate,
        )  # fmt: skip
        member = Member(self.coordinator.address, token=TOKEN, slot=slot)
        job = self.jobs[slot] = ElasticJob(member, settings)
        is_finished = False
        try:
            strategy = ElasticStrategy(job=job)
            self.results[slot] = train(strategy, lambda step: after_step(slot, step))
            is_finished = True
        except BaseException as error:  # noqa: BLE001 - a result
            self.results[slot] = error
        finally:
            job.close(is_finished=is_finished)

    def end(self):
        for thread in list(self.threads.values()):
            thread.join(60)
            assert not thread.is_alive()
        self.coordinator.close(0.0)
        return self.results


@pytest.fixture
def cluster(monkeypatch):
    return Cluster(monkeypatch)


def test_three_workers_give_the_golden_hash(cluster, golden):
    cluster.start([0, 1, 2])
    assert cluster.end() == {0: golden, 1: golden, 2: golden}


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize(
    ("phase", "position"),
    [
        ("before-compute", 18),
        ("before-reduce", 19),
        ("before-commit", 20),
        ("after-commit", 21),
    ],
)
def test_a_lost_worker_changes_nothing(cluster, golden, phase, position, victim):
    cluster.faults[victim] = (phase, position)
    cluster.start([0, 1, 2])
    results = cluster.end()
    assert isinstance(results.pop(victim), Killed), results
    assert list(results.values()) == [golden] * 2
    assert max(job.position for job in cluster.jobs.values()) == len(cluster.jobs[2].record)


def test_two_of_three_lost_in_one_step_change_nothing(cluster, golden):
    cluster.faults = {0: ("before-reduce", 19), 1: ("before-commit", 19)}
    cluster.start([0, 1, 2])
    assert cluster.end()[2] == golden


def test_a_newcomer_takes_part_and_sees_the_same_history(cluster, golden):
    inside = threading.Event()

    def after_step(slot, step):
        # The second step lets a newcomer in; the others go on when it stands at the door.
        if slot == 0 and step == 1 and not inside.is_set():
            inside.set()
            cluster.start([2])
            for _ in range(2000):
                if cluster.jobs[0].member.is_awaited:
                    break
                threading.Event().wait(0.01)

    cluster.start([0, 1], after_step)
    results = cluster.end()
    assert results == {0: golden, 1: golden, 2: golden}
    assert cluster.jobs[2]._last.number >= 2


def test_a_worker_that_leaves_has_done_its_step(cluster, golden):
    def after_step(slot, step):
        if slot == 1 and step == 2:
            cluster.jobs[1].is_leaving = True

    cluster.start([0, 1, 2], after_step)
    results = cluster.end()
    left = results.pop(1)
    assert isinstance(left, SystemExit)
    assert left.code == 143
    assert results == {0: golden, 2: golden}


def test_an_error_of_the_program_ends_all_workers(cluster):
    def after_step(slot, step):
        if slot == 1 and step == 2:
            cluster.jobs[1].group.communicator.abort(ValueError("boom"))
            raise ValueError("boom")

    cluster.start([0, 1, 2], after_step)
    results = cluster.end()
    assert isinstance(results[1], ValueError)
    for slot in (0, 2):
        assert isinstance(results[slot], tf.errors.AbortedError)
        assert "boom" in str(results[slot])


def test_a_loss_names_the_worker_its_process_and_its_host(cluster, golden, caplog):
    cluster.faults[1] = ("before-reduce", 19)
    with caplog.at_level("INFO", logger="distflow"):
        logger = log.get_logger()
        logger.addHandler(caplog.handler)
        try:
            cluster.start([0, 1])
            assert cluster.end()[0] == golden
        finally:
            logger.removeHandler(caplog.handler)
    (said,) = [r.getMessage() for r in caplog.records if "generation 1 ends" in r.getMessage()][:1]
    assert f"worker 1 (process {os.getpid()} on {socket.gethostname()})" in said
    assert "all_reduce" in said


def test_a_slow_worker_holds_fewer_replicas_with_equal_bits(cluster, golden, monkeypatch):
    note = ElasticStrategy._note_cost

    def note_cost(self, seconds):
        note(self, 5.0 if self._job.member.slot == 1 else 1.0)

    monkeypatch.setattr(ElasticStrategy, "_note_cost", note_cost)
    cluster.start([0, 1])
    assert cluster.end() == {0: golden, 1: golden}
    assert [cluster.jobs[slot]._last.replicas for slot in (0, 1)] == [(0, 1, 2), (3,)]


def test_another_placement_in_every_step_changes_no_bits(cluster, golden, monkeypatch):
    seen = []

    def better_than(self, placement):
        rng = random.Random(self._num_heard)  # the same on all workers
        owners = [0, 1, 2, rng.randrange(3)]
        rng.shuffle(owners)
        seen.append(tuple(owners))
        return Placement(REPLICAS, 3, tuple(owners))

    monkeypatch.setattr(Speeds, "better_than", better_than)
    cluster.start([0, 1, 2])
    assert cluster.end() == {0: golden, 1: golden, 2: golden}
    assert len(set(seen)) > 6


def test_a_late_worker_is_not_waited_for_and_comes_back(cluster, golden, monkeypatch):
    cluster.speculate = 2.0
    is_let_go = threading.Event()
    reach = cluster.reach

    def stalled(phase, position=None):
        mine = threading.current_thread() is cluster.threads.get(1)
        if mine and phase == "before-compute" and cluster.jobs[1].steps == 6:
            assert is_let_go.wait(60)
        reach(phase, position)

    def after_step(slot, step):
        # Two steps later, which the others have done without it, the late one goes on.
        if slot == 0 and cluster.jobs[0].steps == 8 and not is_let_go.is_set():
            is_let_go.set()
            for _ in range(2000):
                if cluster.jobs[0].member.is_awaited:
                    break
                threading.Event().wait(0.01)

    monkeypatch.setattr(faults, "reach", stalled)
    cluster.start([0, 1, 2], after_step)
    assert cluster.end() == {0: golden, 1: golden, 2: golden}
    assert cluster.jobs[0].speculation.num_replicas >= 1
    assert cluster.jobs[1]._last.number >= 3  # it is in the job again


@pytest.fixture
def audited(cluster, monkeypatch):
    """Audits every step."""
    cluster.audit_rate = 1.0
    return cluster


def test_audits_change_no_bits(audited, golden):
    audited.start([0, 1, 2])
    assert audited.end() == {0: golden, 1: golden, 2: golden}


def test_audited_steps_are_counted_once(audited, monkeypatch):
    def loop(strategy, after_step):
        with strategy.scope():
            total = tf.Variable(0.0, aggregation=tf.VariableAggregation.SUM)
        for _ in range(4):
            strategy.run(lambda: total.assign_add(1.0))
        return float(total)

    monkeypatch.setitem(globals(), "train", loop)
    before = metrics.steps.value
    audited.start([0, 1, 2])
    assert audited.end() == dict.fromkeys(range(3), 4.0 * REPLICAS)
    assert metrics.steps.value - before == 3 * 4


def test_audits_do_not_compare_how_often_each_worker_has_saved(audited, monkeypatch, tmp_path):
    def loop(strategy, after_step):
        with strategy.scope():
            total = tf.Variable(0.0, aggregation=tf.VariableAggregation.SUM)
            checkpoint = tf.train.Checkpoint(total=total)
        for _ in range(4):
            strategy.run(lambda: total.assign_add(1.0))
            if strategy.is_chief:
                checkpoint.save(tmp_path / "c")
        return float(total)

    monkeypatch.setitem(globals(), "train", loop)
    with flags.override(DISTFLOW_ELASTIC=(1, 4)):
        audited.start([0, 1, 2])
        assert audited.end() == dict.fromkeys(range(3), 4.0 * REPLICAS)
    assert tf.train.latest_checkpoint(tmp_path).endswith("c-4")


def test_a_worker_lost_in_an_audited_step_changes_nothing(audited, golden):
    audited.faults[1] = ("before-reduce", 20)
    audited.start([0, 1, 2])
    results = audited.end()
    assert isinstance(results.pop(1), Killed)
    assert list(results.values()) == [golden] * 2


@pytest.fixture
def flipped(monkeypatch):
    """A bit flips in each gradient that worker 1 gives in event 20, whichever replica it is of."""
    compute = ElasticStrategy.reduce_rows

    def reduce_rows(self, rows, *arguments, **more):
        if self._job.member.slot == 1 and self._job.position == 20:
            for array in next(iter(rows)):
                array.reshape(-1)[:1] += 1e-3
        return compute(self, rows, *arguments, **more)

    monkeypatch.setattr(ElasticStrategy, "reduce_rows", reduce_rows)


def test_an_audit_names_the_worker_that_computes_wrong(audited, flipped):
    audited.start([0, 1, 2])
    results = audited.end()
    assert all(isinstance(error, tf.errors.OpError) for error in results.values()), results
    said = str(results[0])
    assert "step 1 (event 20), computed again" in said
    assert re.search(r"others from worker 1 \([^)]*\) alone;", said), said
    assert "small_second" in said  # a variable that differs


def test_an_audit_of_two_workers_says_that_it_cannot_tell(audited, flipped):
    audited.start([0, 1])
    said = str(audited.end()[0])
    assert "cannot be told, as there are two (worker 0" in said
    assert "alone" not in said


def test_an_audit_names_the_worker_whose_update_differs(audited, monkeypatch):
    run = ElasticStrategy._run_some

    def run_some(self, *arguments):
        results = run(self, *arguments)
        if self._job.member.slot == 2 and self._job.position == 20:
            kernel = next(v for _, v in self._job.state._living() if "second/kernel" in v.name)
            kernel.storage.restore(kernel.storage.read() + np.float32(1e-3))
        return results

    monkeypatch.setattr(ElasticStrategy, "_run_some", run_some)
    audited.start([0, 1, 2])
    said = str(audited.end()[0])
    assert re.search(r"others from worker 2 \([^)]*\) alone;", said), said
    assert "replicas that differ: none; variables that differ: 'small/second/kernel" in said


def test_the_share_of_audited_steps_is_the_rate():
    due = sum(elastic_audit.is_due(position, 0.1) for position in range(10_000))
    assert abs(due - 1000) < 150
    assert not any(elastic_audit.is_due(position, 0.0) for position in range(100))

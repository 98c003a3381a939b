"""Threads of replicas: they stay from step to step, end with their strategy, and may be lost."""

import gc
import threading
import weakref

import pytest

from distflow.base import errors, flags
from distflow.distribute import MirroredStrategy, get_replica_context, get_strategy
from distflow.distribute.threads import ReplicaThreads


def identities(strategy):
    return list(strategy.run(threading.get_ident).values)


def test_steps_share_their_threads():
    strategy = MirroredStrategy(logical_replicas=3)
    assert identities(strategy) == identities(strategy)


def test_a_failed_step_leaves_the_threads_usable():
    strategy = MirroredStrategy(logical_replicas=3)
    before = identities(strategy)

    def step():
        if get_replica_context().replica_id_in_sync_group == 1:
            raise ZeroDivisionError("one")

    with pytest.raises(ZeroDivisionError):
        strategy.run(step)
    assert identities(strategy) == before
    assert get_strategy() is not strategy


def test_a_replica_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr("distflow.distribute.run_eager.STOP_SECONDS", 0.1)
    release = threading.Event()
    with flags.override(DISTFLOW_TIMEOUT=0.2):
        strategy = MirroredStrategy(logical_replicas=2)
    before = identities(strategy)

    def step():
        replica = get_replica_context()
        if replica.replica_id_in_sync_group == 1:
            release.wait(30)
        else:
            replica.all_reduce("sum", 1.0)

    with pytest.raises(errors.WorkerLateError, match="replica 1"):
        strategy.run(step)
    assert before[1] not in identities(strategy)
    release.set()


def test_calls_from_two_threads_do_not_wait_for_each_other():
    strategy = MirroredStrategy(logical_replicas=2)
    inside, found = threading.Barrier(2), []

    def step():
        if get_replica_context().replica_id_in_sync_group == 0:
            inside.wait(30)
        return get_replica_context().all_reduce("sum", 1.0)

    def call():
        found.append(strategy.run(step))

    callers = [threading.Thread(target=call, daemon=True) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert [float(v) for result in found for v in result.values] == [2.0] * 4


def test_threads_end_with_their_strategy():
    strategy = MirroredStrategy(logical_replicas=2)
    wanted = set(identities(strategy))
    threads = [t for t in threading.enumerate() if t.ident in wanted]
    assert len(threads) == 2
    del strategy
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_work_is_dropped_before_the_next_wait():
    class Big:
        pass

    big = Big()
    gone = threading.Event()
    threads = ReplicaThreads(["one"])

    def work(index, held=big):
        pass

    weakref.finalize(big, gone.set)
    threads.start(work).acquire(timeout=10)
    del work, big
    assert gone.wait(10)
    threads.close()

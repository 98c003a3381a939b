"""strategy.run with eager replicas: turns, meetings, reductions, errors."""

import threading

import numpy as np
import pytest

from distflow.autodiff import GradientTape
from distflow.base import errors, flags
from distflow.core.convert import constant
from distflow.core.variable import Variable, VariableAggregation, VariableSynchronization
from distflow.distribute import (
    MirroredStrategy,
    ReduceOp,
    get_replica_context,
    get_strategy,
    has_strategy,
    in_cross_replica_context,
)
from distflow.distribute.values import PerReplica


def mirrored(count=4):
    return MirroredStrategy(logical_replicas=count)


def replica_number():
    return get_replica_context().replica_id_in_sync_group


def test_run_calls_the_function_once_a_replica():
    result = mirrored(3).run(lambda: constant(float(replica_number())))
    assert [float(v) for v in result.values] == [0.0, 1.0, 2.0]


def test_python_code_of_replicas_runs_one_at_a_time_lowest_first():
    order, inside = [], []

    def step():
        inside.append(1)
        assert len(inside) == 1
        order.append(replica_number())
        inside.pop()

    mirrored(4).run(step)
    assert order == [0, 1, 2, 3]


def test_all_reduce_sums_over_replicas():
    def step():
        return get_replica_context().all_reduce("sum", constant([float(replica_number()), 1.0]))

    result = mirrored(4).run(step)
    for value in result.values:
        np.testing.assert_array_equal(value, [6.0, 4.0])


@pytest.mark.parametrize(("op", "expected"), [("MEAN", 1.5), ("MAX", 3.0), ("MIN", 0.0)])
def test_all_reduce_operations(op, expected):
    result = mirrored(4).run(
        lambda: get_replica_context().all_reduce(ReduceOp[op], constant(float(replica_number())))
    )
    assert float(result.values[2]) == expected


def test_gradient_of_all_reduce_is_all_reduce_of_the_gradient():
    def step():
        x = constant(2.0)
        with GradientTape() as tape:
            tape.watch(x)
            total = get_replica_context().all_reduce("sum", x * x)
            loss = total * (replica_number() + 1.0)
        return tape.gradient(loss, x)

    # d(sum of all losses)/dx_i = (1 + 2 + 3) * 2 x_i
    for value in mirrored(3).run(step).values:
        assert float(value) == 24.0


def test_reduce_over_replicas_and_an_axis():
    strategy = mirrored(3)
    value = strategy.run(lambda: constant([1.0, 2.0]) * (replica_number() + 1.0))
    np.testing.assert_array_equal(strategy.reduce("SUM", value), [6.0, 12.0])
    assert float(strategy.reduce("SUM", value, axis=0)) == 18.0
    assert float(strategy.reduce("MEAN", value, axis=0)) == 3.0


def test_reduce_refuses_a_value_of_no_replica():
    with pytest.raises(errors.InvalidArgumentError, match="values of replicas"):
        mirrored(2).reduce("SUM", constant(1.0))


def test_gather_joins_in_order_of_replicas():
    strategy = mirrored(3)
    value = strategy.run(lambda: constant([[float(replica_number())]] * (replica_number() + 1)))
    gathered = strategy.gather(value, axis=0)
    np.testing.assert_array_equal(gathered[:, 0], [0, 1, 1, 2, 2, 2])


def test_per_replica_arguments_are_taken_apart():
    strategy = mirrored(2)
    value = PerReplica([constant(1.0), constant(5.0)])
    result = strategy.run(lambda d, k: d["x"] * k, args=({"x": value},), kwargs={"k": 2.0})
    assert [float(v) for v in result.values] == [2.0, 10.0]


def test_the_first_error_of_a_replica_ends_all():
    def step():
        if replica_number() == 1:
            raise ZeroDivisionError("replica 1 is broken")
        get_replica_context().all_reduce("sum", constant(1.0))

    with pytest.raises(ZeroDivisionError, match="replica 1 is broken"):
        mirrored(4).run(step)


def test_a_replica_that_skips_a_collective_is_an_error():
    def step():
        if replica_number() != 2:
            get_replica_context().all_reduce("sum", constant(1.0))

    with pytest.raises(errors.CollectiveMismatchError, match="replica 2"):
        mirrored(3).run(step)


def test_replicas_in_different_collectives_are_an_error():
    def step():
        op = "sum" if replica_number() else "mean"
        get_replica_context().all_reduce(op, constant(1.0))

    with pytest.raises(errors.CollectiveMismatchError, match="all replicas must do the same"):
        mirrored(2).run(step)


def test_a_late_replica_is_named():
    release = threading.Event()

    def step():
        if replica_number() == 1:
            release.wait(20)
        else:
            get_replica_context().all_reduce("sum", constant(1.0))

    with flags.override(DISTFLOW_TIMEOUT=0.2):
        with pytest.raises(errors.WorkerLateError, match=r"waited 0\.2 s for replica 1"):
            mirrored(2).run(step)
    release.set()


def test_run_inside_run_is_refused():
    strategy = mirrored(2)
    with pytest.raises(RuntimeError, match=r"must not be called inside strategy\.run"):
        strategy.run(lambda: strategy.run(lambda: None))


def test_contexts():
    strategy = mirrored(2)
    assert not has_strategy()
    assert get_replica_context().num_replicas_in_sync == 1
    with strategy.scope():
        assert get_strategy() is strategy
        assert in_cross_replica_context()
        assert get_replica_context() is None

    def step():
        assert get_strategy() is strategy
        assert not in_cross_replica_context()
        return get_replica_context().num_replicas_in_sync

    assert strategy.run(step) == 2


def test_merge_call_sees_the_values_of_all_replicas():
    def merge(strategy, value):
        assert in_cross_replica_context()
        return strategy.reduce("SUM", value)

    result = mirrored(3).run(
        lambda: get_replica_context().merge_call(merge, args=(constant(replica_number() + 1.0),))
    )
    assert [float(v) for v in result.values] == [6.0] * 3


@pytest.mark.parametrize(
    ("aggregation", "expected"), [("SUM", 6.0), ("MEAN", 1.5), ("ONLY_FIRST_REPLICA", 0.0)]
)
def test_assignment_in_replicas_is_aggregated(aggregation, expected):
    strategy = mirrored(4)
    with strategy.scope():
        v = Variable(10.0, aggregation=VariableAggregation[aggregation])
    strategy.run(lambda: v.assign(constant(float(replica_number()))))
    assert float(v) == expected


def test_nobody_reads_a_value_too_new():
    strategy = mirrored(4)
    with strategy.scope():
        v = Variable(1.0, aggregation=VariableAggregation.SUM)

    def step():
        before = v.value()
        v.assign_add(constant(1.0))
        return before, v.value()

    before, after = strategy.run(step)
    assert [float(x) for x in before.values] == [1.0] * 4
    assert [float(x) for x in after.values] == [5.0] * 4


def test_assignment_without_aggregation_says_what_to_write():
    strategy = mirrored(2)
    with strategy.scope():
        v = Variable(1.0, name="w")
    with pytest.raises(errors.InvalidArgumentError, match=r"aggregation=tf\.VariableAggregation"):
        strategy.run(lambda: v.assign(2.0))


def test_on_read_variables_are_summed_when_read_between_replicas():
    strategy = mirrored(3)
    with strategy.scope():
        v = Variable(
            5.0,
            synchronization=VariableSynchronization.ON_READ,
            aggregation=VariableAggregation.SUM,
        )
    assert not v.trainable
    assert float(v) == 5.0

    def step():
        v.assign_add(replica_number() + 1.0)
        return v.value()

    inside = strategy.run(step)
    assert [float(x) for x in inside.values] == [6.0, 2.0, 3.0]
    assert float(v) == 11.0
    v.assign(0.0)
    assert float(v) == 0.0


def test_v_follows_the_environment(monkeypatch):
    monkeypatch.setenv("DISTFLOW_REPLICAS", "5")
    assert MirroredStrategy().num_replicas_in_sync == 5
    assert MirroredStrategy(["/cpu:0"], logical_replicas=2).num_replicas_in_sync == 2
    monkeypatch.delenv("DISTFLOW_REPLICAS")
    assert MirroredStrategy(["/cpu:0", "/cpu:1"]).num_replicas_in_sync == 2
    assert MirroredStrategy().num_replicas_in_sync == 1


def test_a_number_of_replicas_below_one_is_refused():
    with pytest.raises(errors.InvalidArgumentError, match=">= 1"):
        MirroredStrategy(logical_replicas=-1)


def test_devices_that_are_not_the_cpu_are_refused():
    with pytest.raises(errors.InvalidArgumentError, match="/gpu:0"):
        MirroredStrategy(["/gpu:0", "/gpu:1"])


def test_one_replica_assigns_without_an_aggregation():
    strategy = mirrored(1)
    with strategy.scope():
        v = Variable(1.0)
    strategy.run(lambda: v.assign_add(2.0))
    assert float(v) == 3.0


def test_a_mean_leaves_out_replicas_without_data():
    rows = [[np.array([4.0])], None, [np.array([8.0])]]
    found = mirrored(3).reduce_rows(rows, ReduceOp.MEAN, "a mean")
    assert found[0].tolist() == [6.0]

"""Replicas inside tf.function: traced once, run side by side, equal to eager ones."""

import numpy as np
import pytest

from distflow.autodiff import GradientTape
from distflow.core.convert import constant
from distflow.core.variable import Variable, VariableAggregation
from distflow.distribute import MirroredStrategy, get_replica_context
from distflow.distribute.values import PerReplica
from distflow.function import function
from distflow.ops import reduce


def mirrored(count=4):
    return MirroredStrategy(logical_replicas=count)


def test_a_compiled_function_is_traced_once_for_all_replicas():
    traces = []

    @function
    def step(x):
        traces.append(1)
        return x * 2.0

    strategy = mirrored(3)
    value = PerReplica([constant(float(i)) for i in range(3)])
    result = strategy.run(step, args=(value,))
    assert [float(v) for v in result.values] == [0.0, 2.0, 4.0]
    assert len(traces) == 1


def test_all_reduce_in_a_compiled_function():
    @function
    def step(x):
        return get_replica_context().all_reduce("sum", x)

    strategy = mirrored(4)
    value = PerReplica([constant([float(i)]) for i in range(4)])
    for _ in range(2):
        result = strategy.run(step, args=(value,))
        assert [float(v[0]) for v in result.values] == [6.0] * 4


def test_the_replica_number_is_not_baked_into_a_trace():
    @function
    def step():
        return get_replica_context().replica_id_in_sync_group * 10

    assert [int(v) for v in mirrored(3).run(step).values] == [0, 10, 20]


def test_assignment_meets_in_a_compiled_function():
    strategy = mirrored(4)
    with strategy.scope():
        v = Variable(1.0, aggregation=VariableAggregation.SUM)

    @function
    def step(x):
        before = v.value()
        v.assign_add(x)
        return before, v.value()

    value = PerReplica([constant(float(i)) for i in range(4)])
    before, after = strategy.run(step, args=(value,))
    assert [float(x) for x in before.values] == [1.0] * 4
    assert [float(x) for x in after.values] == [7.0] * 4


def test_a_trace_of_one_strategy_does_not_serve_another():
    @function
    def step():
        return constant(float(get_replica_context().num_replicas_in_sync))

    assert [float(v) for v in mirrored(2).run(step).values] == [2.0] * 2
    assert [float(v) for v in mirrored(3).run(step).values] == [3.0] * 3


def test_run_and_reduce_inside_a_function():
    strategy = mirrored(4)
    with strategy.scope():
        v = Variable(2.0)

    @function
    def whole_step(inputs):
        def replica_step(x):
            with GradientTape() as tape:
                loss = reduce.reduce_sum(x * v)
            gradient = tape.gradient(loss, v)
            get_replica_context().apply_once(
                lambda total, variables: variables[0].assign_sub(0.5 * total[0]), [gradient], [v]
            )
            return loss

        return strategy.reduce("SUM", strategy.run(replica_step, args=(inputs,)))

    value = PerReplica([constant([1.0 * i, 1.0]) for i in range(4)])
    assert float(whole_step(value)) == 20.0
    assert float(v) == 2.0 - 0.5 * 10.0
    assert float(whole_step(value)) == -30.0


def test_an_error_inside_a_compiled_replica_ends_all():
    from distflow.ops import debugging

    @function
    def step(x):
        debugging.assert_greater(x, constant(0.0))
        return get_replica_context().all_reduce("sum", x)

    value = PerReplica([constant(1.0), constant(-1.0)])
    with pytest.raises(Exception, match="did not hold"):
        mirrored(2).run(step, args=(value,))


def test_gradients_summed_in_the_tree_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=1000).astype("float32") * 10.0 ** rng.integers(-6, 6) for _ in range(7)]

    @function
    def step(x):
        return get_replica_context().all_reduce("sum", x)

    result = mirrored(7).run(step, args=(PerReplica([constant(r) for r in rows]),))
    a, b, c, d, e, f, g = rows
    expected = ((a + b) + (c + d)) + ((e + f) + g)
    for value in result.values:
        assert value.numpy().tobytes() == expected.tobytes()

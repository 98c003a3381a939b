"""strategy.extended, options and names of TF's strategies; expectations are what TF 2.21 gives."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors
from distflow.distribute import MirroredStrategy, OneDeviceStrategy
from tests.distribute.workers import on_threads

D = tf.distribute
ON_READ = tf.VariableSynchronization.ON_READ
SUM = tf.VariableAggregation.SUM
INSIDE = "requires being in cross-replica context, use get_replica_context"


@pytest.fixture
def strategy():
    return MirroredStrategy(["CPU:0", "CPU:1"])


def number():
    return tf.cast(D.get_replica_context().replica_id_in_sync_group, tf.float32)


# -- extended --------------------------------------------------------------------------------------


def test_each_replica_has_a_device(strategy):
    devices = tuple(f"/job:localhost/replica:0/task:0/device:CPU:{i}" for i in range(2))
    assert strategy.extended.worker_devices == strategy.extended.parameter_devices == devices
    assert not strategy.extended.experimental_require_static_shapes


def test_variables_know_the_strategy_that_they_were_made_under(strategy):
    with strategy.scope():
        mirrored = tf.Variable(1.0)
        on_read = tf.Variable(1.0, synchronization=ON_READ, aggregation=SUM)
    plain, default = tf.Variable(1.0), D.get_strategy()
    assert strategy.extended.variable_created_in_scope(mirrored)
    assert strategy.extended.variable_created_in_scope(on_read)
    assert not strategy.extended.variable_created_in_scope(plain)
    assert not MirroredStrategy(2).extended.variable_created_in_scope(mirrored)
    assert default.extended.variable_created_in_scope(plain)
    assert not default.extended.variable_created_in_scope(mirrored)
    assert strategy.extended.value_container(mirrored) is mirrored


def test_merge_call_sums_and_updates_once(strategy):
    with strategy.scope():
        v = tf.Variable([1.0, 2.0])

    def merge(strategy, given):
        extended = strategy.extended
        total = extended.reduce_to("SUM", given, v)
        (mean, _) = extended.batch_reduce_to(D.ReduceOp.MEAN, [(given, v), (given, given)])
        np.testing.assert_array_equal(mean, [1.5, 15.0])
        updated = extended.update(v, lambda var, x: var.assign_add(x), args=(total,))
        return updated, 7

    def step():
        given = tf.constant([1.0, 10.0]) * (1.0 + number())
        return D.get_replica_context().merge_call(merge, args=(given,))[1]

    assert strategy.experimental_local_results(strategy.run(step))[0] == 7
    np.testing.assert_array_equal(v, [4.0, 32.0])


def test_updates_by_values_that_differ_are_refused(strategy):
    with strategy.scope():
        v = tf.Variable(1.0)
    different = strategy.run(number)
    with pytest.raises(ValueError, match="reduce_to") as caught:
        strategy.extended.update(v, lambda var, x: var.assign(x), args=(different,))
    assert isinstance(caught.value, errors.InvalidArgumentError)
    assert float(v) == 1


def test_variables_of_others_are_not_updated(strategy):
    with pytest.raises(ValueError, match="made in the scope of"):
        strategy.extended.update(tf.Variable(1.0), lambda v: v.assign(2.0))
    with pytest.raises(ValueError, match="made in the scope of"), \
            strategy.extended.colocate_vars_with(tf.Variable(1.0)):  # fmt: skip
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.reduce("SUM", tf.constant(1.0), None),
        lambda s: s.gather(tf.constant([1.0]), 0),
        lambda s: s.extended.reduce_to("SUM", tf.constant(1.0), None),
        lambda s: s.extended.broadcast_to(tf.constant(1.0), None),
        lambda s: s.experimental_distribute_dataset(tf.data.Dataset.range(4).batch(2)),
        lambda s: s.distribute_datasets_from_function(lambda c: tf.data.Dataset.range(4)),
    ],
    ids=["reduce", "gather", "reduce_to", "broadcast_to", "dataset", "function"],
)
def test_what_belongs_between_replicas_is_refused_inside_one(strategy, call):
    with pytest.raises(RuntimeError, match=INSIDE):
        strategy.run(lambda: call(strategy))


def test_workers_know_who_writes():
    def work(strategy):
        extended = strategy.extended
        return extended.should_checkpoint, extended.should_save_summary

    assert on_threads(2, 4, work) == [(True, True), (False, False)]


def test_the_default_strategy_has_it_too():
    strategy = D.get_strategy()
    v = tf.Variable(2.0)
    strategy.extended.update(v, lambda var, x: var.assign_add(x), args=(3.0,))
    assert float(v) == 5
    assert float(strategy.extended.reduce_to("SUM", tf.constant(3.0), v)) == 3
    assert len(strategy.extended.worker_devices) == 1


def test_older_names_are_the_new_ones(strategy):
    result = strategy.experimental_run_v2(number)
    assert [float(x) for x in strategy.unwrap(result)] == [0, 1]
    assert strategy.group(result) is result
    found = strategy.experimental_distribute_datasets_from_function(
        lambda context: tf.data.Dataset.range(4).batch(context.get_per_replica_batch_size(4))
    )
    assert [p.numpy().tolist() for p in next(iter(found)).values] == [[0, 1], [2, 3]]


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ops", [None, D.HierarchicalCopyAllReduce(), D.HierarchicalCopyAllReduce(num_packs=2),
            D.ReductionToOneDevice()],
)  # fmt: skip
def test_cross_device_ops_do_not_change_a_bit(ops):
    rng = np.random.default_rng(1)
    leaves = (rng.normal(size=(5, 7)) * 10.0 ** rng.uniform(-3, 3, (5, 7))).astype("float32")
    strategy = MirroredStrategy(5, cross_device_ops=ops)
    given = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(leaves[context.replica_id_in_sync_group])
    )
    pairs = (leaves[0] + leaves[1]) + (leaves[2] + leaves[3])
    np.testing.assert_array_equal(strategy.reduce("SUM", given, None), pairs + leaves[4])
    if ops is not None:
        with strategy.scope():
            np.testing.assert_array_equal(ops.reduce("SUM", given, None), pairs + leaves[4])


def test_wrong_cross_device_ops_are_refused():
    with pytest.raises(ValueError, match="num_packs >= 0"):
        D.HierarchicalCopyAllReduce(num_packs=-1)
    with pytest.raises(ValueError, match="connects GPUs"):
        D.NcclAllReduce()
    with pytest.raises(ValueError, match="accumulation_fn=None"):
        D.ReductionToOneDevice(accumulation_fn=sum)
    with pytest.raises(ValueError, match="must be a CPU"):
        D.ReductionToOneDevice("/gpu:0")
    with pytest.raises(ValueError, match=r"cross_device_ops must be a tf.distribute.Cross"):
        MirroredStrategy(2, cross_device_ops=3)


def test_options_have_tfs_defaults():
    options = D.InputOptions()
    assert options.experimental_replication_mode is D.InputReplicationMode.PER_WORKER
    assert options.experimental_per_replica_buffer_size == 1
    assert not options.experimental_place_dataset_on_device
    assert D.RunOptions().experimental_enable_dynamic_batch_size
    context = D.InputContext()
    assert (context.num_input_pipelines, context.input_pipeline_id) == (1, 0)
    assert context.get_per_replica_batch_size(8) == 8


@pytest.mark.parametrize(
    "arguments",
    [
        {"experimental_replication_mode": "PER_REPLICA"},
        {"experimental_place_dataset_on_device": True},
        {"experimental_per_replica_buffer_size": 0},
    ],
)
def test_wrong_input_options_are_refused(arguments):
    with pytest.raises(errors.InvalidArgumentError, match="experimental_"):
        D.InputOptions(**arguments)


def test_options_of_another_kind_are_refused(strategy):
    data = tf.data.Dataset.range(4).batch(2)
    with pytest.raises(ValueError, match=r"must be tf.distribute.RunOptions"):
        strategy.run(lambda: 1, options=3)
    with pytest.raises(ValueError, match=r"must be tf.distribute.InputOptions"):
        strategy.experimental_distribute_dataset(data, D.RunOptions())
    with pytest.raises(ValueError, match="PER_REPLICA calls a function"):
        strategy.experimental_distribute_dataset(
            data, D.InputOptions(experimental_replication_mode=D.InputReplicationMode.PER_REPLICA)
        )
    strategy.run(lambda: 1, options=D.RunOptions())


# -- gathering -------------------------------------------------------------------------------------


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_gradient_of_all_gather_is_each_replicas_share_of_the_sum(traced, workers):
    """By hand: d/dx_r of sum over k of (k + 1) * sum(y * weights) is 6 * weights' rows of r."""
    weights = np.arange(1.0, 7.0, dtype="float32")[:, None]

    def step(x):
        context = D.get_replica_context()
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = context.all_gather(x, 0)
            loss = tf.reduce_sum(y * weights) * (1.0 + number())
        return tape.gradient(loss, x)

    def work(strategy):
        # Replica r gives r + 1 rows.
        given = strategy.experimental_distribute_values_from_function(
            lambda context: tf.ones((context.replica_id_in_sync_group + 1, 1))
        )
        found = strategy.run(tf.function(step) if traced else step, args=(given,))
        parts = strategy.experimental_local_results(found)
        return {r: p.numpy() for r, p in zip(strategy.local_replicas, parts)}

    found = {}
    for parts in on_threads(workers, 3, work):
        assert isinstance(parts, dict), parts
        found |= parts
    for replica, rows in enumerate([slice(0, 1), slice(1, 3), slice(3, 6)]):
        np.testing.assert_array_equal(found[replica], 6 * weights[rows])


def test_one_device_gathers_its_own():
    strategy = OneDeviceStrategy("/cpu:0")
    np.testing.assert_array_equal(strategy.gather(tf.constant([[1.0, 2.0]]), 1), [[1, 2]])

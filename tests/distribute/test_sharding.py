"""Each element is used once an epoch, on any number of workers, and after any interruption."""

import collections
import itertools

import numpy as np
import pytest

import distflow as tf
from distflow.distribute import MirroredStrategy
from tests.distribute.workers import digest, on_threads

K = tf.keras
POLICY = tf.data.experimental.AutoShardPolicy
V, FILES, ROWS, BATCH = 5, 7, 9, 12
IDS = list(range(FILES * ROWS))


def with_policy(dataset, policy):
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = policy
    return dataset.with_options(options)


@pytest.fixture
def names(tmp_path):
    paths = []
    for i in range(FILES):
        paths.append(str(tmp_path / f"{i}.raw"))
        np.arange(i * ROWS, (i + 1) * ROWS, dtype=np.int64).tofile(paths[-1])
    return paths


def read(name):
    def rows(path):
        # Not np.load: parsing its header fails now and then in several threads (CPython 3.11).
        yield from np.fromfile(path.decode(), np.int64)

    return tf.data.Dataset.from_generator(
        rows, args=(name,), output_signature=tf.TensorSpec((), tf.int64)
    )


def pipeline(names, policy):
    ds = tf.data.Dataset.from_tensor_slices(names).shuffle(FILES).interleave(read, cycle_length=3)
    return with_policy(ds.shuffle(8).batch(BATCH), policy)


def steps_of(strategy, dataset, epochs=1):
    """Returns the ids of each local replica, step by step."""
    distributed = strategy.experimental_distribute_dataset(dataset)
    seen = []
    for _ in range(epochs):
        for element in distributed:
            parts = strategy.experimental_local_results(element)
            seen.append({r: p.numpy().tolist() for r, p in zip(strategy.local_replicas, parts)})
    return seen


def by_replica(workers):
    """Returns {(step, replica): ids} of all workers."""
    found = {}
    for steps in workers:
        if isinstance(steps, BaseException):
            raise steps
        for number, parts in enumerate(steps):
            found |= {(number, replica): ids for replica, ids in parts.items()}
    return found


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("policy", [POLICY.AUTO, POLICY.DATA, POLICY.FILE])
def test_an_epoch_has_each_element_once(names, policy, world_size):
    workers = on_threads(world_size, V, lambda s: steps_of(s, pipeline(names, policy)))
    seen = [i for ids in by_replica(workers).values() for i in ids]
    assert collections.Counter(seen) == collections.Counter(IDS)


@pytest.mark.parametrize("policy", [POLICY.DATA, POLICY.FILE])
def test_what_a_replica_sees_depends_on_no_number_of_workers(names, policy, monkeypatch):
    monkeypatch.setattr("random.getrandbits", lambda bits: 77)
    seen = [
        by_replica(on_threads(w, V, lambda s: steps_of(s, pipeline(names, policy), epochs=2)))
        for w in (1, 2, 5)
    ]
    assert seen[0] == seen[1] == seen[2]
    assert any(seen[0].values())


def test_auto_is_data(names, monkeypatch):
    monkeypatch.setattr("random.getrandbits", lambda bits: 77)

    def seen(policy):
        return by_replica(on_threads(3, V, lambda s: steps_of(s, pipeline(names, policy))))

    data = seen(POLICY.DATA)
    assert seen(POLICY.AUTO) == data
    assert seen(POLICY.FILE) != data  # other rows meet in a step


@pytest.mark.parametrize("policy", [POLICY.AUTO, POLICY.DATA, POLICY.FILE, POLICY.OFF])
def test_policies_have_tfs_names_and_numbers(policy):
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = int(policy)
    assert options.experimental_distribute.auto_shard_policy is policy
    assert int(policy) == {"OFF": -1, "AUTO": 0, "FILE": 1, "DATA": 2}[policy.name]


@pytest.mark.parametrize("policy", [7, "DATA", None])
def test_a_policy_that_does_not_exist_is_refused(policy):
    options = tf.data.Options()
    with pytest.raises((ValueError, TypeError), match="AutoShardPolicy"):
        options.experimental_distribute.auto_shard_policy = policy


def test_an_option_that_does_not_exist_is_refused():
    options = tf.data.Options()
    with pytest.raises(AttributeError, match="auto_shard_policy"):
        options.experimental_distribute.num_devices = 3


@pytest.mark.parametrize("policy", [POLICY.AUTO, POLICY.DATA, POLICY.OFF])
def test_rows_that_are_not_batched_are_refused(policy):
    ds = with_policy(tf.data.Dataset.range(30), policy)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"dataset.batch\(global_batch_size"):
        steps_of(MirroredStrategy(logical_replicas=2), ds)


def test_the_policy_of_a_fit_is_checked_before_its_first_step(names):
    with MirroredStrategy(logical_replicas=V).scope():
        model = K.Sequential([K.Input((1,)), K.layers.Dense(1)])
        model.compile("sgd", "mse")
    before = model.get_weights()
    data = pipeline(names[:3], POLICY.FILE).map(lambda x: (x[:, None], x[:, None]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"V = 5\); received 3 files"):
        model.fit(with_policy(data, POLICY.FILE), verbose=0)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_each_file_is_read_by_one_replica(names):
    workers = on_threads(2, V, lambda s: steps_of(s, pipeline(names, POLICY.FILE)))
    owners = collections.defaultdict(set)
    for (_, replica), ids in by_replica(workers).items():
        for i in ids:
            owners[i // ROWS].add(replica)
    assert {file: list(replicas) for file, replicas in owners.items()} == {
        i: [i % V] for i in range(FILES)
    }


def test_steps_have_the_rows_that_the_batch_size_says(names):
    workers = on_threads(1, V, lambda s: steps_of(s, pipeline(names, POLICY.FILE)))
    assert [len(ids) for ids in workers[0][0].values()] == [3, 3, 2, 2, 2]


def test_fewer_files_than_replicas_is_an_error_that_names_both(names):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"V = 5\); received 4 files"):
        steps_of(MirroredStrategy(logical_replicas=V), pipeline(names[:4], POLICY.FILE))


@pytest.mark.parametrize(
    "dataset",
    [
        tf.data.Dataset.range(30).batch(5),
        tf.data.Dataset.from_tensor_slices([["a"], ["b"], ["c"]]).batch(5),
        tf.data.Dataset.zip(tf.data.Dataset.range(30), tf.data.Dataset.range(30)).batch(5),
    ],
)
def test_data_without_files_cannot_be_divided_by_files(dataset):
    with pytest.raises(tf.errors.InvalidArgumentError, match="begins with names of files"):
        steps_of(MirroredStrategy(logical_replicas=2), with_policy(dataset, POLICY.FILE))


def test_data_that_is_not_batched_is_refused(names):
    ds = tf.data.Dataset.from_tensor_slices(names).interleave(read)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a data set of global batches"):
        steps_of(MirroredStrategy(logical_replicas=2), with_policy(ds, POLICY.FILE))


def test_off_leaves_each_worker_its_own_data():
    def own(strategy):
        start = 100 * strategy.worker_rank
        ds = tf.data.Dataset.range(start, start + 10 + 6 * strategy.worker_rank).batch(6)
        return steps_of(strategy, with_policy(ds, POLICY.OFF))

    workers = on_threads(2, 3, own)
    assert [len(steps) for steps in workers] == [8, 8]  # as long as one worker has rows
    for rank, steps in enumerate(workers):
        seen = [i for parts in steps for ids in parts.values() for i in ids]
        assert sorted(seen) == list(range(100 * rank, 100 * rank + 10 + 6 * rank))


# -- fit -------------------------------------------------------------------------------------------


class Recording(K.Model):
    """A model whose steps note the ids that they train on."""

    def __init__(self):
        super().__init__(name="recording")
        one = K.initializers.Ones()
        self.dense = K.layers.Dense(1, kernel_initializer=one, name="dense")
        self.seen = []

    def call(self, x):
        return self.dense(tf.reshape(tf.cast(x, tf.float32), (-1, 1)) * 0.01)

    def train_step(self, data):
        x, y = data
        tf.py_function(lambda ids: self.seen.append(ids.numpy().tolist()), [x], [])
        return super().train_step((x, y))


class Interrupt(K.callbacks.Callback):
    needs_batches = False
    comes_last = True

    def __init__(self, at):
        super().__init__()
        self.left = at

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise InterruptedError


def fit(strategy, names, policy, callbacks):
    """Returns (ids in order, digest) of two epochs; the ids alone if they were interrupted."""
    with strategy.scope():
        model = Recording()
        model.compile(K.optimizers.Adam(0.1, name="adam"), "mse")
    data = pipeline(names, policy).map(lambda x: (x, tf.cast(x, tf.float32)))
    with_options = with_policy(data, policy)
    try:
        model.fit(with_options, epochs=2, verbose=0, callbacks=callbacks)
    except InterruptedError:
        callbacks[0]._checkpoint.sync()
        return list(itertools.chain(*model.seen)), None
    state = [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]
    return list(itertools.chain(*model.seen)), digest(state)


@pytest.mark.parametrize("policy", [POLICY.AUTO, POLICY.FILE])
@pytest.mark.parametrize(("before", "after", "at"), [(1, 3, 4), (3, 2, 7), (2, 5, 9)])
def test_a_resumed_epoch_uses_each_element_once(
    names, tmp_path, policy, before, after, at, monkeypatch
):
    monkeypatch.setattr("random.getrandbits", lambda bits: 77)
    (golden,) = on_threads(1, V, lambda s: fit(s, names, policy, []))

    def backup():
        return K.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=1)

    first = on_threads(before, V, lambda s: fit(s, names, policy, [backup(), Interrupt(at)]))
    monkeypatch.setattr("random.getrandbits", lambda bits: 78)
    second = on_threads(after, V, lambda s: fit(s, names, policy, [backup()]))
    seen = collections.Counter(i for ids, _ in [*first, *second] for i in ids)
    assert seen == collections.Counter(IDS * 2)
    assert {digest for _, digest in second} == {golden[1]}

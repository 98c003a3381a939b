"""What can go wrong when backups are written: the run that follows ends with the golden bits.

Death at any byte, a full disk, damaged files; and loops that users write, with CheckpointManager.
"""

import random
from pathlib import Path

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors
from distflow.checkpoint import disk, layout
from tests.distribute import test_resume as resumed
from tests.distribute.workers import digest, on_threads

K = tf.keras
V = 4


class Killed(BaseException):
    """As kill -9: nothing that runs after it changes a file any more."""


class DyingDisk(disk.Disk):
    """Lets so many bytes through, then nothing: the last write is cut in the middle."""

    def __init__(self, budget):
        self.budget = budget

    def write(self, file, data):
        data = memoryview(data).cast("B")
        super().write(file, data[: max(self.budget, 0)])
        file.flush()
        self.budget -= len(data)
        self.check()

    def check(self):
        if self.budget < 0:
            raise Killed

    def rename(self, source, target):
        self.check()
        super().rename(source, target)

    def remove(self, path):
        self.check()
        super().remove(path)


@pytest.fixture(scope="module")
def golden():
    return resumed.uninterrupted()


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    return caplog


def backup(folder, **more):
    return K.callbacks.BackupAndRestore(folder, save_freq=1, **more)


def interrupt(world_size, folder, at=None, **more):
    """Trains until step `at`, or until something fails; returns what ended each worker."""

    def work(strategy):
        callbacks = [backup(folder, **more), *([resumed.Interrupt(at)] if at else ())]
        try:
            resumed.train(strategy, callbacks)
        finally:
            if strategy.is_chief:
                callbacks[0]._checkpoint.sync()

    with resumed.order(7):
        return on_threads(world_size, V, work)


# -- BackupAndRestore ------------------------------------------------------------------------------


class Counting(disk.Disk):
    """Counts the bytes that are written, and remembers how many each file has."""

    def __init__(self):
        self.total, self.ends = 0, []

    def write(self, file, data):
        super().write(file, data)
        self.total += memoryview(data).nbytes

    def rename(self, source, target):
        super().rename(source, target)
        self.ends.append((target, self.total))


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """Bytes that a run writes, and those after which its first backup is whole."""
    with resumed.mock.patch.object(disk, "disk", Counting()) as counting:
        interrupt(1, tmp_path_factory.mktemp("counted"))
    first = next(end for target, end in counting.ends if target.endswith(".index"))
    return counting.total, first


@pytest.mark.parametrize(
    ("before", "after", "seed"),
    [
        (1, 2, 20),
        (3, 1, 22),
        *(
            pytest.param(*row, marks=pytest.mark.soak)
            for row in [(2, 4, 21), (4, 3, 23), (2, 3, 24), (1, 4, 25)]
        ),
    ],
)
def test_death_at_a_random_byte(golden, sizes, tmp_path, monkeypatch, before, after, seed):
    total, first = sizes
    budget = random.Random(seed).randrange(first, total - 1)
    monkeypatch.setattr(disk, "disk", DyingDisk(budget))
    ends = interrupt(before, tmp_path)
    assert isinstance(ends[0], Killed)
    monkeypatch.setattr(disk, "disk", disk.Disk())
    assert resumed.resume(after, tmp_path) == [golden] * after


def test_death_before_the_first_backup_is_whole(golden, tmp_path, monkeypatch):
    """Nothing to go on from: the run begins anew, with the order that it draws first."""
    monkeypatch.setattr(disk, "disk", DyingDisk(100))
    interrupt(2, tmp_path)
    monkeypatch.setattr(disk, "disk", disk.Disk())
    with resumed.order(7):
        found = on_threads(3, V, lambda s: resumed.train(s, [backup(tmp_path)]))
    assert found == [golden] * 3


def test_a_full_disk_ends_all_workers_with_its_name(golden, sizes, tmp_path, monkeypatch):
    class Full(Counting):
        def write(self, file, data):
            if self.total > 3 * sizes[1]:
                raise OSError(28, "No space left on device")
            super().write(file, data)

    monkeypatch.setattr(disk, "disk", Full())
    ends = interrupt(3, tmp_path)
    assert isinstance(ends[0], errors.ResourceExhaustedError)
    for error in ends[1:]:
        assert isinstance(error, errors.AbortedError)
        assert "No space left" in str(error)
    monkeypatch.setattr(disk, "disk", disk.Disk())
    assert list(tmp_path.glob("*.index"))
    assert resumed.resume(2, tmp_path) == [golden] * 2


def flip(prefix):
    path = layout.read_manifest(str(prefix)).data_path
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 1
    Path(path).write_bytes(content)


def newest(folder):
    return max(folder.glob("backup-*.index"), key=lambda p: int(p.stem.split("-")[1]))


def test_a_damaged_newest_backup_falls_back_with_a_warning(golden, tmp_path, warnings):
    interrupt(3, tmp_path, 7, double_checkpoint=True)
    flip(newest(tmp_path).with_suffix(""))
    assert resumed.resume(2, tmp_path) == [golden] * 2
    assert "backup-6" in warnings.text
    assert "is damaged" in warnings.text
    assert "The checkpoint before it is taken" in warnings.text


def test_a_damaged_only_backup_begins_anew_with_a_warning(golden, tmp_path, warnings):
    interrupt(2, tmp_path, 4)
    flip(newest(tmp_path).with_suffix(""))
    with resumed.order(7):
        found = on_threads(2, V, lambda s: resumed.train(s, [backup(tmp_path)]))
    assert found == [golden] * 2
    assert "is damaged" in warnings.text


# -- a loop of the user's, with CheckpointManager --------------------------------------------------

STEPS = 11


def loop(strategy, folder=None, stop=STEPS, all_save=False):
    """A custom loop as in TF's guide: the chief saves after every step, all read what it saved."""
    with strategy.scope():
        first, last = (tf.Variable(w, name=n) for n, w in weights().items())
        optimizer = K.optimizers.Adam(0.05, name="adam")
    data = tf.data.Dataset.from_tensor_slices(rows()).shuffle(40, seed=None).repeat().batch(10)
    iterator = iter(strategy.experimental_distribute_dataset(data))

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            error = tf.matmul(tf.tanh(tf.matmul(x, first)), last) - y
            loss = tf.nn.compute_average_loss(tf.reduce_sum(error * error, 1), global_batch_size=10)
        gradients = tape.gradient(loss, [first, last])
        optimizer.apply_gradients(zip(gradients, [first, last]))

    steps = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(
        first=first, last=last, optimizer=optimizer, iterator=iterator, steps=steps
    )
    if folder is not None:
        manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2, step_counter=steps)
        manager.restore_or_initialize()
    while int(steps) < stop:
        strategy.run(step, args=next(iterator))
        steps.assign_add(1)
        if folder is not None and (all_save or strategy.is_chief):
            manager.save(options=tf.train.CheckpointOptions(enable_async=all_save))
    if folder is not None:
        manager.sync()
    return digest([first.numpy(), last.numpy(), *(v.numpy() for v in optimizer.variables)])


def loops(world_size, folder, seed, **more):
    """Returns what the loop gives each worker, whose data set draws this seed."""
    with resumed.mock.patch("random.getrandbits", return_value=seed):
        return on_threads(world_size, V, lambda s: loop(s, folder, **more))


@pytest.fixture(scope="module")
def golden_loop():
    (found,) = loops(1, None, 7)
    return found


def rows():
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(44, 6)) * 10.0 ** rng.uniform(-2, 1, 6)).astype("float32")
    return x, np.tanh(x[:, :2])


def weights():
    rng = np.random.default_rng(4)
    return {n: rng.normal(size=s).astype("float32") for n, s in {"a": (6, 8), "b": (8, 2)}.items()}


@pytest.mark.parametrize(("before", "at", "after"), [(3, 3, 1), (2, 6, 4), (1, 9, 3)])
def test_a_loop_with_a_manager_goes_on_with_other_workers(golden_loop, tmp_path, before, at, after):
    loops(before, tmp_path, 7, stop=at)
    assert [p.name for p in sorted(tmp_path.glob("*.index"))] == [
        f"ckpt-{i}.index" for i in (at - 1, at)
    ]
    # The seed of a later run does not count: the iterator's is in the checkpoint.
    assert loops(after, tmp_path, 8) == [golden_loop] * after


def test_workers_that_all_save_in_one_folder_do_not_get_in_each_others_way(golden_loop, tmp_path):
    found = loops(3, tmp_path, 7, stop=8, all_save=True)
    assert len(set(found)) == 1, found
    names = {p.name for p in tmp_path.glob("ckpt-*")}
    assert len(names) == 4, names
    assert {n for n in names if n.endswith(".index")} == {"ckpt-7.index", "ckpt-8.index"}
    assert loops(2, tmp_path, 8, all_save=True) == [golden_loop] * 2


def test_a_loop_goes_on_from_the_checkpoint_before_a_damaged_one(golden_loop, tmp_path, warnings):
    loops(2, tmp_path, 7, stop=6)
    flip(tmp_path / "ckpt-6")
    assert loops(3, tmp_path, 8) == [golden_loop] * 3
    assert "The checkpoint before it is taken" in warnings.text

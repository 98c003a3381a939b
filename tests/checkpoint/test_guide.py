"""What TensorFlow's guide on training checkpoints does, with distflow's names of keys."""

import numpy as np
import pytest

import distflow as tf
from distflow.distribute import MirroredStrategy


class Net(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.l1 = tf.keras.layers.Dense(5)

    def call(self, x):
        return self.l1(x)


def toy_dataset():
    inputs = tf.range(10.0)[:, None]
    labels = inputs * 5.0 + tf.range(5.0)[None, :]
    return tf.data.Dataset.from_tensor_slices({"x": inputs, "y": labels}).repeat().batch(2)


def train_step(net, example, optimizer):
    with tf.GradientTape() as tape:
        output = net(example["x"])
        loss = tf.reduce_mean(tf.abs(output - example["y"]))
    variables = net.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    return loss


def train_and_checkpoint(folder, steps):
    net, opt = Net(), tf.keras.optimizers.Adam(0.1)
    iterator = iter(toy_dataset())
    ckpt = tf.train.Checkpoint(step=tf.Variable(1), optimizer=opt, net=net, iterator=iterator)
    manager = tf.train.CheckpointManager(ckpt, folder, max_to_keep=3)
    ckpt.restore(manager.latest_checkpoint)
    for _ in range(steps):
        example = next(iterator)
        loss = train_step(net, example, opt)
        ckpt.step.assign_add(1)
        if int(ckpt.step) % 10 == 0:
            manager.save()
    return net, example, float(loss), manager


@pytest.fixture
def folder(tmp_path):
    tf.keras.utils.set_random_seed(1)
    train_and_checkpoint(tmp_path, 50)
    return tmp_path


def test_training_goes_on_with_its_data(tmp_path):
    tf.keras.utils.set_random_seed(1)
    expected = train_and_checkpoint(tmp_path / "a", 79)
    tf.keras.utils.set_random_seed(1)
    train_and_checkpoint(tmp_path / "b", 39)
    found = train_and_checkpoint(tmp_path / "b", 40)
    assert found[2] == expected[2]
    np.testing.assert_array_equal(found[1]["x"].numpy(), expected[1]["x"].numpy())
    names = [path.rsplit("/", 1)[-1] for path in found[3].checkpoints]
    assert names == ["ckpt-6", "ckpt-7", "ckpt-8"]


def test_parts_are_restored_by_hand_and_later(folder):
    bias = tf.Variable(tf.zeros([5]))
    fake_layer = tf.train.Checkpoint(bias=bias)
    new_root = tf.train.Checkpoint(net=tf.train.Checkpoint(l1=fake_layer))
    status = new_root.restore(tf.train.latest_checkpoint(folder))
    assert (bias.numpy() != 0).all()
    kernel = tf.Variable(tf.zeros([1, 5]))
    fake_layer._kernel = kernel
    assert (kernel.numpy() != 0).all()
    status.expect_partial()


def test_keys_are_inspected(folder):
    reader = tf.train.load_checkpoint(folder)
    key = "net/l1/_kernel/.ATTRIBUTES/VARIABLE_VALUE"
    assert reader.get_variable_to_shape_map()[key] == [1, 5]
    assert reader.get_variable_to_dtype_map()[key] is tf.float32
    assert reader.get_tensor(key).shape == (1, 5)
    names = [name for name, _ in tf.train.list_variables(tf.train.latest_checkpoint(folder))]
    assert "optimizer/_variables/2/.ATTRIBUTES/VARIABLE_VALUE" in names
    assert "step/.ATTRIBUTES/VARIABLE_VALUE" in names


def test_lists_and_dicts_grow_after_they_were_restored(tmp_path):
    save = tf.train.Checkpoint()
    save.listed = [tf.Variable(1.0)]
    save.listed.append(tf.Variable(2.0))
    save.mapped = {"one": save.listed[0]}
    save.mapped["two"] = save.listed[1]
    path = save.save(tmp_path / "list")
    restore = tf.train.Checkpoint()
    v2 = tf.Variable(0.0)
    restore.mapped = {"two": v2}
    restore.restore(path).expect_partial()
    assert float(v2) == 2
    restore.listed = []
    v1 = tf.Variable(0.0)
    restore.listed.append(v1)
    assert float(v1) == 1
    one = tf.Variable(0.0)
    other = tf.train.Checkpoint()
    other.mapped = {}
    other.restore(path).expect_partial()
    other.mapped["one"] = one
    assert float(one) == 1


def numbers(iterator, count):
    return [next(iterator).numpy().tolist() for _ in range(count)]


def test_an_iterator_goes_on_in_a_shuffled_pass(tmp_path):
    def make():
        ds = tf.data.Dataset.range(12).shuffle(12).repeat(3).batch(2).prefetch(2)
        return iter(ds)

    iterator = make()
    numbers(iterator, 8)
    path = tf.train.Checkpoint(iterator=iterator).write(tmp_path / "c")
    expected = numbers(iterator, 10)
    other = make()
    numbers(other, 3)
    tf.train.Checkpoint(iterator=other).read(path)
    assert numbers(other, 10) == expected
    with pytest.raises(StopIteration):
        next(other)


def test_a_distributed_iterator_goes_on_too(tmp_path):
    strategy = MirroredStrategy(logical_replicas=2)

    def make():
        ds = tf.data.Dataset.range(12).shuffle(12).batch(4)
        return iter(strategy.experimental_distribute_dataset(ds))

    def ids(iterator):
        parts = strategy.experimental_local_results(next(iterator))
        return [part.numpy().tolist() for part in parts]

    iterator = make()
    ids(iterator)
    path = tf.train.Checkpoint(iterator=iterator).write(tmp_path / "c")
    expected = [ids(iterator), ids(iterator)]
    other = make()
    tf.train.Checkpoint(iterator=other).read(path)
    assert [ids(other), ids(other)] == expected

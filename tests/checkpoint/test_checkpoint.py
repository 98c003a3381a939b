"""tf.train.Checkpoint: what is saved comes back, also into objects that are made later."""

import threading

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.checkpoint import background, layout

K = tf.keras


class Net(tf.Module):
    def __init__(self, value=0.0):
        super().__init__("net")
        self.w = tf.Variable([value, value + 1])
        self.parts = [tf.Variable(value * 2), {"k/x": tf.Variable(value * 3)}]


def test_variables_in_attributes_lists_and_dicts_come_back(tmp_path):
    path = tf.train.Checkpoint(net=Net(5.0)).save(tmp_path / "ckpt")
    assert path == f"{tmp_path}/ckpt-1"
    net = Net()
    tf.train.Checkpoint(net=net).restore(path).assert_consumed()
    assert net.w.numpy().tolist() == [5, 6]
    assert float(net.parts[0]) == 10
    assert float(net.parts[1]["k/x"]) == 15


def test_keys_are_the_paths_of_attributes_as_in_tf(tmp_path):
    path = tf.train.Checkpoint(net=Net(), step=tf.Variable(3)).save(tmp_path / "c")
    assert tf.train.list_variables(path) == [
        ("net/parts/0/.ATTRIBUTES/VARIABLE_VALUE", []),
        ("net/parts/1/k.Sx/.ATTRIBUTES/VARIABLE_VALUE", []),
        ("net/w/.ATTRIBUTES/VARIABLE_VALUE", [2]),
        ("save_counter/.ATTRIBUTES/VARIABLE_VALUE", []),
        ("step/.ATTRIBUTES/VARIABLE_VALUE", []),
    ]


def test_the_root_needs_no_name(tmp_path):
    path = tf.train.Checkpoint(Net(5.0)).write(tmp_path / "c")
    net = Net()
    tf.train.Checkpoint(net).read(path).assert_consumed()
    assert net.w.numpy().tolist() == [5, 6]
    assert [k for k, _ in tf.train.list_variables(path)][-1].startswith("w/")


def test_the_save_counter_goes_on_after_a_restore(tmp_path):
    first = tf.train.Checkpoint(net=Net())
    first.save(tmp_path / "c")
    path = first.save(tmp_path / "c")
    assert path.endswith("c-2")
    again = tf.train.Checkpoint(net=Net())
    again.restore(path).assert_consumed()
    assert int(again.save_counter) == 2
    assert again.save(tmp_path / "c").endswith("c-3")


def test_a_shared_variable_is_saved_once(tmp_path):
    shared = tf.Variable([1.0])
    path = tf.train.Checkpoint(a=[shared], b=[shared]).write(tmp_path / "c")
    assert len(tf.train.list_variables(path)) == 1
    one, two = [tf.Variable([0.0])], []
    tf.train.Checkpoint(b=one).read(path).assert_consumed()
    assert float(one[0][0]) == 1
    assert two == []


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "bfloat16", "complex64", "string"])
def test_dtypes_come_back(tmp_path, dtype):
    start = {"string": [b"a", b"longer"], "bool": [True, False]}.get(dtype, [1, 2])
    v = tf.Variable(tf.constant(start, dtype) if dtype != "bfloat16" else tf.cast([1, 2], dtype))
    path = tf.train.Checkpoint(v=v).write(tmp_path / "c")
    other = tf.Variable(tf.zeros_like(v) if dtype != "string" else tf.constant([b"", b""]))
    tf.train.Checkpoint(v=other).read(path).assert_consumed()
    assert other.dtype == v.dtype
    np.testing.assert_array_equal(other.numpy(), v.numpy())


def test_random_generators_go_on(tmp_path):
    g = tf.random.Generator.from_seed(3)
    g.normal([4])
    path = tf.train.Checkpoint(g=g).write(tmp_path / "c")
    expected = g.normal([4]).numpy()
    other = tf.random.Generator.from_seed(8)
    tf.train.Checkpoint(g=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other.normal([4]).numpy(), expected)


# -- models ----------------------------------------------------------------------------------------


def model():
    return K.Sequential(
        [K.layers.Dense(3, activation="relu"), K.layers.BatchNormalization(), K.layers.Dropout(0.4),
         K.layers.Dense(1)]
    )  # fmt: skip


X = np.random.default_rng(0).normal(size=(12, 4)).astype("f")
Y = X[:, :1] * 2


def trained(steps, m):
    m.fit(X, Y, batch_size=4, epochs=steps, shuffle=False, verbose=0)
    return [*m.get_weights(), *(v.numpy() for v in m.optimizer.variables)]


def compiled():
    K.utils.set_random_seed(3)
    m = model()
    m.compile(K.optimizers.Adam(0.01), "mse")
    return m


def test_training_goes_on_to_the_bit_with_values_for_what_is_built_later(tmp_path):
    m = compiled()
    m.fit(X, Y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    path = tf.train.Checkpoint(model=m).save(tmp_path / "c")
    expected = trained(2, m)
    K.utils.set_random_seed(99)
    fresh = model()
    fresh.compile(K.optimizers.Adam(0.01), "mse")
    assert not fresh.built
    status = tf.train.Checkpoint(model=fresh).restore(path)
    found = trained(2, fresh)
    status.assert_consumed()
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_subclass_gets_its_weights_when_it_is_built(tmp_path):
    class M(K.Model):
        def __init__(self):
            super().__init__()
            self.inner = [K.layers.Dense(2), K.layers.LSTM(3)]

        def call(self, x):
            return self.inner[1](self.inner[0](x)[:, None])

    m = M()
    m(X)
    path = tf.train.Checkpoint(m=m).write(tmp_path / "c")
    other = M()
    status = tf.train.Checkpoint(m=other).read(path)
    with pytest.raises(AssertionError, match="belong to no object"):
        status.assert_consumed()
    np.testing.assert_array_equal(other(X).numpy(), m(X).numpy())
    status.assert_consumed()


def test_a_layer_gets_its_values_when_its_build_is_done(tmp_path):
    class Scale(K.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), initializer="zeros", name="scale")
            self.scale.assign(np.full(shape[-1], 7.0))  # what it begins with
            self.offset = self.add_weight(shape=(), initializer="zeros", name="offset")

        def call(self, x):
            return x * self.scale + self.offset

    layer = Scale()
    layer(X)
    layer.scale.assign([1.0, 2.0, 3.0, 4.0])
    path = tf.train.Checkpoint(layer=layer).write(tmp_path / "c")
    other = Scale()
    status = tf.train.Checkpoint(layer=other).read(path)
    np.testing.assert_array_equal(other(X).numpy(), X * np.arange(1, 5, dtype="f"))
    status.assert_consumed()


def test_a_module_gets_its_variable_in_the_moment_it_is_set(tmp_path):
    path = tf.train.Checkpoint(net=Net(5.0)).write(tmp_path / "c")

    class Late(tf.Module):
        def make(self):
            self.w = tf.Variable([0.0, 0.0])
            return self.w.numpy().tolist()

    late = Late()
    status = tf.train.Checkpoint(net=late).read(path).expect_partial()
    assert late.make() == [5, 6]
    status.assert_existing_objects_matched()


def test_the_root_gets_later_variables_too(tmp_path):
    path = tf.train.Checkpoint(Net(5.0)).write(tmp_path / "c")

    class Late(tf.Module):
        pass

    late = Late()
    tf.train.Checkpoint(late).read(path).expect_partial()
    late.w = tf.Variable([0.0, 0.0])
    assert late.w.numpy().tolist() == [5, 6]


def test_a_value_waits_although_the_checkpoint_was_deleted(tmp_path):
    path = tf.train.Checkpoint(net=Net(5.0)).write(tmp_path / "c")
    late = tf.Module()
    tf.train.Checkpoint(net=late).read(path).expect_partial()
    layout.remove(path)
    late.w = tf.Variable([0.0, 0.0])
    assert late.w.numpy().tolist() == [5, 6]


def test_a_value_is_put_once_only(tmp_path):
    path = tf.train.Checkpoint(net=Net(5.0)).write(tmp_path / "c")
    late = tf.Module()
    tf.train.Checkpoint(net=late).read(path).expect_partial()
    late.w = tf.Variable([0.0, 0.0])
    late.w.assign([8.0, 9.0])
    late.other = 3
    assert late.w.numpy().tolist() == [8, 9]


def test_the_later_of_two_restores_wins(tmp_path):
    one = tf.train.Checkpoint(net=Net(1.0)).write(tmp_path / "a")
    two = tf.train.Checkpoint(net=Net(2.0)).write(tmp_path / "b")
    late = tf.Module()
    for path in one, two:
        tf.train.Checkpoint(net=late).read(path).expect_partial()
    late.w = tf.Variable([0.0, 0.0])
    assert late.w.numpy().tolist() == [2, 3]


# -- status and errors -----------------------------------------------------------------------------


def test_missing_values_and_unused_values_are_told_apart(tmp_path):
    path = tf.train.Checkpoint(a=tf.Variable(1.0), b=tf.Variable(2.0)).write(tmp_path / "c")
    less = tf.train.Checkpoint(a=tf.Variable(0.0)).read(path)
    less.assert_existing_objects_matched().assert_nontrivial_match()
    with pytest.raises(AssertionError, match=r"b/\.ATTRIBUTES"):
        less.assert_consumed()
    less.expect_partial()
    more = tf.train.Checkpoint(a=tf.Variable(0.0), b=tf.Variable(0.0), c=tf.Variable(0.0))
    with pytest.raises(AssertionError, match="got no value from the checkpoint: c"):
        more.read(path).assert_existing_objects_matched()
    other = tf.train.Checkpoint(z=tf.Variable(0.0)).read(path)
    with pytest.raises(AssertionError, match="nothing in the checkpoint"):
        other.expect_partial().assert_nontrivial_match()


def test_restoring_nothing_says_so():
    status = tf.train.Checkpoint(a=tf.Variable(1.0)).restore(None)
    status.expect_partial()
    with pytest.raises(AssertionError, match="No checkpoint specified"):
        status.assert_consumed()


def test_unused_values_are_warned_of(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    path = tf.train.Checkpoint(a=tf.Variable(1.0), b=tf.Variable(2.0)).write(tmp_path / "c")
    status = tf.train.Checkpoint(a=tf.Variable(0.0)).read(path)
    del status
    import gc

    gc.collect()
    assert "1 values of the checkpoint were not used: b/" in caplog.text


def test_another_shape_or_dtype_changes_nothing(tmp_path):
    path = tf.train.Checkpoint(a=tf.Variable(1.0), b=tf.Variable([2.0])).write(tmp_path / "c")
    a = tf.Variable(0.0)
    with pytest.raises(ValueError, match=r"'b/.*shape \(2,\); received \(1,\)"):
        tf.train.Checkpoint(a=a, b=tf.Variable([0.0, 0.0])).read(path)
    assert float(a) == 0
    with pytest.raises(tf.errors.InvalidArgumentError, match="dtype int32; received float32"):
        tf.train.Checkpoint(b=tf.Variable([0])).read(path)


def test_a_damaged_value_changes_nothing(tmp_path):
    path = tf.train.Checkpoint(a=tf.Variable(1.0), b=tf.Variable(2.0)).write(tmp_path / "c")
    data = layout.read_manifest(path).data_path
    with open(data, "r+b") as file:
        file.seek(7)
        file.write(b"\xff")
    a, b = tf.Variable(0.0), tf.Variable(0.0)
    with pytest.raises(tf.errors.DataLossError, match="'b/"):
        tf.train.Checkpoint(a=a, b=b).read(path)
    assert (float(a), float(b)) == (0, 0)


def test_a_missing_checkpoint_is_an_error(tmp_path):
    with pytest.raises(tf.errors.NotFoundError, match="path/to/ckpt-1"):
        tf.train.Checkpoint(a=tf.Variable(1.0)).restore(tmp_path / "c-1")


@pytest.mark.parametrize("value", [3, "text", object(), lambda: 0])
def test_objects_without_variables_are_refused(value):
    with pytest.raises(ValueError, match="`Checkpoint` was expecting x to be a trackable object"):
        tf.train.Checkpoint(x=value)


def test_options_that_mean_nothing_here_are_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="host's CPU"):
        tf.train.CheckpointOptions(experimental_io_device="/gpu:0")
    with pytest.raises(tf.errors.UnimplementedError):
        tf.train.CheckpointOptions(experimental_skip_slot_variables=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"tf\.train\.CheckpointOptions"):
        tf.train.Checkpoint(a=tf.Variable(1.0)).write("x", options=3)


# -- in a thread -----------------------------------------------------------------------------------

ASYNC = tf.train.CheckpointOptions(enable_async=True)


def test_an_asynchronous_save_has_the_values_of_its_call(tmp_path, monkeypatch):
    go = threading.Event()
    write = layout.write
    monkeypatch.setattr(layout, "write", lambda *a: (go.wait(20), write(*a)))
    m = compiled()
    trained(1, m)
    checkpoint = tf.train.Checkpoint(model=m)
    expected = [w.copy() for w in m.get_weights()]
    path = checkpoint.save(tmp_path / "c", options=ASYNC)
    trained(2, m)  # compiled steps write in place
    assert not list(tmp_path.iterdir())
    go.set()
    checkpoint.sync()
    fresh = compiled()
    tf.train.Checkpoint(model=fresh).restore(path)
    fresh.build((None, 4))
    for a, b in zip(expected, fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_asynchronous_error_comes_at_the_next_call(tmp_path, monkeypatch):
    def fail(*args):
        raise tf.errors.ResourceExhaustedError("the disk is full")

    checkpoint = tf.train.Checkpoint(a=tf.Variable(1.0))
    monkeypatch.setattr(layout, "write", fail)
    checkpoint.save(tmp_path / "c", options=ASYNC)
    with pytest.raises(tf.errors.ResourceExhaustedError, match="the disk is full"):
        checkpoint.save(tmp_path / "c", options=ASYNC)
    checkpoint.sync()  # said once


def test_callbacks_get_the_path_when_it_is_written(tmp_path):
    seen = []
    options = tf.train.CheckpointOptions(
        experimental_write_callbacks=[seen.append, lambda: seen.append("done")]
    )
    path = tf.train.Checkpoint(a=tf.Variable(1.0)).save(tmp_path / "c", options=options)
    assert seen == [path, "done"]


def test_background_runs_one_piece_of_work_at_a_time():
    order, first = [], threading.Event()
    work = background.Background()
    work.start(lambda: (first.wait(20), order.append(1)))
    threading.Timer(0.05, first.set).start()
    work.start(lambda: order.append(2))
    work.wait()
    assert order == [1, 2]


@pytest.mark.parametrize("elastic", [None, (1, 2)])
def test_where_workers_come_and_go_saving_makes_no_variables(tmp_path, elastic):
    made = []

    def note(next_creator, **arguments):
        made.append(arguments.get("name"))
        return next_creator(**arguments)

    net = Net()
    with flags.override(DISTFLOW_ELASTIC=elastic), tf.variable_creator_scope(note):
        checkpoint = tf.train.Checkpoint(net=net)
        before = list(made)
        path = checkpoint.write(tmp_path / "written")
        checkpoint.save(tmp_path / "c")
    assert "save_counter/.ATTRIBUTES/VARIABLE_VALUE" not in dict(tf.train.list_variables(path))
    assert made == ["save_counter"]
    assert before == ([] if elastic is None else made)

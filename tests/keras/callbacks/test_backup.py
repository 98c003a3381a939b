"""BackupAndRestore: a run that was interrupted anywhere ends with the bits of one that was not."""

import numpy as np
import pytest

import distflow as tf
from distflow.checkpoint import layout
from distflow.distribute import MirroredStrategy

K = tf.keras
ROWS, BATCH, EPOCHS = 26, 4, 3
STEPS = 7  # of an epoch
RNG = np.random.default_rng(4)
X = (RNG.normal(size=(ROWS, 5)) * 10.0 ** RNG.uniform(-2, 1, 5)).astype("f")
Y = (X.sum(1, keepdims=True) > 0).astype("f")


class Interrupted(Exception):
    pass


class Interrupt(K.callbacks.Callback):
    """Raises when `at` steps of the run are done."""

    needs_batches = False
    comes_last = True

    def __init__(self, at):
        super().__init__()
        self.left = at

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise Interrupted


def make(built=True):
    init = K.initializers.GlorotUniform
    layers = [
        K.layers.Dense(6, activation="relu", kernel_initializer=init(seed=1), name="one"),
        K.layers.BatchNormalization(name="norm"),
        K.layers.Dropout(0.3, seed=3, name="drop"),
        K.layers.Dense(1, kernel_initializer=init(seed=2), name="two"),
    ]
    model = K.Sequential(([K.Input((5,))] if built else []) + layers, name="m")
    model.compile(
        K.optimizers.Adam(0.02, name="adam"), K.losses.BinaryCrossentropy(from_logits=True),
        metrics=["mae"],
    )  # fmt: skip
    return model


def arrays():
    return {"x": X, "y": Y, "batch_size": BATCH, "shuffle": True}


def dataset():
    ds = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(9).batch(BATCH)
    return {"x": ds.prefetch(2)}


def cached():
    ds = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(26).cache().shuffle(5).batch(BATCH)
    return {"x": ds}


def repeated():
    ds = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(26).repeat().batch(BATCH)
    return {"x": ds, "steps_per_epoch": STEPS}


def across_passes():
    return {"x": X, "y": Y, "batch_size": BATCH, "shuffle": True, "steps_per_epoch": 5}


def generator():
    return {"x": ((X[i::7], Y[i::7]) for _ in range(3) for i in range(7)), "steps_per_epoch": STEPS}


SOURCES = [arrays, dataset, cached, repeated, across_passes, generator]


def state(model):
    return [*model.get_weights(), *(np.asarray(v.numpy()) for v in model.optimizer.variables)]


def run(source, seed, callbacks=(), model=None, epochs=EPOCHS):
    """Trains; the seed of the data's order is drawn anew in each run, as in two processes."""
    K.utils.set_random_seed(seed)
    data = source()
    model = model or make()
    history = model.fit(**data, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return state(model), history


def interrupted(source, folder, at, save_freq, seed=1, **more):
    backup = K.callbacks.BackupAndRestore(folder, save_freq=save_freq, **more)
    with pytest.raises(Interrupted):
        run(source, seed, [backup, Interrupt(at)])
    backup._checkpoint.sync()


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("at", [1, 9])
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path, source, at):
    expected, history = run(source, 1)
    interrupted(source, tmp_path, at, 1)
    found, rest = run(source, 2, [K.callbacks.BackupAndRestore(tmp_path, save_freq=1)])
    assert_same(found, expected)
    for name, values in rest.history.items():
        assert values == history.history[name][-len(values) :], name


@pytest.mark.parametrize("at", range(2, 3 * STEPS + 1, 3))
def test_a_run_may_be_interrupted_after_any_step(tmp_path, at):
    expected, _ = run(arrays, 1)
    interrupted(arrays, tmp_path, at, 2)
    found, _ = run(arrays, 2, [K.callbacks.BackupAndRestore(tmp_path)])
    assert_same(found, expected)


def test_a_run_interrupted_at_the_end_of_an_epoch_goes_on_with_the_next(tmp_path):
    expected, _ = run(arrays, 1)
    interrupted(arrays, tmp_path, 2 * STEPS, 1)
    found, rest = run(arrays, 2, [K.callbacks.BackupAndRestore(tmp_path)])
    assert_same(found, expected)
    assert rest.epoch == [1, 2]


def test_backups_of_epochs_repeat_the_epoch_that_was_interrupted(tmp_path):
    expected, _ = run(dataset, 1)
    interrupted(dataset, tmp_path, 10, "epoch")
    seen = []
    watch = K.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
    found, _ = run(dataset, 2, [K.callbacks.BackupAndRestore(tmp_path), watch])
    assert_same(found, expected)
    assert seen == [1, 2]


def test_a_run_may_be_interrupted_many_times(tmp_path):
    expected, _ = run(cached, 1)
    for seed, at in enumerate([3, 1, 6, 2], 1):
        interrupted(cached, tmp_path, at, 1, seed)
    found, _ = run(cached, 9, [K.callbacks.BackupAndRestore(tmp_path, save_freq=1)])
    assert_same(found, expected)


def test_a_model_that_is_built_later_is_restored(tmp_path):
    K.utils.set_random_seed(1)
    expected, _ = run(arrays, 1, model=make(built=False))
    for freq in (2, "epoch"):
        folder = tmp_path / str(freq)
        backup = K.callbacks.BackupAndRestore(folder, save_freq=freq)
        with pytest.raises(Interrupted):
            run(arrays, 1, [backup, Interrupt(9)], make(built=False))
        backup._checkpoint.sync()
        again = K.callbacks.BackupAndRestore(folder, save_freq=freq)
        found, _ = run(arrays, 2, [again], make(built=False))
        assert_same(found, expected)


def test_validation_runs_where_it_would_have_run(tmp_path):
    def source():
        ds = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(26)
        return {"x": ds.skip(6).batch(BATCH), "validation_data": ds.take(6).batch(3)}

    expected, history = run(source, 1)
    interrupted(source, tmp_path, 8, 1)
    found, rest = run(source, 2, [K.callbacks.BackupAndRestore(tmp_path)])
    assert_same(found, expected)
    assert rest.history["val_loss"] == history.history["val_loss"][-len(rest.epoch) :]


def test_eager_draws_from_the_shared_generator_go_on(tmp_path):
    class Noisy(K.Model):
        def train_step(self, data):
            noise = K.random.normal((1,))
            x, y = data
            return super().train_step((x + noise, y))

    def noisy():
        inputs = K.Input((5,))
        ones = K.initializers.Ones()
        model = Noisy(inputs, K.layers.Dense(1, kernel_initializer=ones, name="d")(inputs))
        model.compile("sgd", "mse")
        return model

    expected, _ = run(arrays, 1, model=noisy())
    backup = K.callbacks.BackupAndRestore(tmp_path, save_freq=1)
    with pytest.raises(Interrupted):
        run(arrays, 1, [backup, Interrupt(9)], noisy())
    backup._checkpoint.sync()
    found, _ = run(arrays, 2, [K.callbacks.BackupAndRestore(tmp_path)], noisy())
    assert_same(found, expected)


@pytest.mark.parametrize("first", [True, False])
def test_callbacks_decide_as_in_the_uninterrupted_run(tmp_path, first):
    def fit(seed, more=()):
        K.utils.set_random_seed(seed)
        stop = K.callbacks.EarlyStopping(
            monitor="loss", min_delta=0.02, patience=2, restore_best_weights=True
        )
        slow = K.callbacks.ReduceLROnPlateau(monitor="loss", min_delta=0.05, patience=1, factor=0.5)
        model = make()
        callbacks = [*more, stop, slow] if first else [stop, slow, *more]
        model.fit(**arrays(), epochs=12, verbose=0, callbacks=callbacks)
        return state(model), stop

    expected, stop = fit(1)
    assert 2 < stop.stopped_epoch < 11, "it must have something to decide"
    for at in (1, 2, stop.best_epoch + 1):
        folder = tmp_path / str(at)
        backup = K.callbacks.BackupAndRestore(folder)
        with pytest.raises(Interrupted):
            fit(1, [backup, Interrupt(at * STEPS + 3)])
        backup._checkpoint.sync()
        found, again = fit(2, [K.callbacks.BackupAndRestore(folder)])
        assert_same(found, expected)
        assert (again.stopped_epoch, again.best) == (stop.stopped_epoch, stop.best)


# -- files -----------------------------------------------------------------------------------------


def test_one_backup_stays_while_training_and_none_after_it(tmp_path):
    counts = []
    callback = K.callbacks.BackupAndRestore(tmp_path, save_freq=2)
    count = K.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: (
            callback._checkpoint.sync(), counts.append(len(list(tmp_path.glob("*.index"))))
        )
    )  # fmt: skip
    run(arrays, 1, [callback, count])
    assert counts == [1, 1, 1]
    assert not list(tmp_path.iterdir())


def test_the_backup_can_stay(tmp_path):
    run(arrays, 1, [K.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)])
    (path,) = tmp_path.glob("*.index")
    facts = layout.read_manifest(str(path).removesuffix(".index")).facts
    assert facts["position"]["epoch"] == EPOCHS
    assert facts["step"] == EPOCHS * STEPS
    assert facts["replicas"] == 1


def test_a_damaged_backup_falls_back_to_the_one_before(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    expected, _ = run(arrays, 1)
    interrupted(arrays, tmp_path, 9, 2, double_checkpoint=True)
    names = sorted(tmp_path.glob("*.index"))
    assert len(names) == 2
    (data,) = tmp_path.glob(names[-1].stem + ".data-*")
    data.write_bytes(b"x" * data.stat().st_size)
    found, _ = run(arrays, 2, [K.callbacks.BackupAndRestore(tmp_path)])
    assert "is damaged" in caplog.text
    assert_same(found, expected)


def test_an_error_of_the_writing_thread_ends_the_run(tmp_path, monkeypatch):
    def fail(*args):
        raise tf.errors.ResourceExhaustedError("no space left")

    monkeypatch.setattr(layout, "write", fail)
    with pytest.raises(tf.errors.ResourceExhaustedError, match="no space left"):
        run(arrays, 1, [K.callbacks.BackupAndRestore(tmp_path)])


def test_another_pipeline_is_refused(tmp_path):
    interrupted(dataset, tmp_path, 9, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="pipeline with 1 random steps"):
        run(cached, 2, [K.callbacks.BackupAndRestore(tmp_path)])


@pytest.mark.parametrize(
    "arguments", [{"backup_dir": ""}, {"save_freq": "batch"}, {"save_freq": -1}]
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r"backup_dir|save_freq"):
        K.callbacks.BackupAndRestore(**{"backup_dir": "x", **arguments})


# -- replicas and workers --------------------------------------------------------------------------


@pytest.mark.parametrize("source", [arrays, dataset, repeated])
def test_several_replicas_go_on_with_their_bits(tmp_path, source):
    def replicated(seed, callbacks=()):
        K.utils.set_random_seed(seed)
        data = source()
        with MirroredStrategy(logical_replicas=3).scope():
            model = make()
        history = model.fit(**data, epochs=EPOCHS, verbose=0, callbacks=list(callbacks))
        return state(model), history.history

    expected, history = replicated(1)
    backup = K.callbacks.BackupAndRestore(tmp_path, save_freq=1)
    with pytest.raises(Interrupted):
        replicated(1, [backup, Interrupt(9)])
    backup._checkpoint.sync()
    found, rest = replicated(2, [K.callbacks.BackupAndRestore(tmp_path)])
    assert_same(found, expected)
    for name, values in rest.items():
        assert values == history[name][-len(values) :], name

"""Training at its edges: odd numbers of replicas, replicas without rows, lazy models, errors."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors
from tests.distribute.workers import digest, on_threads

layers = tf.keras.layers
_rng = np.random.default_rng(0)
X = _rng.normal(size=(50, 6)).astype("float32")
Y = (X.sum(1) > 0).astype("int64")
WEIGHTS = _rng.uniform(0.1, 2, 50).astype("float32")


def mirrored(replicas):
    return tf.distribute.MirroredStrategy(logical_replicas=replicas)


def dense(units, seed, **more):
    """A Dense layer that is the same wherever it is made."""
    init = tf.keras.initializers.GlorotUniform(seed=seed)
    return layers.Dense(units, kernel_initializer=init, name=f"dense{seed}", **more)


def crossentropy(**more):
    return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, **more)


def network(norm=True):
    middle = [layers.BatchNormalization(name="norm")] if norm else []
    inputs = tf.keras.Input((6,), name="inputs")
    return tf.keras.Sequential(
        [inputs, dense(8, 1, activation="relu"), *middle, dense(2, 2)], name="network"
    )


def compiled(strategy, norm=True, **more):
    with strategy.scope():
        model = network(norm)
        optimizer = tf.keras.optimizers.Adam(1e-2, name="adam")
        model.compile(optimizer, crossentropy(), metrics=["accuracy"], **more)
    return model


def fitted(strategy, rows=50, run_eagerly=False, norm=True, **more):
    """Returns what a short training ends with: the digest of weights, and the history."""
    model = compiled(strategy, norm, run_eagerly=run_eagerly)
    history = model.fit(
        X[:rows], Y[:rows], batch_size=16, epochs=2, shuffle=False, verbose=0, **more
    )
    return digest(model.get_weights()), history.history


@pytest.mark.parametrize(
    ("replicas", "workers"), [(3, 2), (3, 3), (5, 3), (5, 5), (7, 2), (7, 5), (8, 3)]
)
def test_odd_numbers_of_replicas_give_equal_bits(replicas, workers):
    golden = fitted(mirrored(replicas))
    assert on_threads(workers, replicas, fitted) == [golden] * workers


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize("workers", [2, 4])
def test_fit_with_a_last_batch_of_one_row(run_eagerly, workers):
    def work(strategy):
        return fitted(strategy, rows=17, run_eagerly=run_eagerly)

    golden = work(mirrored(4))
    assert np.isfinite(golden[1]["loss"]).all()
    assert on_threads(workers, 4, work) == [golden] * workers


def custom_loop(strategy, traced, lazy, rows=17):
    """Returns the digest, the losses and the accuracy of a loop of one's own."""
    with strategy.scope():
        model = network(norm=False)
        if lazy:
            model = tf.keras.Sequential([dense(8, 1, activation="relu"), dense(2, 2)])
        optimizer = tf.keras.optimizers.SGD(0.1, momentum=0.9, name="sgd")
        accuracy = tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    loss_object = crossentropy(reduction="none")

    def step(x, y):
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = tf.nn.compute_average_loss(loss_object(y, logits), global_batch_size=16)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        accuracy.update_state(y, logits)
        return loss

    def distributed_step(element):
        return strategy.reduce("SUM", strategy.run(step, args=element), axis=None)

    if traced:
        distributed_step = tf.function(distributed_step)
    dataset = tf.data.Dataset.from_tensor_slices((X[:rows], Y[:rows])).batch(16)
    dataset = strategy.experimental_distribute_dataset(dataset)
    losses = [float(distributed_step(element)) for _ in range(2) for element in dataset]
    return digest(model.get_weights()), losses, float(accuracy.result())


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_custom_loop_with_replicas_without_rows(traced, lazy, workers):
    golden = custom_loop(mirrored(4), traced, lazy)
    results = on_threads(workers, 4, lambda strategy: custom_loop(strategy, traced, lazy))
    assert results == [golden] * workers
    one = custom_loop(mirrored(1), traced, lazy)
    np.testing.assert_allclose(golden[1], one[1], rtol=1e-4)
    assert golden[2] == one[2]


@pytest.mark.parametrize("traced", [False, True])
def test_a_lazy_model_is_built_although_replicas_have_no_rows(traced):
    _, losses, _ = custom_loop(mirrored(4), traced, lazy=True, rows=2)
    assert losses[1] < losses[0]


class Subclassed(tf.keras.Model):
    def __init__(self):
        super().__init__(name="subclassed")
        self.first, self.second = dense(4, 3), dense(2, 4)

    def call(self, x, training=False):
        return self.second(tf.nn.relu(self.first(x)))


def test_a_subclassed_model_is_built_by_fit():
    def work(strategy):
        with strategy.scope():
            model = Subclassed()
            model.compile(tf.keras.optimizers.Adam(name="adam"), crossentropy())
        model.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
        return digest(model.get_weights())

    golden = work(mirrored(3))
    assert on_threads(2, 3, work) == [golden] * 2


def test_an_optimizer_made_outside_the_scope_trains():
    optimizer = tf.keras.optimizers.SGD(0.1, momentum=0.9)
    strategy = mirrored(3)
    with strategy.scope():
        model = network(norm=False)
        model.compile(optimizer, crossentropy())
    model.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
    assert int(optimizer.iterations) == 4
    alone = network(norm=False)
    alone.compile(tf.keras.optimizers.SGD(0.1, momentum=0.9), crossentropy())
    alone.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), alone.get_weights()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_fit_goes_on_from_loaded_weights(tmp_path):
    def work(strategy):
        model = compiled(strategy)
        path = str(tmp_path / f"{strategy.num_workers}-{strategy.worker_rank}.weights.h5")
        digests = []
        for _ in range(2):
            model.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
            digests.append(digest(model.get_weights()))
            if len(digests) == 1:
                model.save_weights(path)
        model.load_weights(path)
        assert digest(model.get_weights()) == digests[0]
        model.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
        return [*digests, digest(model.get_weights())]

    golden = work(mirrored(3))
    assert golden[0] != golden[1] == golden[2]  # the file holds Adam's moments as well
    assert on_threads(2, 3, work) == [golden] * 2


@pytest.mark.parametrize(
    "more", [{}, {"sample_weight": WEIGHTS}, {"class_weight": {0: 1.0, 1: 3.0}}], ids=str
)
def test_replicas_train_like_one_process_up_to_rounding(more):
    _, history = fitted(mirrored(3), norm=False, **more)
    _, plain = fitted(tf.distribute.get_strategy(), norm=False, **more)
    for name, expected in plain.items():
        np.testing.assert_allclose(history[name], expected, rtol=1e-4, err_msg=name)
    results = on_threads(2, 3, lambda strategy: fitted(strategy, norm=False, **more))
    assert results[0] == results[1]
    assert results[0][1] == history


def test_class_weights_on_a_distributed_data_set_with_absent_replicas():
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)

    def losses(strategy, data):
        model = compiled(strategy, norm=False)
        weights = {0: 1.0, 1: 2.0}
        return model.fit(data, epochs=2, verbose=0, class_weight=weights).history["loss"]

    strategy = mirrored(3)
    data = strategy.experimental_distribute_dataset(dataset)
    np.testing.assert_allclose(
        losses(strategy, data), losses(tf.distribute.get_strategy(), dataset), rtol=1e-5
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_fit_takes_a_distributed_data_set_as_it_is_cut(workers):
    """With one replica a worker its elements look like global batches."""

    def work(strategy):
        dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
        model = compiled(strategy)
        data = strategy.experimental_distribute_dataset(dataset)
        model.fit(data, epochs=2, verbose=0)
        assert model.predict(data, verbose=0).shape == (50, 2)
        return digest(model.get_weights())

    assert on_threads(workers, 3, work) == [fitted(mirrored(3))[0]] * workers


@pytest.mark.parametrize("workers", [2, 3])
def test_several_outputs(workers):
    def work(strategy):
        with strategy.scope():
            inputs = tf.keras.Input((6,), name="inputs")
            hidden = dense(4, 1, activation="tanh")(inputs)
            outputs = {"a": dense(2, 2)(hidden), "b": dense(1, 3)(hidden)}
            model = tf.keras.Model(inputs, outputs)
            model.compile(
                "sgd", {"a": crossentropy(), "b": "mse"}, loss_weights={"a": 1.0, "b": 0.5},
                metrics={"a": ["accuracy"], "b": ["mae"]},
            )  # fmt: skip
        targets = {"a": Y, "b": X[:, :1]}
        history = model.fit(X, targets, batch_size=16, shuffle=False, verbose=0).history
        return digest(model.get_weights()), history, model.evaluate(X, targets, verbose=0)

    golden = work(mirrored(3))
    assert on_threads(workers, 3, work) == [golden] * workers
    plain = work(tf.distribute.get_strategy())
    for name, expected in plain[1].items():
        np.testing.assert_allclose(golden[1][name], expected, rtol=1e-5, err_msg=name)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("traced", [False, True])
def test_a_variable_without_a_gradient_stays(traced):
    strategy = mirrored(3)
    with strategy.scope():
        used, unused = tf.Variable([1.0, 2.0]), tf.Variable(3.0)
        optimizer = tf.keras.optimizers.SGD(0.5)

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(used * used)
        gradients = tape.gradient(loss, [used, unused])
        assert gradients[1] is None
        optimizer.apply_gradients(zip(gradients, [used, unused]))

    def run():
        strategy.run(step)

    (tf.function(run) if traced else run)()
    np.testing.assert_array_equal(used, [-2.0, -4.0])  # 1 - 0.5 * 3 * 2, 2 - 0.5 * 3 * 4
    assert float(unused) == 3.0


def test_an_error_in_one_replica_of_a_function_is_the_error_of_the_call():
    strategy = mirrored(3)

    def step():
        replica = tf.distribute.get_replica_context()
        tf.debugging.assert_less(replica.replica_id_in_sync_group, 2, message="replica two")
        return replica.all_reduce("sum", tf.constant(1.0))

    with pytest.raises(errors.InvalidArgumentError, match="replica two"):
        tf.function(lambda: strategy.run(step))()


def test_a_failing_step_restores_weights_everywhere_and_names_the_cause():
    bad = Y[:16].copy()
    bad[1] = 9  # in a replica of rank 0

    def work(strategy):
        model = compiled(strategy)
        model.fit(X, Y, batch_size=16, verbose=0)
        before, found = digest(model.get_weights()), []
        for labels in (bad, Y[:16]):
            with pytest.raises(errors.OpError) as caught:
                model.fit(X[:16], labels, batch_size=16, shuffle=False, verbose=0)
            found.append(caught.value)
        assert digest(model.get_weights()) == before
        return found

    (first, then), (first_of_other, then_of_other) = on_threads(2, 4, work)
    assert isinstance(first, errors.InvalidArgumentError)
    assert "labels must be in [0, 2); received 9" in str(first)
    assert isinstance(first_of_other, errors.AbortedError)
    assert "rank 0 gave up: InvalidArgumentError" in str(first_of_other)
    for error in (then, then_of_other):
        assert "unusable since" in str(error)
        assert "labels must be in [0, 2); received 9" in str(error)


def test_a_model_made_outside_the_scope_is_refused():
    model = network()
    model.compile("sgd", crossentropy())
    with mirrored(2).scope():
        with pytest.raises(errors.InvalidArgumentError, match="made outside of it: "):
            model.compile("sgd", crossentropy())
        with pytest.raises(errors.InvalidArgumentError, match="another strategy, or of none"):
            model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_pipelines_of_different_lengths_end_together(workers):
    def work(strategy):
        def pipeline(context):
            rows = 4 + 4 * context.input_pipeline_id
            return tf.data.Dataset.from_tensor_slices(X[:rows]).batch(4)

        dataset = strategy.distribute_datasets_from_function(pipeline)
        return [float(strategy.reduce("SUM", strategy.run(tf.reduce_sum, (x,)))) for x in dataset]

    expected = {1: [X[:4].sum()], 2: [2 * X[:4].sum(), X[4:8].sum()]}[workers]
    for result in on_threads(workers, 2, work):
        np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_a_function_takes_the_next_element_at_each_call():
    strategy = mirrored(2)
    dataset = tf.data.Dataset.from_tensor_slices(X[:5]).batch(2)
    iterator = iter(strategy.experimental_distribute_dataset(dataset))

    @tf.function
    def step(iterator):
        return strategy.reduce("SUM", strategy.run(tf.reduce_sum, (next(iterator),)), axis=None)

    sums = [float(step(iterator)) for _ in range(3)]
    np.testing.assert_allclose(sums, [X[:2].sum(), X[2:4].sum(), X[4].sum()], rtol=1e-5)
    with pytest.raises(errors.OutOfRangeError, match="end of sequence"):
        step(iterator)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_function_loops_over_a_distributed_data_set(workers):
    def work(strategy):
        dataset = tf.data.Dataset.from_tensor_slices(X[:7]).batch(4)
        dataset = strategy.experimental_distribute_dataset(dataset)

        @tf.function
        def epoch():
            total = 0.0
            for element in dataset:
                total += strategy.reduce("SUM", strategy.run(tf.reduce_sum, (element,)), axis=None)
            return total

        return [float(epoch()) for _ in range(2)]

    for result in on_threads(workers, 2, work):
        np.testing.assert_allclose(result, [X[:7].sum()] * 2, rtol=1e-5)


@pytest.mark.parametrize("on_rank", [None, 0, 1])
def test_batch_logs_are_read_by_all_workers_or_by_none(on_rank):
    """Reading metrics is collective: one worker's callback makes all of them read."""

    class Seen(tf.keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.losses = []

        def on_train_batch_end(self, batch, logs=None):
            self.losses.append(logs["loss"])

    def work(strategy):
        seen = Seen()
        callbacks = [seen] if strategy.worker_rank == on_rank else []
        model = compiled(strategy)
        model.fit(X, Y, batch_size=16, verbose=0, callbacks=callbacks)
        return len(seen.losses), strategy.communicator._sequence

    results = on_threads(2, 2, work)
    assert [count for count, _ in results] == [4 if rank == on_rank else 0 for rank in range(2)]
    calls = {sequence for _, sequence in results}
    assert len(calls) == 1


def test_predict_gives_shuffles_one_order_on_all_workers():
    def work(strategy):
        model = compiled(strategy)
        data = tf.data.Dataset.from_tensor_slices(X).shuffle(50).batch(16)
        return np.sort(model.predict(data, verbose=0), axis=0)

    expected = work(mirrored(2))
    for rows in on_threads(2, 2, work):
        np.testing.assert_allclose(rows, expected, rtol=1e-5)

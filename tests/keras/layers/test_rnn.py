"""Recurrent layers: values against NumPy loops, masks, states, dropout."""

import numpy as np
import pytest

import distflow as tf
from distflow import keras
from distflow.base import errors
from distflow.keras import layers
from tests.keras.layers.rnn_loops import (
    BATCH,
    MASK,
    RNG,
    TIME,
    UNITS,
    WIDTH,
    X,
    both,
    close,
    each_layer,
    made,
    unrolled,
)

# -- values --------------------------------------------------------------------------------


@both
@each_layer
def test_outputs_and_states_are_those_of_a_numpy_loop(name, run):
    layer = made(name, return_sequences=True, return_state=True)
    outputs, *states = run(lambda x: layer(x))(tf.constant(X))
    expected, last = unrolled(name, layer.get_weights())
    close(outputs, expected)
    for one, other in zip(states, last):
        close(one, other)


@each_layer
def test_the_last_output_is_that_of_the_last_step(name):
    close(made(name)(X), unrolled(name, made(name).get_weights())[0][:, -1])


@each_layer
def test_unknown_batch_and_time_change_nothing(name):
    layer = made(name, return_sequences=True)
    f = tf.function(lambda x: layer(x)).get_concrete_function(
        tf.TensorSpec([None, None, WIDTH], tf.float32)
    )
    close(f(tf.constant(X)), unrolled(name, layer.get_weights())[0])


@both
@each_layer
def test_going_backwards_gives_outputs_in_the_order_of_computation(name, run):
    backwards = made(name, return_sequences=True, go_backwards=True)
    close(run(lambda x: backwards(x))(X[:, ::-1]), unrolled(name, backwards.get_weights())[0])


@both
@each_layer
def test_unrolled_steps_are_those_of_the_loop(name, run):
    looped, unrolled_layer = (made(name, return_sequences=True, unroll=u) for u in (False, True))
    close(run(lambda x: unrolled_layer(x))(X), looped(X).numpy())


def test_the_gate_of_forgetting_starts_open():
    bias = layers.LSTM(UNITS).cell
    bias.build((None, WIDTH))
    np.testing.assert_array_equal(bias.bias.numpy(), [0, 0, 1, 1, 0, 0, 0, 0])


def test_the_loop_is_one_node_and_weights_are_no_part_of_its_records():
    layer = made("LSTM")

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(layer(x))
        return tape.gradient(y, layer.trainable_weights)

    graph = gradients.get_concrete_function(tf.constant(X)).graph
    forward, backward = [n for n in graph.nodes if n.primitive.name == "scan"]
    # No step multiplies its input by the kernel, or adds up a gradient of the weights.
    products = [
        sum(n.primitive.name == "dot_general" for n in loop.attributes["body_graph"].nodes)
        for loop in (forward, backward)
    ]
    assert products == [1, 1]
    assert backward.attributes["num_carried"] == 2
    assert all(tuple(v.shape)[1:2] != (UNITS,) for v in forward.outputs[2:])


# -- masks ---------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("zeros", [False, True])
@each_layer
def test_masked_steps_keep_the_state_and_repeat_the_output(name, zeros, unroll, run):
    layer = made(
        name, return_sequences=True, return_state=True, zero_output_for_mask=zeros, unroll=unroll
    )
    outputs, *states = run(lambda x, m: layer(x, mask=m))(tf.constant(X), tf.constant(MASK))
    expected, last = unrolled(name, layer.get_weights(), MASK, zeros)
    close(outputs, expected)
    for one, other in zip(states, last):
        close(one, other)
    layer.return_sequences = False
    close(layer(X, mask=MASK)[0], expected[:, -1])


@both
@each_layer
def test_masked_steps_give_zeros_first_whatever_the_first_state(name, run):
    layer = made(name, return_sequences=True)
    states = [np.full((BATCH, UNITS), 0.5, "float32")] * (2 if name == "LSTM" else 1)
    outputs = run(lambda x, m, *s: layer(x, mask=m, initial_state=list(s)))(
        tf.constant(X), tf.constant(MASK), *map(tf.constant, states)
    )
    close(outputs, unrolled(name, layer.get_weights(), MASK, states=states)[0])
    assert (outputs.numpy()[0, 0] == 0).all()


def test_the_mask_of_an_embedding_reaches_the_layer_and_goes_on():
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    embedding, lstm = layers.Embedding(4, WIDTH, mask_zero=True), layers.LSTM(UNITS)
    inner = layers.LSTM(UNITS, return_sequences=True)
    embedded = embedding(ids)
    np.testing.assert_array_equal(inner(embedded)._keras_mask, ids != 0)
    found = lstm(embedded)
    close(found[1], lstm(embedding(ids[1:, :1]))[0].numpy())
    assert getattr(found, "_keras_mask", None) is None


def test_bidirectional_leaves_masked_steps_out_of_both_directions():
    layer = layers.Bidirectional(layers.GRU(UNITS, return_sequences=True))
    found = layer(X, mask=MASK).numpy()
    assert (found[~MASK] == 0).all()
    short = layer(X[2:, :3]).numpy()
    close(found[2:, :3], short)


# -- states --------------------------------------------------------------------------------


@each_layer
def test_two_halves_with_the_state_handed_on_are_the_whole(name):
    layer = made(name, return_state=True)
    _, *states = layer(X[:, :2])
    whole = layer(X)
    for one, other in zip(layer(X[:, 2:], initial_state=states), whole):
        close(one, other.numpy())


@both
@each_layer
def test_a_stateful_layer_goes_on_from_batch_to_batch(name, run):
    layer = made(name, stateful=True)
    call = run(lambda x: layer(x))
    whole, weights = unrolled(name, layer.get_weights())[0], layer.weights
    close(call(tf.constant(X[:, :2])), whole[:, 1])
    close(call(tf.constant(X[:, 2:4])), whole[:, 3])
    layer.reset_state()
    close(call(tf.constant(X[:, :2])), whole[:, 1])
    assert not any("rnn_state" in w.name for w in weights)


def test_a_stateful_layer_wants_a_known_batch_size_and_keeps_to_it():
    with pytest.raises(ValueError, match="batch size must be static"):
        layers.LSTM(UNITS, stateful=True)(keras.Input((TIME, WIDTH)))
    layer = made("LSTM", stateful=True)
    with pytest.raises(ValueError, match="batch size"):
        layer(X[:2])


def test_encoder_and_decoder_share_states_in_a_functional_model():
    source, target = keras.Input((None, WIDTH)), keras.Input((None, WIDTH))
    _, *states = layers.LSTM(UNITS, return_state=True)(source)
    decoded = layers.LSTM(UNITS, return_sequences=True)(target, initial_state=states)
    model = keras.Model([source, target], decoded)
    found = model.predict([X, X[:, :2]], verbose=0)
    encoder, decoder = (layer for layer in model.layers if isinstance(layer, layers.LSTM))
    _, *values = encoder(X)
    close(found, decoder(X[:, :2], initial_state=values).numpy())


# -- dropout -------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_dropout_draws_one_mask_for_all_steps(name, run):
    layer = made(name, dropout=0.5, return_sequences=True)
    ones = tf.ones((BATCH, TIME, WIDTH))
    cell, drawn = layer.cell, []
    before = cell.project

    def project(x, training):
        drawn.append(cell.get_dropout_mask(x[0]))
        return before(x, training)

    cell.project = project

    def both_ways(x):
        return layer(x, training=True), drawn[-1]

    found, mask = run(both_ways)(ones)
    assert set(np.unique(mask)) == {0.0, 2.0}
    del cell.project
    expected = layer(np.repeat(mask.numpy()[:, None], TIME, 1))
    close(found, expected.numpy())


@pytest.mark.parametrize("which", ["dropout", "recurrent_dropout"])
@each_layer
def test_dropout_happens_in_training_only_and_anew_in_each_call(name, which):
    layer = made(name, **{which: 0.5, "return_sequences": True})
    close(layer(X), unrolled(name, layer.get_weights())[0])
    train = tf.function(lambda x: layer(x, training=True))
    assert np.abs(train(X).numpy() - train(X).numpy()).max() > 0


def test_dropout_reaches_each_of_stacked_cells():
    cells = [layers.LSTMCell(UNITS, dropout=0.5), layers.GRUCell(UNITS + 1, dropout=0.5)]
    layer = layers.RNN(cells, return_sequences=True)
    train = tf.function(lambda x: layer(x, training=True))
    assert train(X).shape == (BATCH, TIME, UNITS + 1)
    assert np.abs(train(X).numpy() - train(X).numpy()).max() > 0


# -- training and saving -------------------------------------------------------------------


def test_a_model_learns_to_remember_the_first_step():
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(256, 6, 1)).astype("float32")
    model = keras.Sequential([keras.Input((None, 1)), layers.LSTM(8), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.03), "mse")
    history = model.fit(x, x[:, 0], batch_size=64, epochs=12, verbose=0).history["loss"]
    assert history[-1] < history[0] / 4


def test_a_saved_model_gives_the_same_predictions(tmp_path):
    model = keras.Sequential([
        keras.Input((None,)),
        layers.Embedding(9, 4, mask_zero=True),
        layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        layers.RNN([layers.LSTMCell(3), layers.SimpleRNNCell(2)], return_sequences=True),
        layers.TimeDistributed(layers.Dense(2)),
        layers.LSTM(2),
    ])  # fmt: skip
    ids = RNG.integers(0, 9, (4, 6))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(ids, verbose=0), model.predict(ids, verbose=0))


# -- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.LSTM(0), "expected a positive integer"),
        (lambda: layers.RNN(3), "`call` method"),
        (lambda: layers.StackedRNNCells([3]), "`call`"),
        (lambda: layers.RNN(layers.Dense(3)), "state_size"),
        (lambda: layers.Bidirectional(layers.LSTM(2), merge_mode="x"), "merge_mode"),
        (lambda: layers.Bidirectional(layers.Dense(2)), "go_backwards"),
        (
            lambda: layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2)),
            "different `go_backwards`",
        ),
        (lambda: layers.TimeDistributed(3), "must be a Keras layer"),
        (lambda: layers.TimeDistributed(layers.Dense(3))(X[0, 0]), "at least 3 dimensions"),
        (lambda: layers.LSTM(2)(X, initial_state=[X[:, 0, :2]]), "2 initial states"),
        (lambda: layers.LSTM(2)(X[0]), "expected ndim=3"),
        (lambda: layers.LSTM(2, use_cudnn=True), "cuDNN"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises((ValueError, errors.OpError), match=message):
        make()


def test_unrolling_needs_to_know_the_number_of_steps():
    layer = layers.LSTM(UNITS, unroll=True)
    f = tf.function(lambda x: layer(x))
    with pytest.raises(ValueError, match="Cannot unroll"):
        f.get_concrete_function(tf.TensorSpec([None, None, WIDTH], tf.float32))

"""Recurrent layers: values against NumPy loops, masks, states, dropout, cells of one's own."""

import numpy as np
import pytest

import distflow as tf
from distflow import keras
from distflow.base import errors
from distflow.keras import layers

RNG = np.random.default_rng(5)
BATCH, TIME, WIDTH, UNITS = 3, 5, 4, 2
X = RNG.normal(size=(BATCH, TIME, WIDTH)).astype("float32")
# The first step of one example, a hole, and the end of another one are left out.
MASK = np.array([[0, 1, 1, 1, 1], [1, 0, 1, 1, 1], [1, 1, 1, 0, 0]], bool)

both = pytest.mark.parametrize("run", [lambda f: f, tf.function], ids=["eager", "traced"])
each_layer = pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, states, kernel, recurrent, bias):
    h, c = states
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return h, [h, c]


def gru_step(x, states, kernel, recurrent, bias):
    (h,) = states
    x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3, -1)
    h_z, h_r, h_h = np.split(h @ recurrent + bias[1], 3, -1)
    z = sigmoid(x_z + h_z)
    h = z * h + (1 - z) * np.tanh(x_h + sigmoid(x_r + h_r) * h_h)
    return h, [h]


def simple_step(x, states, kernel, recurrent, bias):
    h = np.tanh(x @ kernel + states[0] @ recurrent + bias)
    return h, [h]


STEPS = {"SimpleRNN": simple_step, "LSTM": lstm_step, "GRU": gru_step}


def unrolled(name, weights, mask=None, zeros=False, states=None):
    """Returns (all outputs, last states) by a loop in NumPy."""
    count = 2 if name == "LSTM" else 1
    states = states or [np.zeros((BATCH, UNITS))] * count
    outputs, before = [], np.zeros((BATCH, UNITS))
    for t in range(TIME):
        output, new = STEPS[name](X[:, t], states, *weights)
        if mask is not None:
            keep = mask[:, t, None]
            output = np.where(keep, output, 0 if zeros else before)
            new = [np.where(keep, a, b) for a, b in zip(new, states)]
        outputs.append(output)
        states, before = new, output
    return np.stack(outputs, 1), states


def made(name, **settings):
    """Returns a layer with weights that are no special case, built."""
    layer = getattr(layers, name)(UNITS, **settings)
    layer.build((BATCH, TIME, WIDTH))
    rng = np.random.default_rng(7)
    layer.set_weights([rng.normal(size=w.shape).astype("float32") for w in layer.weights])
    return layer


def close(found, expected):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-5, atol=1e-6)


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


# -- cells ---------------------------------------------------------------------------------


class Counter(layers.Layer):
    """Counts up by the sum of its inputs; its output is twice the count."""

    state_size = 1

    def call(self, inputs, states):
        count = states[0] + tf.reduce_sum(inputs, -1, keepdims=True)
        return 2 * count, [count]


@both
@pytest.mark.parametrize("mask", [None, MASK])
def test_a_cell_of_ones_own_runs_in_the_loop(run, mask):
    layer = layers.RNN(Counter(), return_sequences=True)
    found = run(lambda x: layer(x, mask=mask))(tf.constant(X))
    sums = np.cumsum(X.sum(-1) * (1 if mask is None else mask), 1)
    expected = 2 * sums[..., None]
    if mask is not None:
        expected[0, 0] = 0
    close(found, expected)


def test_a_subclass_with_its_own_call_is_called_in_each_step():
    class Doubled(layers.GRUCell):
        def call(self, inputs, states, training=False):
            output, states = super().call(inputs, states, training)
            return 2 * output, states

    layer = layers.RNN(Doubled(UNITS), return_sequences=True)
    found = layer(X)
    weights = layer.get_weights()
    close(found, 2 * unrolled("GRU", weights)[0])


def test_a_cell_steps_by_itself():
    layer = made("LSTM")
    output, states = layer.cell(X[:, 0], layer.cell.get_initial_state(BATCH))
    expected, last = lstm_step(X[:, 0], [np.zeros((BATCH, UNITS))] * 2, *layer.get_weights())
    close(output, expected)
    close(states[1], last[1])


def test_stacked_cells_give_nested_states():
    layer = layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], return_state=True)
    output, first, second = layer(X)
    assert output.shape == (BATCH, 3)
    assert [t.shape for t in first] == [(BATCH, 2), (BATCH, 2)]
    assert [t.shape for t in second] == [(BATCH, 3)]
    again = layer(X, initial_state=[first, second])
    assert np.abs(again[0].numpy() - output.numpy()).max() > 0


def test_mixed_precision_computes_in_16_bits_and_trains_in_32():
    layer = layers.LSTM(UNITS, dtype="mixed_bfloat16")

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            y = layer(x)
            total = tf.reduce_sum(tf.cast(y, "float32"))
        return y, tape.gradient(total, layer.trainable_weights)

    y, found = gradients(X)
    assert y.dtype is tf.bfloat16
    assert [g.dtype for g in found] == [tf.float32] * 3


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_convolution_of_one_pixel_makes_an_lstm_of_each_pixel(padding):
    lstm = made("LSTM", return_sequences=True)
    layer = layers.ConvLSTM2D(UNITS, 1, padding=padding, return_sequences=True)
    x = RNG.normal(size=(2, TIME, 3, 2, WIDTH)).astype("float32")
    layer.build(x.shape)
    layer.set_weights([w.reshape((1,) * (4 - w.ndim) + w.shape) if w.ndim > 1 else w
                       for w in lstm.get_weights()])  # fmt: skip
    close(layer(x)[:, :, 1, 1], lstm(x[:, :, 1, 1]).numpy())


def test_channels_first_is_channels_last_with_other_axes():
    x = RNG.normal(size=(2, TIME, 5, 4, 3)).astype("float32")
    mask = RNG.random((2, TIME)) > 0.4
    last, first = (
        layers.ConvLSTM2D(UNITS, (3, 2), return_sequences=True, data_format=form)
        for form in ("channels_last", "channels_first")
    )
    expected = last(x, mask=mask).numpy()
    first.build((2, TIME, 3, 5, 4))
    first.set_weights(last.get_weights())
    found = first(np.moveaxis(x, -1, 2), mask=mask)
    close(np.moveaxis(found.numpy(), 2, -1), expected)


def test_a_stateful_convolutional_layer_goes_on_from_batch_to_batch():
    layer = layers.ConvLSTM1D(UNITS, 2, stateful=True)
    x = RNG.normal(size=(2, 4, 5, 3)).astype("float32")
    layer(x[:, :2])
    found = layer(x[:, 2:]).numpy()
    layer.reset_state()
    close(layer(x), found)


def test_convolutional_cells_draw_dropout_masks_for_each_gate():
    layer = layers.ConvLSTM1D(UNITS, 2, dropout=0.5, recurrent_dropout=0.5)
    x = RNG.normal(size=(2, 4, 5, 3)).astype("float32")
    train = tf.function(lambda x: layer(x, training=True))
    assert np.abs(train(x).numpy() - train(x).numpy()).max() > 0
    assert np.abs(layer(x).numpy() - layer(x).numpy()).max() == 0


# -- wrappers ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
def test_bidirectional_merges_both_directions(mode):
    layer = layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True), merge_mode=mode)
    found = layer(X)
    forward = layer.forward_layer(X).numpy()
    backward = layer.backward_layer(X).numpy()[:, ::-1]
    merged = {
        "concat": np.concatenate([forward, backward], -1), "sum": forward + backward,
        "mul": forward * backward, "ave": (forward + backward) / 2,
    }  # fmt: skip
    if mode is None:
        close(found[0], forward)
        close(found[1], backward)
    else:
        close(found, merged[mode])


def test_bidirectional_returns_and_takes_the_states_of_both():
    layer = layers.Bidirectional(layers.LSTM(UNITS, return_state=True))
    output, *states = layer(X)
    assert output.shape == (BATCH, 2 * UNITS)
    assert len(states) == 4
    close(output[:, UNITS:], states[2].numpy())
    again = layer(X, initial_state=states)
    close(again[0][:, :UNITS], layer.forward_layer(X, initial_state=states[:2])[0].numpy())


@both
def test_time_distributed_applies_the_layer_to_each_step(run):
    for inner in (
        layers.Dense(2),
        layers.LayerNormalization(),
        keras.Sequential([layers.Dense(2)]),
    ):
        layer = layers.TimeDistributed(inner)
        found = run(lambda x, layer=layer: layer(x))(tf.constant(X))
        close(found, np.stack([inner(X[:, t]).numpy() for t in range(TIME)], 1))


def test_time_distributed_batch_norm_takes_the_statistics_of_each_step():
    layer = layers.TimeDistributed(layers.BatchNormalization())
    found = layer(X, training=True).numpy()
    close(found.mean(0), np.zeros((TIME, WIDTH)))


def test_time_distributed_hands_each_step_its_mask():
    inner = layers.LSTM(UNITS)
    x = RNG.normal(size=(2, 3, TIME, WIDTH)).astype("float32")
    mask = RNG.random((2, 3, TIME)) > 0.4
    found = layers.TimeDistributed(inner)(x, mask=mask)
    close(found[:, 1], inner(x[:, 1], mask=mask[:, 1]).numpy())


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

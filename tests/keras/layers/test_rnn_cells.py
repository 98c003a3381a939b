"""Cells of recurrent layers, of one's own and stacked, convolutional ones, and wrappers."""

import numpy as np
import pytest

import distflow as tf
from distflow import keras
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
    lstm_step,
    made,
    unrolled,
)

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

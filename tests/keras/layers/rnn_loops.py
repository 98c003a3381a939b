"""Recurrent layers computed by loops in NumPy, and the inputs of their tests."""

import numpy as np
import pytest

import distflow as tf
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

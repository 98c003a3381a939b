"""Recurrent layers with masks and states against Keras 3 on TensorFlow: outputs and gradients."""

import numpy as np
import pytest

from distflow.autodiff import GradientTape
from distflow.core.convert import convert_to_tensor
from distflow.function import function
from distflow.keras import layers
from distflow.ops.math import sin
from distflow.ops.reduce import reduce_sum
from tests.keras.battery import Sample, keras_or_skip

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(11)
X = RNG.normal(size=(3, 5, 4)).astype("float32")
MASK = np.array([[0, 1, 1, 1, 1], [1, 0, 1, 1, 0], [1, 1, 1, 0, 0]], bool)
STATES = [RNG.normal(size=(3, 2)).astype("float32") for _ in range(2)]


@pytest.fixture(scope="module")
def keras():
    return keras_or_skip()


def _rnn(name, **settings):
    return Sample(name, {"units": 2, "return_state": True, **settings})


# Not unroll, go_backwards and zero_output_for_mask together: there Keras puts the mask, in the
# order of time, on outputs in the order of computation, unlike in its own loop.
SAMPLES = [
    *(
        _rnn(name, return_sequences=all_outputs, go_backwards=backwards, unroll=unroll,
             zero_output_for_mask=zeros)
        for name in ("SimpleRNN", "LSTM", "GRU")
        for all_outputs, backwards, unroll, zeros in (
            (True, False, False, False), (True, True, False, True), (False, True, False, False),
            (False, False, True, False), (True, False, True, True), (False, False, False, True),
        )
    ),
    _rnn("GRU", reset_after=False),
    Sample("Bidirectional", {"layer": _rnn("LSTM", return_sequences=True)}),
    Sample("Bidirectional", {"layer": _rnn("GRU"), "merge_mode": "sum"}),
]  # fmt: skip


def _is_lstm(sample):
    return sample.name == "LSTM" or "LSTM" in str(sample.settings.get("layer"))


@pytest.mark.parametrize("masked", [False, True], ids=["all steps", "masked"])
@pytest.mark.parametrize("with_state", [False, True], ids=["from zero", "from states"])
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_outputs_states_and_gradients_equal_those_of_keras(keras, sample, masked, with_state):
    import tensorflow as tf

    theirs, ours = sample.make(keras.layers), sample.make(layers)
    theirs.build(X.shape)
    ours.build(X.shape)
    values = [RNG.normal(size=w.shape).astype("float32") for w in theirs.weights]
    theirs.set_weights(values)
    ours.set_weights(values)
    states = STATES[: 2 if _is_lstm(sample) else 1] * (2 if sample.name == "Bidirectional" else 1)

    def arguments(convert):
        given = {"mask": convert(MASK)} if masked else {}
        return {**given, "initial_state": list(map(convert, states))} if with_state else given

    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        expected = theirs(x, **arguments(tf.constant))
        total = sum(tf.reduce_sum(tf.sin(t)) for t in expected)
    wanted = tape.gradient(total, [x, *[w.value for w in theirs.weights]])

    @function
    def gradients(x, given):
        with GradientTape() as tape:
            tape.watch(x)
            found = ours(x, **given)
            total = sum(reduce_sum(sin(t)) for t in found)
        return found, tape.gradient(total, [x, *ours.weights])

    found, slopes = gradients(convert_to_tensor(X), arguments(convert_to_tensor))
    assert len(found) == len(expected)
    for one, other in zip([*expected, *wanted], [*found, *slopes]):
        np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=1e-5, atol=1e-5)

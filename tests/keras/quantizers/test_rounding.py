"""Quantizers: integers and scales by formula, and equal to Keras's."""

import numpy as np
import pytest

import distflow as tf
from distflow import keras
from tests.keras.battery import keras_or_skip

q = keras.quantizers
_RNG = np.random.default_rng(6)
X = _RNG.normal(size=(5, 6)).astype("float32")


def arrays(value):
    return [np.asarray(v) for v in (value if isinstance(value, tuple) else (value,))]


def test_the_largest_of_a_row_becomes_the_largest_integer():
    values, scale = q.abs_max_quantize(X, axis=1)
    assert values.dtype == "int8"
    np.testing.assert_array_equal(np.abs(values).max(1), 127)
    np.testing.assert_allclose(
        np.asarray(values) / np.asarray(scale), X, atol=np.abs(X).max() / 254
    )


def test_a_row_of_zeros_stays_zeros():
    values, scale = q.abs_max_quantize(np.zeros((2, 3), "float32"), axis=1)
    assert not np.asarray(values).any()
    assert np.isfinite(scale).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize(("axis", "size"), [(0, 5), (1, 4), (-1, 3), (0, 1)])
def test_packed_integers_come_back(dtype, axis, size):
    shape = [2, 2, 2]
    shape[axis] = size
    low = -8 if dtype == "int8" else 0
    values = _RNG.integers(low, low + 16, shape).astype(dtype)
    packed, packed_shape, length = q.pack_int4(values, axis, dtype)
    assert packed_shape[axis] == -(-size // 2)
    assert length == size
    np.testing.assert_array_equal(q.unpack_int4(packed, length, axis, dtype), values)


def test_fake_quantised_numbers_are_multiples_of_a_step_within_the_range():
    found = np.asarray(q.fake_quant_with_min_max_vars(X, -1.0, 1.5, num_bits=3))
    step = 2.5 / 7
    assert np.allclose(found / step, np.round(found / step), atol=1e-5)
    assert 0 in np.round(found, 6)
    assert found.min() >= -1 - step
    assert found.max() <= 1.5 + step


def test_gradients_of_fake_quantised_numbers_go_to_what_limits_them():
    x = tf.constant([-3.0, 0.2, 0.4, 5.0, 7.0])
    low, high = tf.Variable(-1.0), tf.Variable(1.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(q.fake_quant_with_min_max_vars(x, low, high) * [1.0, 2, 3, 4, 5])
    gx, gl, gh = tape.gradient(y, [x, low, high])
    assert np.asarray(gx).tolist() == [0, 2, 3, 0, 0]
    assert (float(gl), float(gh)) == (1, 9)


def test_float8_keeps_three_bits_and_lets_gradients_through():
    x = tf.constant([1.06, -2.2, 1000.0, 0.3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = q.quantize_and_dequantize(x, 1.0, "float8_e4m3fn", "float32")
    assert np.asarray(y).tolist() == [1.0, -2.25, 448.0, 0.3125]
    assert np.asarray(tape.gradient(y, x)).tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("name", ["AbsMaxQuantizer", "abs_max_quantizer"])
def test_quantizers_go_by_name_and_config(name):
    found = q.get(name)
    assert isinstance(found, q.AbsMaxQuantizer)
    again = q.deserialize(q.serialize(q.AbsMaxQuantizer(axis=0, value_range=(-7, 7))))
    assert again.get_config() == {"axis": (0,), "epsilon": 1e-07, "output_dtype": "int8",
                                  "value_range": (-7, 7)}  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: q.AbsMaxQuantizer(value_range=(-200, 127)), ValueError, r"\[-128, 127\]"),
        (lambda: q.pack_int4(X, dtype="int16"), ValueError, "'int8' or 'uint8'"),
        (lambda: q.pack_int4(X), TypeError, "Expected int8"),
        (lambda: q.unpack_int4(X, 3), TypeError, "int8 or uint8"),
        (lambda: q.get("best"), ValueError, "quantizer"),
        (lambda: q.abs_max_quantize_grouped_with_zero_point(X[0], 2), ValueError, "matrix"),
        (lambda: q.Int8QuantizationConfig(q.Quantizer("int4")), ValueError, "int8"),
        (lambda: q.QuantizationConfig().mode, NotImplementedError, "Subclasses"),
        (lambda: keras.dtype_policies.QuantizedDTypePolicy("int3"), ValueError, "int8"),
        (lambda: keras.dtype_policies.get("int8_from_float16"), ValueError, "float16"),
    ],
)  # fmt: skip
def test_wrong_calls_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


CALLS = {
    "rows": lambda q: q.abs_max_quantize(X, 1),
    "all": lambda q: q.abs_max_quantize(X, (0, 1), (-8, 7)),
    "host": lambda q: q.abs_max_quantize(X, 0, to_numpy=True),
    "quantizer": lambda q: q.AbsMaxQuantizer(axis=0)(X),
    "groups": lambda q: q.abs_max_quantize_grouped_with_zero_point(X, 2, to_numpy=True),
    "one group": lambda q: q.abs_max_quantize_grouped_with_zero_point(X, 8, to_numpy=True),
    "fake": lambda q: q.fake_quant_with_min_max_vars(X, -1.3, 0.9),
    "narrow": lambda q: q.fake_quant_with_min_max_vars(X, -0.1, 2.0, 4, True),
    "channels": lambda q: q.fake_quant_with_min_max_vars(
        X, np.full(6, -1.0, "float32"), np.linspace(0.5, 2, 6, dtype="float32"), axis=1),
    "first axis": lambda q: q.fake_quant_with_min_max_vars(
        X, np.full(5, -1.0, "float32"), np.linspace(0.5, 2, 5, dtype="float32"), axis=0),
    "scale": lambda q: q.compute_float8_scale(np.float32(3), np.float32(0.5), 448.0),
    "no scale": lambda q: q.compute_float8_scale(np.float32(0), np.float32(0.5), 448.0, 1),
    "history": lambda q: q.compute_float8_amax_history(X, np.arange(4, dtype="float32")),
    "float8": lambda q: q.quantize_and_dequantize(9 * X, np.float32(0.3), "float8_e4m3fn",
                                                  "float32"),
    "pack": lambda q: q.pack_int4(np.array([[-3, 7], [2, -8], [1, 0]], "int8"), 0)[0],
    "unpack": lambda q: q.unpack_int4(np.array([[45, -121], [1, 0]], "int8"), 3),
}  # fmt: skip


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_numbers_are_those_of_keras(name):
    keras3 = keras_or_skip()
    for a, b in zip(arrays(CALLS[name](q)), arrays(CALLS[name](keras3.quantizers)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)

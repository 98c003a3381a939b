"""`quantize("int8")`: near the floats, equal to Keras, in files, with LoRA, in training."""

import numpy as np
import pytest

import distflow as tf
from distflow import keras
from tests.keras.battery import keras_or_skip

_RNG = np.random.default_rng(8)
X = _RNG.normal(size=(3, 4, 6)).astype("float32")
IDS = _RNG.integers(0, 7, (3, 4))
LAYERS = {
    "Dense": (lambda k: k.layers.Dense(5, "relu"), X),
    "Dense without bias": (lambda k: k.layers.Dense(5, use_bias=False), X[:, 0]),
    "Embedding": (lambda k: k.layers.Embedding(7, 5), IDS),
    "EinsumDense to heads": (
        lambda k: k.layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"), X),
    "EinsumDense from heads": (
        lambda k: k.layers.EinsumDense("abcd,cde->abe", (None, 4), bias_axes="e"),
        _RNG.normal(size=(3, 4, 2, 3)).astype("float32")),
    "EinsumDense turned": (lambda k: k.layers.EinsumDense("abc,cd->adb", (5, 4)), X),
    "EinsumDense by place": (lambda k: k.layers.EinsumDense("abc,bcd->abd", (4, 5)), X),
}  # fmt: skip
CONFIGS = {
    "default": lambda k: None,
    "weights": lambda k: k.quantizers.Int8QuantizationConfig(activation_quantizer=None),
}


def quantized(k, name, config="default", lora=False):
    layer = LAYERS[name][0](k)
    layer.build(LAYERS[name][1].shape)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape).astype("float32") for w in layer.weights])
    layer.quantize("int8", config=CONFIGS[config](k))
    if lora:
        layer.enable_lora(2)
        for variable in layer.trainable_weights:
            variable.assign(rng.normal(size=tuple(variable.shape)).astype("float32"))
    return layer


@pytest.mark.parametrize("name", LAYERS)
def test_results_are_near_those_of_floats(name):
    make, x = LAYERS[name]
    layer = make(keras)
    before = np.asarray(layer(x))
    layer.quantize("int8")
    assert sum(w.dtype == "int8" for w in layer.weights) == 1
    assert layer.quantization_mode == "int8"
    np.testing.assert_allclose(layer(x), before, atol=0.03 * np.abs(before).max())


def test_sums_of_many_integers_are_exact():
    # 20,000 products of 127 * 127 cancel as many others: float32 loses the one product of 1.
    layer = keras.layers.Dense(1, use_bias=False)
    layer.build((1, 40_001))
    kernel = np.repeat([1.0, 1 / 127, -1.0], [20_000, 1, 20_000]).astype("float32")
    layer.set_weights([kernel[:, None]])
    layer.quantize("int8")
    x = np.ones((1, 40_001), "float32")
    x[0, 20_000] = 1 / 127
    np.testing.assert_allclose(layer(x), [[1 / 127**2]], rtol=1e-6)


def test_a_model_is_quantised_but_for_what_is_filtered():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, name="first"),
                              keras.layers.Dense(4, name="second")])  # fmt: skip
    model.compile("sgd", "mse")
    before = model.predict(X[:, 0], verbose=0)
    model.quantize("int8", filters="sec")
    assert [layer.quantization_mode for layer in model.layers] == [None, "int8"]
    after = model.predict(X[:, 0], verbose=0)
    assert not np.array_equal(after, before)
    np.testing.assert_allclose(after, before, atol=0.05)


def test_attention_is_quantised_inside():
    x = keras.Input((4, 6))
    model = keras.Model(x, keras.layers.MultiHeadAttention(2, 3)(x, x))
    before = np.asarray(model(X))
    model.quantize("int8")
    assert sum(w.dtype == "int8" for w in model.weights) == 4
    np.testing.assert_allclose(model(X), before, atol=0.05)


def test_what_is_learned_beside_integers_trains_and_is_rounded_in_files(tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)])
    model.quantize("int8")
    model.layers[0].enable_lora(2)
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x, y = X[:, 0], _RNG.normal(size=(3, 5)).astype("float32")
    integers = np.asarray(model.layers[0]._kernel)
    losses = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    np.testing.assert_array_equal(model.layers[0]._kernel, integers)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=0.08)


class MyDense(keras.layers.Dense):
    pass


def built(cls=keras.layers.Dense):
    layer = cls(3)
    layer.build((None, 2))
    return layer


def twice():
    layer = built()
    layer.quantize("int8")
    layer.quantize("int8")


MAP = keras.dtype_policies.DTypePolicyMap("float32")
BY_ROWS = keras.quantizers.Int8QuantizationConfig(keras.quantizers.AbsMaxQuantizer(axis=-1))


@pytest.mark.parametrize(
    ("policy", "config", "message"),
    [("float16", None, "float16"), ("mixed_float16", None, "float16"), (MAP, None, "map_float32"),
     ("float32", BY_ROWS, r"axis must be \(0,\)")],
    ids=["float16", "mixed", "map", "axis"],
)  # fmt: skip
def test_a_refusal_leaves_the_floats(policy, config, message):
    layer = keras.layers.Dense(3, dtype=policy)
    before = np.asarray(layer(X[:, 0]))
    with pytest.raises(ValueError, match=message):
        layer.quantize("int8", config=config)
    assert layer.quantization_mode is None
    assert layer.get_config()["quantization_config"] is None
    assert len(layer.weights) == 2
    np.testing.assert_array_equal(layer(X[:, 0]), before)


def test_a_model_predicts_by_the_layers_before_the_one_that_refused():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5),
                              keras.layers.Dense(4, dtype=MAP)])  # fmt: skip
    model.compile("sgd", "mse")
    model.predict(X[:, 0], verbose=0)
    with pytest.raises(ValueError, match="map_float32"):
        model.quantize("int8")
    found = model.predict(X[:, 0], verbose=0)
    np.testing.assert_allclose(found, model(X[:, 0]), rtol=1e-5)


def test_a_refused_lora_leaves_the_layer():
    layer = built()
    with pytest.raises(ValueError, match="best"):
        layer.enable_lora(2, b_initializer="best")
    assert (layer.built, layer.lora_rank, len(layer.weights)) == (True, None, 2)
    layer.enable_lora(2)
    assert len(layer.weights) == 4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: built().quantize(), ValueError, "either `mode` or `config`"),
        (lambda: built().quantize("int9"), ValueError, "Invalid quantization mode"),
        (lambda: built().quantize("int4"), tf.errors.UnimplementedError, 'mode="int8"'),
        (lambda: built().quantize(config=3), ValueError, "instance of `QuantizationConfig`"),
        (lambda: built().quantize("float8", config=keras.quantizers.Int8QuantizationConfig()),
         ValueError, "Contradictory"),
        (lambda: built(MyDense).quantize("int8"), NotImplementedError, "MyDense"),
        (lambda: keras.layers.Dense(3).quantize("int8"), ValueError, "built=False"),
        (twice, ValueError, "mode=int8"),
        (lambda: keras.Sequential([keras.Input((2,))]).quantize("int8", filters=3), ValueError,
         "`filters`"),
    ],
)  # fmt: skip
def test_wrong_calls_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_derived_classes_are_left_with_a_warning():
    model = keras.Sequential([keras.Input((2,)), MyDense(3)])
    with pytest.warns(UserWarning, match="MyDense"):
        model.quantize("int8")
    assert model.layers[0].quantization_mode is None


# Keras's own layer of integers fails with LoRA where the kernel's last axis is not the output's.
BOTH = [(name, lora) for name in LAYERS for lora in (False, True)
        if not (lora and name == "EinsumDense turned")]  # fmt: skip


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "lora"), BOTH)
@pytest.mark.parametrize("config", CONFIGS)
def test_results_and_gradients_equal_those_of_keras(name, config, lora):
    keras3 = keras_or_skip()
    import tensorflow as their_tf

    mine, other = quantized(keras, name, config, lora), quantized(keras3, name, config, lora)
    x = LAYERS[name][1]
    for a, b in zip(mine.weights, other.weights, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6)
    found = []
    for side, layer in ((tf, mine), (their_tf, other)):
        with side.GradientTape() as tape:
            given = side.constant(x)
            tape.watch(given)
            y = layer(given)
            loss = side.reduce_sum(y * side.cast(side.shape(y)[-1], "float32") * 0.1)
        gradient = tape.gradient(loss, given) if x.dtype == np.float32 else None
        found.append((np.asarray(y), 0 if gradient is None else np.asarray(gradient)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("writer", ["here", "keras"])
@pytest.mark.parametrize(("name", "lora"), BOTH)
def test_files_go_both_ways(name, lora, writer, tmp_path):
    keras3 = keras_or_skip()
    writes, reads = (keras, keras3) if writer == "here" else (keras3, keras)
    x = LAYERS[name][1]
    inputs = writes.Input(x.shape[1:], dtype=x.dtype.name)
    model = writes.Model(inputs, quantized(writes, name, lora=lora)(inputs))
    expected = np.asarray(model(x))
    model.save(tmp_path / "m.keras")
    found = np.asarray(reads.saving.load_model(tmp_path / "m.keras")(x))
    # What LoRA has learned is rounded into the integers.
    limit = 0.1 * np.abs(expected).max() if lora else 1e-5
    np.testing.assert_allclose(found, expected, atol=limit, rtol=0)

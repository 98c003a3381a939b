"""Layers that prepare data: the battery by table, what adapt finds, files, pipelines."""

import json

import numpy as np
import pytest

import distflow as tf
from distflow import keras
from distflow.base import errors
from distflow.keras import layers
from distflow.keras.layers.preprocessing.siphash import siphash
from tests.keras.layers.data_table import DATA_LAYERS, LOOKUPS, TEXT

each_layer = pytest.mark.parametrize("row", DATA_LAYERS, ids=str)


def same(found, expected):
    if expected.dtype == object:
        assert found.tolist() == expected.tolist()
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@each_layer
def test_output_has_the_announced_shape(row):
    layer = row.ready(layers)
    shapes = [tuple(a.shape) for a in row.arrays]
    announced = layer.compute_output_shape(shapes if isinstance(row.inputs, list) else shapes[0])
    output = row.call(layer, np.asarray)
    assert [a in (None, b) for a, b in zip(announced, output.shape)] == [True] * output.ndim
    assert len(announced) == output.ndim


@each_layer
def test_symbolic_call_gives_shape_and_dtype_of_the_real_one(row):
    layer = row.ready(layers)
    output = row.call(layer, np.asarray)
    symbol = row.call(layer, lambda v: v, arrays=symbols(row))
    assert symbol.dtype is output.dtype
    assert len(symbol.shape) == output.ndim


def symbols(row):
    kinds = ["string" if a.dtype.kind == "U" else str(a.dtype) for a in row.arrays]
    return [keras.Input(a.shape[1:], dtype=k) for a, k in zip(row.arrays, kinds)]


@each_layer
def test_compiled_call_equals_the_eager_one(row, executor):
    layer = row.ready(layers)
    expected = row.call(layer, np.asarray).numpy()
    inputs = [tf.constant(a) for a in row.arrays]
    run = tf.function(lambda *x: row.call(layer, lambda v: v, arrays=list(x)))
    same(run(*inputs).numpy(), expected)


@each_layer
def test_config_makes_an_equal_layer(row):
    layer = row.ready(layers)
    config = json.loads(json.dumps(layer.get_config()))
    again = type(layer).from_config(config)
    if row.adapt is None:
        assert json.dumps(again.get_config()) == json.dumps(layer.get_config())
        same(row.call(again, np.asarray).numpy(), row.call(layer, np.asarray).numpy())


@each_layer
def test_a_saved_model_computes_the_same(row, tmp_path):
    pytest.importorskip("h5py")
    layer, inputs = row.ready(layers), symbols(row)
    model = keras.Model(inputs, row.call(layer, lambda v: v, arrays=inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    values = [tf.constant(a) for a in row.arrays]
    same(again(values).numpy(), model(values).numpy())


# -- adapt -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "data", "wrong"),
    [
        (layers.StringLookup, ["b", "a", "b"], [[1.5]]),
        (layers.IntegerLookup, [3, 4, 3], [["a"]]),
        (layers.TextVectorization, ["b a", "b"], np.zeros((2, 2, 2))),
        (lambda: layers.Discretization(num_bins=3), np.arange(9.0), np.array(["a"])),
    ],
    ids=["strings", "integers", "text", "numbers"],
)
def test_data_that_is_refused_leaves_what_was_found(make, data, wrong):
    layer = make()
    layer.adapt(np.asarray(data))
    before = np.asarray(layer(np.asarray(data)))
    with pytest.raises(ValueError):  # noqa: PT011 (each layer says it in its own words)
        layer.adapt(wrong)
    np.testing.assert_array_equal(layer(np.asarray(data)), before)


def test_weights_of_another_count_leave_the_vocabulary():
    layer = layers.StringLookup(vocabulary=["a", "b"], output_mode="tf_idf", idf_weights=[1.0, 2.0])
    with pytest.raises(errors.InvalidArgumentError, match="length 2; received 1"):
        layer.set_vocabulary(["c", "d"], idf_weights=[1.0])
    assert layer.get_vocabulary() == ["[UNK]", "a", "b"]


@pytest.mark.parametrize("name", ["Normalization", "Discretization"])
def test_adapting_to_a_dataset_is_adapting_to_its_batches_together(name):
    settings = {"Normalization": {}, "Discretization": {"num_bins": 3, "epsilon": 0.001}}[name]
    data = np.random.default_rng(1).normal(size=(100, 2)).astype("float32")
    one, other = (getattr(layers, name)(**settings) for _ in range(2))
    one.adapt(data)
    other.adapt(tf.data.Dataset.from_tensor_slices(data).batch(16))
    assert (one(data).numpy() == other(data).numpy()).mean() > 0.99 or name == "Normalization"
    if name == "Normalization":
        np.testing.assert_allclose(other(data), one(data), rtol=1e-4, atol=1e-6)


def test_normalization_gives_mean_0_and_variance_1():
    data = np.random.default_rng(2).normal(3, 5, size=(200, 4)).astype("float32")
    layer = layers.Normalization()
    layer.adapt(data)
    output = layer(data).numpy()
    np.testing.assert_allclose(output.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(output.var(0), 1, rtol=1e-4)


def test_large_values_keep_their_variance():
    layer = layers.Normalization()
    layer.adapt(np.array([[1e8], [1e8 + 64], [1e8 + 128]], "float64"))
    np.testing.assert_allclose(layer.variance.numpy().item(), np.var([0, 64, 128]), rtol=1e-6)


def test_frequent_words_come_first_and_equally_frequent_ones_in_descending_order():
    layer = layers.StringLookup()
    layer.adapt(tf.data.Dataset.from_tensor_slices(["b", "a", "c", "a", "b", "d", "d"]).batch(3))
    assert layer.get_vocabulary() == ["[UNK]", "d", "b", "a", "c"]


def test_text_of_a_dataset_of_scalars_is_counted():
    layer = layers.TextVectorization()
    layer.adapt(tf.data.Dataset.from_tensor_slices(["The cat", "the dog"]))
    assert layer.get_vocabulary() == ["", "[UNK]", "the", "dog", "cat"]


def test_idf_is_log_of_one_plus_documents_over_one_plus_those_with_the_word():
    layer = layers.TextVectorization(output_mode="tf_idf")
    layer.adapt(np.array(["a b", "a c", "a"]))
    assert layer.get_vocabulary()[1] == "a"
    np.testing.assert_allclose(layer(["a a"]).numpy()[0, 1], 2 * np.log(1 + 3 / 4), rtol=1e-6)


# -- use -----------------------------------------------------------------------------------------


def test_a_layer_prepares_text_inside_a_pipeline():
    layer = layers.TextVectorization(vocabulary=["the", "cat"], output_sequence_length=3)
    data = tf.data.Dataset.from_tensor_slices(["the cat", "a cat"]).batch(2).map(layer)
    assert next(iter(data)).numpy().tolist() == [[2, 3, 0], [1, 3, 0]]


def test_lookup_there_and_back_gives_the_words():
    there = layers.StringLookup(vocabulary=["x", "y"])
    back = layers.StringLookup(vocabulary=there.get_vocabulary(), invert=True)
    assert back(there(["y", "q", "x"])).numpy().tolist() == [b"y", b"[UNK]", b"x"]


def test_a_vocabulary_may_come_from_a_file(tmp_path):
    (tmp_path / "words.txt").write_text("x\ny\n")
    layer = layers.StringLookup(vocabulary=str(tmp_path / "words.txt"))
    assert layer(["y", "x", "z"]).numpy().tolist() == [2, 1, 0]


def test_a_model_trains_on_strings():
    model = keras.Sequential([
        keras.Input((1,), dtype="string"),
        layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot"),
        layers.Dense(1, kernel_initializer="zeros"),
    ])  # fmt: skip
    model.compile("sgd", "mse")
    x = tf.constant([["a"], ["b"], ["a"], ["b"]])
    losses = model.fit(x, np.array([[1.0], [0], [1], [0]]), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_siphash_of_the_reference():
    # The first vectors of the authors' reference implementation: key 00..0f, data 00 01 ...
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    expected = [0x726FDB47DD0E0E31, 0x74F839C593DC67FD, 0x0D6C8009D9A94F5A]
    assert [siphash(bytes(range(n)), key) for n in range(3)] == expected
    assert siphash(bytes(range(15)), key) == 0xA129CA6149BE45E5


def test_the_tables_hold_the_lookups():
    assert {row.name for row in (*LOOKUPS, *TEXT)} == {
        "StringLookup", "IntegerLookup", "TextVectorization",
    }  # fmt: skip

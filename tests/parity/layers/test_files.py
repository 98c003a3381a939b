"""A `.keras` file of every layer: written there and read here, and the other way round."""

import inspect

import numpy as np
import pytest

from distflow import keras as ours
from tests.keras.battery import keras_or_skip
from tests.keras.layers.data_table import DATA_LAYERS, DataRow
from tests.keras.layers.image_table import IMAGE_LAYERS, IMAGES
from tests.keras.layers.table import LAYERS, Row

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

MORE = [
    Row("MixUp", {"seed": 1}, IMAGES),
    Row("CutMix", {"seed": 1}, IMAGES),
    Row("Pipeline", {"layers": [Row("Rescaling", {"scale": 0.5}), Row("CenterCrop",
        {"height": 3, "width": 4})]}, IMAGES),
    Row("Wrapper", {"layer": Row("Dense", {"units": 2})}, np.ones((2, 3), "float32")),
]  # fmt: skip
# Layer -> why there is no row: not made by a user, or holds code that files do not carry.
WITHOUT_ROW = {
    "MaxNumBoundingBoxes": "takes dicts with boxes, and has no weights",
    "InputLayer": "in every file below",
    "Layer": "the base class computes nothing",
    "Lambda": "holds Python code, which files here never carry",
    "Wrapper": "the base class of wrappers computes nothing",
    **dict.fromkeys(
        ("SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells"), "in the rows of RNN"
    ),
}
# Layer -> why it is not there at all.
NOT_THERE = {
    "FlaxLayer": "runs code of JAX",
    "JaxLayer": "runs code of JAX",
    "TorchModuleWrapper": "runs code of PyTorch",
    "TFSMLayer": "runs graphs of TensorFlow's SavedModel",
}
ROWS = [r for r in (*LAYERS, *IMAGE_LAYERS, *DATA_LAYERS, *MORE) if r.name not in WITHOUT_ROW]
# Row -> why Keras 3.15 itself does not read, or not run, the file that it writes.
KERAS_REFUSES = {
    "Equalization": "its own layer is a cycle in a functional model",
    "RandomShear": "its constructor refuses the (-f, f) of its own config",
    "HashedCrossing(num_bins=50)": "crosses two inputs only in a functional model",
}
# Row -> tolerance: bicubic resizing of TensorFlow reads its weights from a table of 1024 steps.
LOOSER = {"bicubic": 2e-3}
# Layer -> why the outputs of the file differ: Keras gives the whole image outside of training.
OTHER_SHAPE = {"RandomCrop": "its documentation says what is done here: the middle, resized"}
# float32 through two libraries; colours near jumps of the hue, points between two pixels.
TOLERANCE = 2e-5


def made(k, row):
    """Returns a model of the layer alone, its weights unlike those that initializers give."""
    layer = row.ready(k.layers) if isinstance(row, DataRow) else row.make(k.layers)
    kinds = {"U": "string", "S": "string"}
    symbols = [
        k.Input(a.shape[1:], dtype=kinds.get(a.dtype.kind, str(a.dtype))) for a in row.arrays
    ]
    model = k.Model(symbols, row.call(layer, lambda v: v, symbols))
    rng = np.random.default_rng(3)
    if not isinstance(row, DataRow):
        for v in model.weights:
            if "float" in str(getattr(v.dtype, "name", v.dtype)):
                v.assign(rng.uniform(0.1, 0.9, tuple(v.shape)).astype("float32"))
    return model


def output(k, model, row):
    convert = k.ops.convert_to_tensor
    found = model([convert(a) for a in row.arrays], training=False)
    return found.numpy() if hasattr(found, "numpy") else np.asarray(found)


def same(row, found, expected):
    if row.name in OTHER_SHAPE:
        return
    tolerance = LOOSER.get(row.settings.get("interpolation"), TOLERANCE)
    assert found.shape == expected.shape
    if expected.dtype == object:
        assert found.tolist() == expected.tolist()
    elif expected.dtype.kind == "f":
        largest = np.abs(expected).max(initial=1.0)
        np.testing.assert_allclose(found, expected, tolerance, tolerance * largest)
    else:
        np.testing.assert_array_equal(found, expected)


def exchange(writer, reader, row, folder):
    model = made(writer, row)
    model.save(folder / "layer.keras")
    again = reader.saving.load_model(folder / "layer.keras")
    same(row, output(reader, again, row), output(writer, model, row))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_file_of_the_layer_goes_both_ways(tmp_path, row):
    theirs = keras_or_skip()
    if row.name in KERAS_REFUSES or str(row) in KERAS_REFUSES:
        with pytest.raises((ValueError, TypeError)):
            exchange(theirs, theirs, row, tmp_path)
        return
    for writer, reader in ((ours, theirs), (theirs, ours)):
        exchange(writer, reader, row, tmp_path)


def test_no_layer_of_keras_is_left_out():
    theirs = keras_or_skip().layers
    names = {n for n in dir(theirs) if inspect.isclass(getattr(theirs, n)) and n != "InputSpec"}
    names -= WITHOUT_ROW.keys() | NOT_THERE.keys()
    rows = {getattr(ours.layers, row.name) for row in ROWS}
    assert sorted(n for n in names if getattr(ours.layers, n) not in rows) == []
    assert [n for n in NOT_THERE if hasattr(ours.layers, n)] == []

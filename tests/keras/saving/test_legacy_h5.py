"""`.h5` files of Keras 2 and 3, written by golden/write_legacy.py with those libraries."""

import pathlib
import sys

import numpy as np
import pytest

from distflow import keras
from distflow.base import errors

GOLDEN = pathlib.Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))
from legacy_inputs import IMAGES, ROWS, TARGETS, TOKENS  # noqa: E402

INPUTS = {"stack": IMAGES, "shared": [ROWS, -ROWS], "sequence": TOKENS, "nested": ROWS}


def outputs(model, name):
    y = model(INPUTS[name], training=False)
    return [np.asarray(part) for part in (y if isinstance(y, list) else [y])]


def expected(library, name):
    with np.load(GOLDEN / f"{library}_outputs.npz") as file:
        found = sorted(key for key in file if key.startswith(f"{name}_") and "moments" not in key)
        return [file[key] for key in found], file[f"{name}_moments"]


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("library", ["tf_keras", "keras"])
def test_whole_models_are_read(library, name):
    model = keras.saving.load_model(GOLDEN / f"{library}_{name}.h5")
    values, _ = expected(library, name)
    for a, b in zip(outputs(model, name), values, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("library", ["tf_keras", "keras"])
def test_optimizers_go_on_with_their_slots(library, name):
    model = keras.saving.load_model(GOLDEN / f"{library}_{name}.h5")
    _, moments = expected(library, name)
    found = [v.numpy() for v in model.optimizer.variables if tuple(v.shape) == (2,)]
    np.testing.assert_array_equal(np.stack(found), moments)
    assert int(model.optimizer.iterations) == 4
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)


def test_a_model_read_from_keras_2_trains_on():
    model = keras.saving.load_model(GOLDEN / "tf_keras_nested.h5")
    before = model.evaluate(ROWS, TARGETS, verbose=0)[0]
    model.fit(ROWS, TARGETS, epochs=3, verbose=0)
    assert model.evaluate(ROWS, TARGETS, verbose=0)[0] < before


@pytest.mark.parametrize("name", INPUTS)
def test_weights_alone_are_read_by_order(name):
    model = keras.saving.load_model(GOLDEN / f"keras_{name}.h5", compile=False)
    model.load_weights(GOLDEN / f"tf_keras_{name}_weights.h5")
    values, _ = expected("tf_keras", name)
    for a, b in zip(outputs(model, name), values, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_weights_are_read_by_name_where_names_agree():
    x = keras.Input((8,))
    model = keras.Model(x, keras.layers.Dense(2, name="one")(keras.layers.Dense(8, name="own")(x)))
    own = model.get_layer("own").get_weights()
    model.load_weights(GOLDEN / "tf_keras_shared_weights.h5", by_name=True)
    source = keras.saving.load_model(GOLDEN / "tf_keras_shared.h5")
    np.testing.assert_array_equal(
        model.get_layer("one").get_weights()[0], source.get_layer("one").get_weights()[0]
    )
    np.testing.assert_array_equal(model.get_layer("own").get_weights()[0], own[0])


def test_weights_that_do_not_fit_are_refused_or_skipped():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(9, name="shared")])
    path = GOLDEN / "tf_keras_shared_weights.h5"
    with pytest.raises(ValueError, match="expected 1 layers, found 3"):
        model.load_weights(path)
    with pytest.raises(ValueError, match=r"expected shape \(3, 9\) for .*shared/kernel"):
        model.load_weights(path, by_name=True)
    before = model.get_weights()[0]
    with pytest.warns(UserWarning, match="Skipping loading weights for layer 'shared'"):
        model.load_weights(path, by_name=True, skip_mismatch=True)
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_a_file_of_weights_is_no_model():
    with pytest.raises(ValueError, match="it holds weights only"):
        keras.saving.load_model(GOLDEN / "tf_keras_stack_weights.h5")


def test_a_damaged_file_is_said(tmp_path):
    (tmp_path / "m.h5").write_bytes(b"nothing")
    with pytest.raises(errors.DataLossError, match="expected a readable HDF5 file"):
        keras.saving.load_model(tmp_path / "m.h5")


def test_by_name_is_for_legacy_files(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ValueError, match=r"Invalid keyword arguments: .*by_name"):
        model.load_weights(tmp_path / "w.weights.h5", by_name=True)

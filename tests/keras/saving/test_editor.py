import numpy as np
import pytest

from distflow import keras


@pytest.fixture
def saved(tmp_path):
    model = keras.Sequential([
        keras.Input((3,)), keras.layers.Dense(2, name="a"), keras.layers.Dense(1, name="b"),
    ])  # fmt: skip
    model.save_weights(tmp_path / "m.weights.h5")
    return model, tmp_path


def test_arrays_are_found_by_path(saved):
    model, folder = saved
    editor = keras.saving.KerasFileEditor(folder / "m.weights.h5")
    np.testing.assert_array_equal(editor.weights_dict["layers/dense"]["0"], model.get_weights()[0])
    assert editor.compare(model) == {"status": "success"}


def test_a_renamed_object_loads_into_another_architecture(saved):
    model, folder = saved
    editor = keras.saving.KerasFileEditor(folder / "m.weights.h5")
    editor.rename_object("layers/dense", "dense_2")
    editor.rename_object("layers/dense_1", "dense")
    editor.delete_object("dense_2")
    editor.save(folder / "n.weights.h5")
    short = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    short.load_weights(folder / "n.weights.h5")
    np.testing.assert_array_equal(short.get_weights()[0], model.get_weights()[2])


def test_arrays_can_be_added_and_deleted(saved):
    _, folder = saved
    editor = keras.saving.KerasFileEditor(folder / "m.weights.h5")
    editor.delete_weight("layers/dense", "1")
    editor.add_weights("dense_1", {"2": np.ones(3)})
    editor.add_object("layers/extra", {"0": np.zeros((2, 2))})
    editor.save(folder / "n.weights.h5")
    again = keras.saving.KerasFileEditor(folder / "n.weights.h5").weights_dict
    assert {path: sorted(arrays) for path, arrays in again.items()} == {
        "layers/dense": ["0"], "layers/dense_1": ["0", "1", "2"], "layers/extra": ["0"],
    }  # fmt: skip


def test_differences_from_a_model_are_named(saved):
    _, folder = saved
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, use_bias=False)])
    found = keras.saving.KerasFileEditor(folder / "m.weights.h5").compare(other)
    assert found["status"] == "error"
    assert found["unexpected"] == ["layers/dense/1", "layers/dense_1/0", "layers/dense_1/1"]
    assert found["shapes"] == {"layers/dense/0": ((3, 2), (4, 2))}


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda e, p: e.rename_object("nothing", "x"), "Object 'nothing' not found"),
        (lambda e, p: e.delete_weight("layers/dense", "9"), "Weight '9' not found"),
        (lambda e, p: e.add_object("layers/dense", {}), "in the file already"),
        (lambda e, p: e.rename_object("layers/dense", "dense_1"), "in the file already"),
        (lambda e, p: e.save(p / "m.h5"), r"expected a `\.weights\.h5` extension"),
        (lambda e, p: keras.saving.KerasFileEditor(p / "m.npz"), "Invalid filename"),
        (lambda e, p: keras.saving.KerasFileEditor(p / "no.keras"), "File not found"),
    ],
)
def test_wrong_edits_are_refused(saved, act, message):
    _, folder = saved
    with pytest.raises(ValueError, match=message):
        act(keras.saving.KerasFileEditor(folder / "m.weights.h5"), folder)

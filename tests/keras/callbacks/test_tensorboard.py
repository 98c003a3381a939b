"""TensorBoard's event files, read back."""

from pathlib import Path

import numpy as np
import pytest

from distflow import keras
from distflow.base import errors
from distflow.keras import layers
from distflow.keras.callbacks import TensorBoard
from distflow.protos import summary_pb2
from distflow.summary import records

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 3)).astype("float32")
Y = X @ np.array([[1.0], [2.0], [-1.0]], "float32")


def events(folder):
    """Returns {tag: [(step, value)]} of all event files of a folder."""
    found = {}
    for path in sorted(Path(folder).glob("events*")):
        for record in records.decode(path.read_bytes()):
            event = summary_pb2.Event.FromString(record)
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value))
    return found


def numbers(folder, tag):
    return [
        (step, float(np.frombuffer(value.tensor.tensor_content, "<f4")[0]))
        for step, value in events(folder)[tag]
    ]


def small_model():
    model = keras.Sequential([layers.Input((3,)), layers.Dense(1, name="out")])
    model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"])
    return model


def fit(callback, epochs=2, **more):
    model = small_model()
    history = model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0, callbacks=[callback], **more)
    return model, history


def test_epochs_are_written_by_name(tmp_path):
    _, history = fit(TensorBoard(tmp_path), validation_data=(X, Y))
    train = numbers(tmp_path / "train", "epoch_loss")
    assert [step for step, _ in train] == [0, 1]
    assert [v for _, v in train] == pytest.approx(history.history["loss"], rel=1e-6)
    validation = numbers(tmp_path / "validation", "epoch_mae")
    assert [v for _, v in validation] == pytest.approx(history.history["val_mae"], rel=1e-6)
    assert numbers(tmp_path / "train", "epoch_learning_rate")[0][1] == pytest.approx(0.05)


def test_evaluations_are_written_over_iterations(tmp_path):
    fit(TensorBoard(tmp_path), validation_data=(X, Y))
    steps = [s for s, _ in numbers(tmp_path / "validation", "evaluation_loss_vs_iterations")]
    assert steps == [4, 8]


def test_without_validation_there_is_no_folder_of_it(tmp_path):
    fit(TensorBoard(tmp_path))
    assert not (tmp_path / "validation").exists()


@pytest.mark.parametrize(("freq", "steps"), [("batch", range(1, 9)), (3, [3, 6])])
def test_batches_are_written_as_often_as_wanted(tmp_path, freq, steps):
    fit(TensorBoard(tmp_path, update_freq=freq, write_steps_per_second=True))
    assert [s for s, _ in numbers(tmp_path / "train", "batch_loss")] == list(steps)
    assert all(v > 0 for _, v in numbers(tmp_path / "train", "batch_steps_per_second"))
    assert all(v > 0 for _, v in numbers(tmp_path / "train", "epoch_steps_per_second"))


def test_histograms_hold_the_weights(tmp_path):
    model, _ = fit(TensorBoard(tmp_path, histogram_freq=2), epochs=3)
    (kernel,) = [w for w in model.weights if w.path.endswith("kernel")]
    found = events(tmp_path / "train")[f"{kernel.path}/histogram"]
    assert [step for step, _ in found] == [0, 2]
    buckets = np.frombuffer(found[-1][1].tensor.tensor_content, "<f8").reshape(30, 3)
    assert buckets[-1, 1] == pytest.approx(kernel.numpy().max(), rel=1e-6)
    assert buckets[:, 2].sum() == 3


def test_pictures_of_weights(tmp_path):
    model, _ = fit(TensorBoard(tmp_path, histogram_freq=1, write_images=True), epochs=1)
    ((_, value),) = events(tmp_path / "train")[f"{model.weights[0].path}/image/0"]
    width, height, picture = value.tensor.string_val
    assert (int(height), int(width)) == (3, 1)
    assert picture.startswith(b"\x89PNG")


def test_graph_of_layers_is_the_model_s_json(tmp_path):
    model, _ = fit(TensorBoard(tmp_path), epochs=1)
    ((_, value),) = events(tmp_path / "train")["keras"]
    assert value.metadata.plugin_data.plugin_name == "graph_keras_model"
    assert value.tensor.string_val[0].decode() == model.to_json()


def test_graph_can_be_left_out(tmp_path):
    fit(TensorBoard(tmp_path, write_graph=False), epochs=1)
    assert "keras" not in events(tmp_path / "train")


def test_embeddings_are_written_with_labels(tmp_path):
    labels = tmp_path / "labels.tsv"
    labels.write_text("a\nb\nc\n")
    model = keras.Sequential([layers.Input((2,)), layers.Embedding(3, 4, name="words"),
                              layers.Flatten(), layers.Dense(1)])  # fmt: skip
    model.compile("sgd", "mse")
    callback = TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata=str(labels))
    ids = RNG.integers(0, 3, (8, 2))
    model.fit(ids, np.zeros((8, 1)), verbose=0, callbacks=[callback])
    config = (tmp_path / "train" / "projector_config.pbtxt").read_text()
    assert "words" in config
    (written,) = (tmp_path / "train").glob("**/metadata.tsv")
    assert written.read_text().split() == ["a", "b", "c"]


def test_trace_of_some_batches_is_written(tmp_path):
    fit(TensorBoard(tmp_path, profile_batch=(2, 3)))
    assert list((tmp_path / "train").rglob("*trace*"))


def test_a_second_fit_writes_again(tmp_path):
    callback = TensorBoard(tmp_path)
    fit(callback)
    fit(callback)
    assert len(numbers(tmp_path / "train", "epoch_loss")) == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"update_freq": "step"}, {"update_freq": 0}, {"update_freq": True},
        {"profile_batch": -1}, {"profile_batch": (5, 2)}, {"profile_batch": (1, 2, 3)},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(settings):
    with pytest.raises(errors.InvalidArgumentError, match=next(iter(settings))):
        TensorBoard(**settings)


def test_labels_of_no_layer_are_refused(tmp_path):
    callback = TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"nothing": "x"})
    with pytest.raises(errors.InvalidArgumentError, match="nothing"):
        callback.set_model(small_model())

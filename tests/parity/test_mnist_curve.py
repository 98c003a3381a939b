"""The seed's MNIST program: its loss curve equals TensorFlow's, step by step.

Same initial weights, same order of data; 1,500 real images, batches of 32, `fit` in both. The
optimizers have their default rates: with them TensorFlow itself, started one unit in the last place
away, stays within 0.2 % over 200 steps; with much larger ones any two float32 runs part.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import distflow as tf

pytestmark = [pytest.mark.parity, pytest.mark.slow]

STEPS = 200
BATCH = 32


def find_data():
    folder = os.environ.get("DISTFLOW_TEST_DATA") or (
        Path(__file__).resolve().parents[3] / "shared" / "data"
    )
    path = Path(folder) / "mnist_1773.npz"
    if not path.exists():
        pytest.skip(f"no {path.name}: set DISTFLOW_TEST_DATA to its folder")
    with np.load(path) as file:
        images, labels = file["x"][:1500], file["y"][:1500]
    return (images[..., np.newaxis] / 255).astype("float32"), labels.astype("int64")


def build(framework, batch_norm, l2):
    keras = framework.keras
    regularizer = keras.regularizers.L2(1e-3) if l2 else None
    middle = [keras.layers.BatchNormalization()] if batch_norm else []
    return keras.Sequential(
        [
            keras.Input((None, None, 1)),
            keras.layers.Conv2D(16, [3, 3], activation="relu", kernel_regularizer=regularizer),
            *middle,
            keras.layers.Conv2D(16, [3, 3], activation="relu", kernel_regularizer=regularizer),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, kernel_regularizer=regularizer),
        ]
    )


def curve(framework, optimizer, weights, batch_norm, l2):
    """Returns (loss of each step, weights at the start)."""
    keras = framework.keras
    images, labels = find_data()
    model = build(framework, batch_norm, l2)
    if weights is not None:
        model.set_weights(weights)
    start = [np.asarray(w) for w in model.get_weights()]
    made = {
        "sgd": lambda: keras.optimizers.SGD(),
        "adam": lambda: keras.optimizers.Adam(),
        "rmsprop": lambda: keras.optimizers.RMSprop(),
    }[optimizer]()
    model.compile(optimizer=made, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = []

    class Recorder(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.reset_metrics()

        def on_train_batch_end(self, batch, logs=None):
            losses.append(float(logs["loss"]))

    epochs = -(-STEPS // (len(labels) // BATCH + 1))
    model.fit(
        images, labels, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0,
        callbacks=[Recorder()],
    )  # fmt: skip
    return np.asarray(losses[:STEPS]), start


@pytest.mark.timeout(600)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize(("batch_norm", "l2"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_loss_curve_equals_tensorflows(optimizer, batch_norm, l2):
    tensorflow = pytest.importorskip("tensorflow")
    tensorflow.keras.utils.set_random_seed(0)
    expected, weights = curve(tensorflow, optimizer, None, batch_norm, l2)
    received, _ = curve(tf, optimizer, weights, batch_norm, l2)
    relative = np.abs(received - expected) / np.abs(expected)
    assert expected[-20:].mean() < expected[:20].mean()
    assert relative[:20].max() < 1e-4
    assert relative.max() < 1e-2

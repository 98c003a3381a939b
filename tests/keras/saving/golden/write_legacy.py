"""Writes the golden `.h5` files: `python write_legacy.py tf_keras` (2.21) and `... keras` (3.15).

For each model `<library>_<model>.h5`, or `<library>_<model>_weights.h5`, and in
`<library>_outputs.npz` what the model makes of the inputs of `legacy_inputs.py`.
"""

import importlib
import pathlib
import sys

import numpy as np
from legacy_inputs import IMAGES, ROWS, TARGETS, TOKENS

HERE = pathlib.Path(__file__).parent


def stack(k):
    return k.Sequential([
        k.layers.Conv2D(2, 3, activation="relu", input_shape=(6, 6, 1)),
        k.layers.BatchNormalization(), k.layers.MaxPooling2D(), k.layers.Flatten(),
        k.layers.Dropout(0.2), k.layers.Dense(2, kernel_regularizer="l2"),
    ])  # fmt: skip


def shared(k):
    a, b = k.Input((3,), name="a"), k.Input((3,), name="b")
    dense = k.layers.Dense(4, activation="tanh", name="shared")
    both = k.layers.Concatenate(name="both")([dense(a), dense(b)])
    return k.Model([a, b], [k.layers.Dense(2, name="one")(both),
                            k.layers.Dense(1, name="two")(both)])  # fmt: skip


def sequence(k):
    x = k.Input((4,), dtype="int32")
    y = k.layers.Embedding(5, 3, mask_zero=True)(x)
    y = k.layers.Bidirectional(k.layers.LSTM(2, return_sequences=True))(y)
    y = k.layers.GRU(3)(y)
    return k.Model(x, k.layers.Dense(2, activation="softmax")(y))


def nested(k):
    x = k.Input((3,), name="inner_in")
    inner = k.Model(x, k.layers.BatchNormalization(name="n")(k.layers.Dense(3, name="d")(x)),
                    name="inner")  # fmt: skip
    y = k.Input((3,), name="outer_in")
    return k.Model(y, k.layers.Dense(2, name="top")(inner(inner(y))), name="outer")


MODELS = {"stack": (stack, IMAGES), "shared": (shared, [ROWS, -ROWS]),
          "sequence": (sequence, TOKENS), "nested": (nested, ROWS)}  # fmt: skip


def main(library: str) -> None:
    k = importlib.import_module(library)
    k.utils.set_random_seed(1)
    outputs = {}
    for name, (make, inputs) in MODELS.items():
        model = make(k)
        two = len(model.outputs) == 2
        model.compile(k.optimizers.Adam(0.01), ["mse", "mae"] if two else "mse",
                      metrics=None if two else ["mae"])  # fmt: skip
        targets = [TARGETS, TARGETS[:, :1]] if two else TARGETS
        model.fit(inputs, targets, epochs=2, batch_size=4, shuffle=False, verbose=0)
        model.save(HERE / f"{library}_{name}.h5")
        if library == "tf_keras":
            model.save_weights(HERE / f"{library}_{name}_weights.h5")
        for i, y in enumerate(model(inputs) if two else [model(inputs)]):
            outputs[f"{name}_{i}"] = np.asarray(y)
        moments = [np.asarray(v) for v in model.optimizer.variables if v.shape == (2,)]
        outputs[f"{name}_moments"] = np.stack(moments) if moments else np.zeros(0)
    np.savez_compressed(HERE / f"{library}_outputs.npz", **outputs)


if __name__ == "__main__":
    main(sys.argv[1])

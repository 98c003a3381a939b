"""Models that both libraries can make, for the tests that exchange their files."""

from __future__ import annotations

from typing import Any

import numpy as np

RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(8, 5)).astype("float32")
SERIES = RNG.normal(size=(8, 6, 5)).astype("float32")
IMAGES = RNG.normal(size=(8, 8, 8, 3)).astype("float32")
TOKENS = RNG.integers(0, 7, (8, 6)).astype("int32")


def mlp(k: Any) -> Any:
    return k.Sequential([
        k.Input((5,)), k.layers.Dense(4, activation="relu", kernel_regularizer="l2"),
        k.layers.BatchNormalization(), k.layers.Dropout(0.5), k.layers.Dense(2),
    ])  # fmt: skip


def unbuilt_input(k: Any) -> Any:
    model = k.Sequential([k.layers.Dense(4, name="a"), k.layers.Dense(2, name="b")])
    model(ROWS)
    return model


def shared(k: Any) -> Any:
    a, b = k.Input((5,), name="a"), k.Input((5,), name="b")
    dense = k.layers.Dense(3, name="shared")
    return k.Model([a, b], k.layers.Subtract()([dense(dense_twice(k, a)), dense(b)]))


def dense_twice(k: Any, x: Any) -> Any:
    return k.layers.Dense(5, activation="tanh")(x)


def dict_to_dict(k: Any) -> Any:
    inputs = {"left": k.Input((5,), name="left"), "right": k.Input((5,), name="right")}
    both = k.layers.Concatenate()([inputs["left"], inputs["right"]])
    return k.Model(inputs, {"one": k.layers.Dense(1, name="one")(both),
                            "two": k.layers.Dense(2, name="two")(both)})  # fmt: skip


def nested_structure(k: Any) -> Any:
    a, b, c = (k.Input((5,), name=n) for n in "abc")
    added = k.layers.Add()([a, b, c])
    x = k.layers.Dense(2, name="x")(added)
    return k.Model([a, {"b": b, "c": c}], [x, {"y": k.layers.Dense(3, name="y")(added)}])


def inner(k: Any) -> Any:
    x = k.Input((5,), name="inner_input")
    y = k.layers.Dense(5, activation="relu", name="inner_dense")(x)
    return k.Model(x, k.layers.BatchNormalization(name="inner_norm")(y), name="inner")


def nested(k: Any) -> Any:
    x = k.Input((5,))
    once = inner(k)
    return k.Model(x, k.layers.Dense(2)(once(k.layers.Dense(5)(once(x)))))


def nested_sequential(k: Any) -> Any:
    tower = k.Sequential([k.Input((5,)), k.layers.Dense(5), k.Sequential(
        [k.Input((5,)), k.layers.Dense(4)], name="innermost")], name="tower")  # fmt: skip
    return k.Sequential([k.Input((5,)), tower, k.layers.Dense(2)])


def inner_of_many(k: Any) -> Any:
    a, b = k.Input((5,), name="a"), k.Input((5,), name="b")
    pair = k.Model([a, b], [k.layers.Add()([a, b]), k.layers.Multiply()([a, b])], name="pair")
    x = k.Input((5,), name="x")
    total, product = pair([x, k.layers.Dense(5)(x)])
    return k.Model(x, k.layers.Concatenate()([total, product]))


def convolutions(k: Any) -> Any:
    return k.Sequential([
        k.Input((8, 8, 3)), k.layers.Conv2D(4, 3, padding="same", activation="relu"),
        k.layers.DepthwiseConv2D(3), k.layers.SeparableConv2D(4, 3, padding="same"),
        k.layers.Conv2DTranspose(2, 2, strides=2), k.layers.LayerNormalization(),
        k.layers.ZeroPadding2D(1), k.layers.Cropping2D(1), k.layers.UpSampling2D(2),
        k.layers.AveragePooling2D(2), k.layers.GlobalMaxPooling2D(),
    ])  # fmt: skip


def recurrent(k: Any) -> Any:
    x = k.Input((6, 5))
    y = k.layers.LSTM(4, return_sequences=True)(x)
    y = k.layers.Bidirectional(k.layers.GRU(3, return_sequences=True))(y)
    y = k.layers.TimeDistributed(k.layers.Dense(4, activation="relu"))(y)
    y = k.layers.SimpleRNN(3, return_sequences=True)(y)
    cells = [k.layers.LSTMCell(3), k.layers.GRUCell(4)]
    return k.Model(x, k.layers.RNN(cells)(y))


def states(k: Any) -> Any:
    x = k.Input((6, 5))
    y, h, c = k.layers.LSTM(4, return_sequences=True, return_state=True)(x)
    z = k.layers.LSTM(4)(y, initial_state=[h, c])
    return k.Model(x, [z, h])


def masked(k: Any) -> Any:
    x = k.Input((6,), dtype="int32")
    y = k.layers.Embedding(7, 4, mask_zero=True)(x)
    return k.Model(x, k.layers.Dense(2)(k.layers.GRU(3)(y)))


def half(k: Any) -> Any:
    return k.Sequential([k.Input((5,)), k.layers.Dense(4, dtype="mixed_bfloat16"),
                         k.layers.Dense(2, dtype="float32")])  # fmt: skip


def frozen(k: Any) -> Any:
    base = inner(k)
    base.trainable = False
    x = k.Input((5,))
    return k.Model(x, k.layers.Dense(2)(base(x, training=False)))


def operators(k: Any) -> Any:
    x, y = k.Input((5,), name="x"), k.Input((5,), name="y")
    return k.Model([x, y], (x * 2.0 + y) / 3.0 - (-x) + 1.0 / (y * y + 2.0))


def indexed(k: Any) -> Any:
    x = k.Input((6, 5))
    return k.Model(x, k.layers.Concatenate()([x[:, -1, :], x[:, 1:4, 2]]))


def made_of_ops(k: Any) -> Any:
    x = k.Input((6, 5))
    y = k.ops.mean(k.ops.relu(x), axis=1, keepdims=True)
    z = k.ops.softmax(k.ops.concatenate([x, k.ops.exp(y)], axis=1), axis=-1)
    w = k.ops.matmul(z, k.ops.transpose(z, (0, 2, 1)))
    return k.Model(x, k.ops.reshape(k.ops.sum(w, axis=-1), (-1, 7)))


# Name -> (maker, its inputs).
MODELS = {
    "mlp": (mlp, ROWS), "unbuilt_input": (unbuilt_input, ROWS), "shared": (shared, [ROWS, -ROWS]),
    "dict_to_dict": (dict_to_dict, {"left": ROWS, "right": ROWS + 1}),
    "nested_structure": (nested_structure, [ROWS, {"b": -ROWS, "c": ROWS + 1}]),
    "nested": (nested, ROWS), "nested_sequential": (nested_sequential, ROWS),
    "inner_of_many": (inner_of_many, ROWS), "convolutions": (convolutions, IMAGES),
    "recurrent": (recurrent, SERIES), "states": (states, SERIES), "masked": (masked, TOKENS),
    "half": (half, ROWS), "frozen": (frozen, ROWS), "operators": (operators, [ROWS, -ROWS]),
    "indexed": (indexed, SERIES), "made_of_ops": (made_of_ops, SERIES),
}  # fmt: skip

"""rearrange, jvp, and CTC: values by other means, and wrong calls."""

import itertools

import numpy as np
import pytest

import distflow as tf
from distflow import keras

ops = keras.ops
_RNG = np.random.default_rng(4)
X = _RNG.normal(size=(2, 6, 4, 3)).astype("float32")


def test_axes_are_split_turned_and_joined():
    found = ops.rearrange(X, "b (h s) w c -> b h (s w) c", s=2)
    np.testing.assert_array_equal(found, X.reshape(2, 3, 8, 3))
    found = ops.rearrange(X, "b h w c -> c (w b) h")
    np.testing.assert_array_equal(found, X.transpose(3, 2, 0, 1).reshape(3, 8, 6))


def test_a_batch_of_unknown_size_is_rearranged():
    inputs = keras.Input((6, 4, 3))
    model = keras.Model(inputs, ops.rearrange(inputs, "b (h s) w c -> b h w (s c)", s=3))
    assert model.output_shape == (None, 2, 4, 9)
    expected = X.reshape(2, 2, 3, 4, 3).transpose(0, 1, 3, 2, 4).reshape(2, 2, 4, 9)
    np.testing.assert_array_equal(model(X), expected)


@pytest.mark.parametrize(
    ("pattern", "lengths", "message"),
    [
        ("b h w c", {}, "one '->'"), ("b h w c -> b h w", {}, "once on each side"),
        ("b h w -> b w h", {}, "4 axes"), ("b (h s) w c -> b h s w c", {}, "all but one"),
        ("b (h s) w c -> b h s w c", {"s": 4}, "that make 6"),
        ("b h w c -> c b h w", {"z": 1}, "z is none"), ("b [h] w c -> b h w c", {}, "brackets"),
    ],
)  # fmt: skip
def test_a_pattern_that_does_not_fit_is_named(pattern, lengths, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ops.rearrange(X, pattern, **lengths)


def test_jvp_is_the_derivative_along_a_direction():
    x, v = _RNG.normal(size=(2, 5))

    def f(x):
        return {"y": ops.sin(x) * x, "z": ops.sum(x**3)}, "aux"

    values, moved, aux = ops.jvp(f, [x], [v], has_aux=True)
    np.testing.assert_allclose(values["z"], (x**3).sum())
    np.testing.assert_allclose(moved["y"], (np.cos(x) * x + np.sin(x)) * v, rtol=1e-12)
    np.testing.assert_allclose(moved["z"], (3 * x**2 * v).sum(), rtol=1e-12)
    assert aux == "aux"


def test_jvp_refuses_tangents_of_another_shape():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"primal's shape"):
        ops.jvp(ops.sin, [np.zeros(3)], [np.zeros(2)])


def likelihood(chances, labels, blank):
    """The sum over all paths that leave the labels."""
    total = 0.0
    for path in itertools.product(range(chances.shape[1]), repeat=chances.shape[0]):
        if tuple(k for k, _ in itertools.groupby(path) if k != blank) == labels:
            total += np.prod([row[k] for row, k in zip(chances, path)])
    return total


@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_is_the_sum_over_all_paths(blank):
    logits = _RNG.normal(size=(1, 6, 3))
    chances = np.exp(logits[0]) / np.exp(logits[0]).sum(-1, keepdims=True)
    labels = (1, 1, 2) if blank == 0 else (1, 1, 0)
    found = ops.ctc_loss(np.array([[*labels, 1]]), logits, [3], [5], mask_index=blank)
    np.testing.assert_allclose(found[0], -np.log(likelihood(chances[:5], labels, blank)))


def test_a_wide_beam_finds_the_best_labelling():
    logits = _RNG.normal(size=(1, 4, 3))
    chances = np.exp(logits[0]) / np.exp(logits[0]).sum(-1, keepdims=True)
    texts = [t for n in range(5) for t in itertools.product((1, 2), repeat=n)]
    best = max(texts, key=lambda t: likelihood(chances, t, 0))
    labels, scores = ops.ctc_decode(logits, [4], "beam_search")
    assert tuple(k for k in np.asarray(labels)[0, 0] if k >= 0) == best
    np.testing.assert_allclose(scores[0, 0], np.log(likelihood(chances, best, 0)))


def test_the_backend_counts_the_last_class_as_blank():
    chances = np.array([[[0.1, 0.7, 0.2], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]]])
    labels, _ = keras.backend.ctc_decode(chances, [3])
    assert np.asarray(labels[0]).tolist() == [[1, 1, -1]]
    cost = keras.backend.ctc_batch_cost([[1, 1]], chances, [[3]], [[2]])
    np.testing.assert_allclose(cost, [[-np.log(likelihood(chances[0], (1, 1), 2))]], rtol=1e-5)


def test_the_backends_loop_keeps_states_where_masked():
    x = _RNG.normal(size=(2, 4, 3))
    mask = np.array([[True, True, False, False], [True, False, True, True]])

    def step(row, states):
        total = states[0] + row
        return total, [total]

    last, outputs, states = keras.backend.rnn(step, x, [np.zeros((2, 3))], mask=mask)
    expected = np.cumsum(x * mask[..., None], 1)
    np.testing.assert_allclose(outputs, expected)
    np.testing.assert_allclose(last, expected[:, -1])
    np.testing.assert_allclose(states[0], expected[:, -1])


@pytest.mark.parametrize("axes", ["channels_last", "channels_first"])
def test_adaptive_windows_reach_from_floor_to_ceil(axes):
    x = X if axes == "channels_last" else X.transpose(0, 3, 1, 2)
    rows, columns = [slice(0, 2), slice(1, 3), slice(3, 5), slice(4, 6)], [slice(0, 2), slice(1, 3),
                                                                          slice(2, 4)]  # fmt: skip
    for name, reduce in (("average", np.mean), ("max", np.max)):
        found = np.asarray(getattr(ops, f"adaptive_{name}_pool")(x, (4, 3), data_format=axes))
        found = found if axes == "channels_last" else found.transpose(0, 2, 3, 1)
        expected = [[reduce(X[:, r, c], (1, 2)) for c in columns] for r in rows]
        np.testing.assert_allclose(found, np.moveaxis(expected, 2, 0), rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [lambda: ops.ctc_decode(np.zeros((1, 2, 3)), [2], strategy="best"),
     lambda: ops.ctc_loss(np.zeros((2, 3)), np.zeros((1, 4, 5)), [1], [4]),
     lambda: ops.ctc_loss(np.zeros(3), np.zeros((1, 4, 5)), [1], [4])],
)  # fmt: skip
def test_ctc_refuses_what_does_not_fit(call):
    with pytest.raises(ValueError, match=r"strategy|batch"):
        call()

"""The functions of TF 2's backend: NumPy's values, and names that are all there."""

import importlib

import numpy as np
import pytest

from distflow import keras

K = keras.backend
A = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_all_names_are_there():
    assert [name for name in K.__all__ if not callable(getattr(K, name))] == []


def test_a_function_loads_only_the_files_up_to_its_own(monkeypatch):
    loaded, load = [], importlib.import_module

    def noted(name, *args):
        loaded.append(name)
        return load(name, *args)

    monkeypatch.setattr(importlib, "import_module", noted)
    assert callable(K.abs)
    assert loaded == ["distflow.keras.backend.functions"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: K.mean(A, axis=1), A.mean(1)), (lambda: K.std(A), A.std()),
        (lambda: K.sum(A, 0, True), A.sum(0, keepdims=True)),
        (lambda: K.mean(A > 2), (A > 2).mean()), (lambda: K.any(A > 4, 1), [False, True]),
        (lambda: K.dot(A, A.T), A @ A.T), (lambda: K.batch_dot(A, A, 1), (A * A).sum(1)[:, None]),
        (lambda: K.batch_dot(A[:, None], A[:, :, None]), (A * A).sum(1)[:, None, None]),
        (lambda: K.sqrt(np.array([-4.0, 4.0], "float32")), [0, 2]),
        (lambda: K.clip(A, 1, None), np.clip(A, 1, None)), (lambda: K.flatten(A), A.reshape(-1)),
        (lambda: K.batch_flatten(A[:, :, None]), A), (lambda: K.permute_dimensions(A, (1, 0)), A.T),
        (lambda: K.repeat(A, 2), np.repeat(A[:, None], 2, 1)),
        (lambda: K.repeat_elements(A, 2, 1), np.repeat(A, 2, 1)),
        (lambda: K.temporal_padding(A[:, :, None])[:, :, 0], np.pad(A, ((0, 0), (1, 1)))),
        (lambda: K.one_hot([1, 0], 2), [[0, 1], [1, 0]]), (lambda: K.arange(3), [0, 1, 2]),
        (lambda: K.switch(A > 2, A, -A), np.where(A > 2, A, -A)),
        (lambda: K.switch(True, lambda: A, lambda: -A), A),
        (lambda: K.in_test_phase(A, -A), A), (lambda: K.in_train_phase(A, -A, training=True), A),
        (lambda: K.resize_images(A[None, :, :, None], 2, 1, "channels_last")[0, :, :, 0],
         np.repeat(A, 2, 0)),
        (lambda: K.categorical_crossentropy(np.eye(2), np.full((2, 2), 0.5)), [np.log(2)] * 2),
        (lambda: K.bias_add(A, np.ones(3, "float32")), A + 1),
        (lambda: K.relu(A - 2, alpha=0.5), np.where(A > 2, A - 2, 0.5 * (A - 2))),
        (lambda: K.function([x := keras.Input((3,))], [x * 2])([A])[0], A * 2),
    ],
)  # fmt: skip
def test_values(call, expected):
    np.testing.assert_allclose(np.asarray(call()), expected, rtol=1e-6)


def test_variables_are_updated():
    v = K.variable([1.0, 2.0])
    K.update_add(v, [1.0, 1.0])
    K.set_value(v, K.get_value(v) * 2)
    np.testing.assert_array_equal(K.get_value(v), [4, 6])
    assert (K.int_shape(v), K.dtype(v), K.count_params(v)) == ((2,), "float32", 2)


def test_gradients_name_the_tape():
    with pytest.raises(RuntimeError, match="GradientTape"):
        K.gradients(A, [A])


def test_dtypes_have_names():
    assert K.standardize_dtype(None) == "float32"
    assert K.is_float_dtype("bfloat16")
    assert not K.is_int_dtype("float32")
    with pytest.raises(ValueError, match="Invalid dtype: nothing"):
        K.standardize_dtype("nothing")

"""Functions of `keras.ops` that NumPy has give NumPy's values."""

import numpy as np
import pytest

from distflow import keras
from tests.keras.ops.cases import CASES, NUMPY

ops = keras.ops
# Keras's words for NumPy's.
RENAMED = {"clip": lambda x, x_min, x_max: np.clip(x, x_min, x_max),
           "logical_not": np.logical_not}  # fmt: skip
NUMPYS = [case for case in CASES if case[0] in NUMPY]


def parts(value):
    if isinstance(value, list | tuple):
        return [p for v in value for p in parts(v)]
    return [np.asarray(value)]


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize(("name", "i", "args", "kwargs"), NUMPYS,
                         ids=[f"{c[0]}-{c[1]}" for c in NUMPYS])  # fmt: skip
def test_values_are_those_of_numpy(name, i, args, kwargs):
    expected = RENAMED.get(name) or getattr(np, name)
    found, wanted = parts(getattr(ops, name)(*args, **kwargs)), parts(expected(*args, **kwargs))
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("int32", "float32"), "float32"), (("int64", "float16"), "float16"),
        (("float16", "bfloat16"), "float32"), (("uint8", "int8"), "int16"),
        (("uint32", "int32"), "int64"), (("uint64", "int64"), "float32"),
        (("bool", "int8"), "int8"), (("int8", int), "int8"), (("int8", float), "float32"),
        (("float16", float), "float16"), ((int,), "int32"), ((float,), "float32"),
        (("float32", complex), "complex64"), (("float64", "complex64"), "complex128"),
    ],
)  # fmt: skip
def test_dtypes_join_as_in_jax(given, expected):
    assert keras.backend.result_type(*given) == expected


def test_python_numbers_are_weak():
    x = np.ones(2, "float16")
    assert ops.add(x, 1.5).dtype == "float16"
    assert ops.add(np.ones(2, "int8"), 1).dtype == "int8"
    assert ops.divide(np.ones(2, "int32"), 2).dtype == "float32"

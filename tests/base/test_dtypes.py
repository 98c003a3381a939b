"""DTypes: names, limits, equality and what becomes one."""

from __future__ import annotations

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

from distflow.base import dtypes

# TensorFlow's numbers, as they stand in its protocol buffers.
_ENUM = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "string": 7,
    "complex64": 8, "int64": 9, "bool": 10, "bfloat16": 14, "uint16": 17, "complex128": 18,
    "float16": 19, "uint32": 22, "uint64": 23,
}  # fmt: skip


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_dtype_equals_its_name_and_is_found_by_it(dtype):
    assert dtypes.as_dtype(dtype.name) is dtype
    assert dtype == dtype.name
    assert dtype != "nothing"
    assert hash(dtype) == hash(dtypes.as_dtype(dtype.name))
    assert dtype.as_datatype_enum == _ENUM[dtype.name]
    for twin in (copy.deepcopy(dtype), pickle.loads(pickle.dumps(dtype))):
        assert twin is dtype


@pytest.mark.parametrize(
    ("value", "name"),
    [(float, "float32"), (int, "int32"), (bool, "bool"), (complex, "complex128"),
     (str, "string"), (bytes, "string"), (np.float64, "float64"), (np.dtype("int8"), "int8"),
     ("half", "float16"), ("double", "float64"), (np.bool_, "bool"), ("float", "float32"),
     (np.str_, "string"), (object, "string"), (ml_dtypes.bfloat16, "bfloat16"),
     (np.dtype("U3"), "string")],
)  # fmt: skip
def test_as_dtype_takes_names_numpy_and_python_types(value, name):
    assert dtypes.as_dtype(value).name == name


@pytest.mark.parametrize("value", ["nothing", None, 3.5, np.dtype("datetime64[D]"), [1]])
def test_unknown_dtype_is_refused(value):
    with pytest.raises(TypeError, match=r"as_dtype: expected one of"):
        dtypes.as_dtype(value)


def test_limits():
    assert (dtypes.int8.min, dtypes.int8.max) == (-128, 127)
    assert dtypes.float32.max == np.finfo(np.float32).max
    assert dtypes.float16.limits == (-65504, 65504)
    assert dtypes.bfloat16.max > 3e38
    assert dtypes.uint64.max == 2**64 - 1
    with pytest.raises(ValueError, match=r"real numeric"):
        dtypes.string.max  # noqa: B018


@pytest.mark.parametrize(
    ("name", "floating", "integer", "unsigned", "complex_", "bool_"),
    [("bfloat16", 1, 0, 0, 0, 0), ("int64", 0, 1, 0, 0, 0), ("uint8", 0, 1, 1, 0, 0),
     ("complex64", 0, 0, 0, 1, 0), ("bool", 0, 0, 0, 0, 1), ("string", 0, 0, 0, 0, 0)],
)  # fmt: skip
def test_kinds(name, floating, integer, unsigned, complex_, bool_):
    dtype = dtypes.as_dtype(name)
    assert dtype.is_floating == bool(floating)
    assert dtype.is_integer == bool(integer)
    assert dtype.is_unsigned == bool(unsigned)
    assert dtype.is_complex == bool(complex_)
    assert dtype.is_bool == bool(bool_)


def test_sizes_and_real_parts():
    assert dtypes.bfloat16.size == 2
    assert dtypes.complex64.real_dtype is dtypes.float32
    assert dtypes.float64.real_dtype is dtypes.float64
    assert dtypes.string.as_numpy_dtype is object
    assert dtypes.float32.as_numpy_dtype is np.float32


def test_text():
    assert repr(dtypes.float32) == "tf.float32"
    assert str(dtypes.bool_) == "<dtype: 'bool'>"

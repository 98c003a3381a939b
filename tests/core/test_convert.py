"""What becomes a tensor, and of which dtype: facts of TensorFlow 2.21."""

from __future__ import annotations

import math

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (attaches the operators)
from distflow.base import dtypes
from distflow.base.errors import DtypeMismatchError, InvalidArgumentError
from distflow.core.convert import constant, convert_to_tensor, register_tensor_conversion_function
from distflow.core.tensor import Tensor
from distflow.core.variable import Variable


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, "int32"),
        (1.0, "float32"),
        (True, "bool"),
        (1j, "complex128"),
        ("a", "string"),
        (b"a", "string"),
        (2**40, "int64"),
        (-(2**31) - 1, "int64"),
        ([1, 2.0], "float32"),
        ([], "float32"),
        ([[], []], "float32"),
        ([2**40], "int64"),
        ([True, False], "bool"),
        (range(3), "int32"),
        (np.float64(1), "float64"),
        (np.int64(1), "int64"),
        (np.uint8(1), "uint8"),
        (np.zeros(2), "float64"),
        (np.zeros(2, np.int64), "int64"),
        (np.zeros(2, bool), "bool"),
        (np.array(["a"]), "string"),
        # Within lists, integers of any width are Python's; floats name their width.
        ([np.int64(1)], "int32"),
        ([np.uint8(1)], "int32"),
        ([[np.int64(1)], [2]], "int32"),
        ([np.int64(2**40)], "int64"),
        ([np.zeros(2, np.int64)], "int32"),
        ([np.float64(1)], "float64"),
        ([np.float64(1), 1.0], "float64"),
        ([np.float16(1), 2.0], "float16"),
        ([np.float32(1), 2], "float32"),
        ([np.int64(2), 1.0], "float32"),
        ([np.zeros(2, np.float32)], "float32"),
        ([np.zeros(2)], "float64"),
        ([np.bool_(True)], "bool"),
    ],
    ids=repr,
)
def test_dtype_of_a_converted_value(value, dtype):
    assert convert_to_tensor(value).dtype.name == dtype


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1, "float32", 1.0),
        (1, "float16", 1.0),
        (1.5, "float64", 1.5),
        (1.5, "complex64", 1.5 + 0j),
        (True, "float32", 1.0),
        (True, "int32", 1),
        (np.float64(1.5), "int32", 1),
        (np.array([1.7, -1.7]), "int32", [1, -1]),
        (np.array([1]), "float32", [1.0]),
        (np.array([1 + 2j]), "float32", [1.0]),
        (np.array([True]), "float32", [1.0]),
        (1e300, "float32", math.inf),
        ([1, 2], "bfloat16", [1, 2]),
        ([], "int32", []),
    ],
    ids=repr,
)
def test_value_converts_to_a_dtype_that_is_asked_for(value, dtype, expected):
    tensor = convert_to_tensor(value, dtype)
    assert tensor.dtype.name == dtype
    np.testing.assert_array_equal(tensor.numpy(), expected)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.5, "int32"),
        (1, "bool"),
        (1j, "float32"),
        ("a", "float32"),
        (1, "string"),
        ([1.5], "int64"),
        (None, None),
        pytest.param(object(), None, id="object"),
        ([None], None),
        ({1}, None),
        (np.array(["2020"], "datetime64[D]"), None),
    ],
    ids=repr,
)
def test_unconvertible_value_is_refused(value, dtype):
    with pytest.raises(DtypeMismatchError, match=r"convert_to_tensor: expected something"):
        convert_to_tensor(value, dtype)


@pytest.mark.parametrize("value", [2**63, 2**64, -(2**70), [2**64]])
def test_integer_beyond_64_bits_is_refused(value):
    with pytest.raises(InvalidArgumentError, match=r"must fit"):
        convert_to_tensor(value)


@pytest.mark.parametrize(("value", "dtype"), [(300, "uint8"), (-1, "uint8"), (2**31, "int32")])
def test_integer_out_of_range_is_refused_not_wrapped(value, dtype):
    with pytest.raises(InvalidArgumentError, match=rf"must fit {dtype}"):
        convert_to_tensor(value, dtype)


def test_ragged_list_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"rows must have equal lengths"):
        convert_to_tensor([[1], [1, 2]])


def test_tensor_of_another_dtype_is_refused_with_a_hint():
    with pytest.raises(DtypeMismatchError, match=r"tf\.cast\(x, tf\.int32\)"):
        convert_to_tensor(constant(1.0), "int32")


def test_tensor_converts_to_itself():
    x = constant([1.0])
    assert convert_to_tensor(x) is x


def test_conversion_copies_so_that_later_writes_do_not_show():
    array = np.zeros(2, np.float32)
    tensor = convert_to_tensor(array)
    array[0] = 9
    assert tensor.numpy()[0] == 0


def test_list_of_tensors_is_stacked_and_numbers_beside_them_adapt():
    x = convert_to_tensor([constant(1.0, "float64"), 2, np.float32(3)])
    assert x.dtype is dtypes.float64
    assert x.numpy().tolist() == [1.0, 2.0, 3.0]


def test_number_before_a_tensor_in_a_list_takes_its_dtype():
    assert convert_to_tensor([1.0, constant(1.0, "float64")]).dtype is dtypes.float64


def test_float_beside_an_int_tensor_in_a_list_is_refused():
    with pytest.raises(TypeError):
        convert_to_tensor([constant(1), 2.5])


def test_nested_list_holding_variables_is_stacked():
    x = convert_to_tensor([[Variable(1.0), 2.0], [3.0, constant(4.0)]])
    assert x.numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_constant_fills_a_shape_with_one_value():
    assert constant(7, shape=[2, 2]).numpy().tolist() == [[7, 7], [7, 7]]
    assert constant([7], shape=[2, 2]).numpy().tolist() == [[7, 7], [7, 7]]


def test_constant_arranges_values_in_a_shape():
    assert constant([1, 2, 3, 4], shape=[2, 2]).numpy().tolist() == [[1, 2], [3, 4]]


def test_constant_of_too_few_values_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"\[2, 2\] needs 4 elements; received 3"):
        constant([1, 2, 3], shape=[2, 2])


def test_strings_are_bytes():
    x = constant([["a", b"b"]])
    assert x.shape == (1, 2)
    assert x.numpy().tolist() == [[b"a", b"b"]]


def test_registered_class_converts():
    class Celsius:
        def __init__(self, degrees: float):
            self.degrees = degrees

    register_tensor_conversion_function(
        Celsius, lambda value, dtype=None, name=None, as_ref=False: constant(value.degrees, dtype)
    )
    assert (constant(1.0) + Celsius(2.0)).numpy() == 3.0
    assert convert_to_tensor([Celsius(1.0), 2.0]).numpy().tolist() == [1.0, 2.0]


def test_object_with_array_protocol_converts():
    class Lazy:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3.0)

    assert convert_to_tensor(Lazy()).numpy().tolist() == [0.0, 1.0, 2.0]


def test_object_with_dlpack_converts():
    class Packed:
        def __init__(self):
            self.array = np.arange(3, dtype=np.float32)

        def __dlpack__(self, **kwargs):
            return self.array.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    assert convert_to_tensor(Packed()).numpy().tolist() == [0.0, 1.0, 2.0]


def test_dtype_hint_is_used_where_the_value_allows_it():
    assert convert_to_tensor(1, dtype_hint="float64").dtype is dtypes.float64
    assert convert_to_tensor(1.5, dtype_hint="int32").dtype is dtypes.float32


def test_conversion_gives_tensors():
    assert isinstance(convert_to_tensor(Variable(1.0)), Tensor)

"""EagerTensor: its value, its operators beside NumPy and Python, and how it behaves in Python."""

from __future__ import annotations

import copy
import operator
import pickle

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (attaches the operators)
from distflow.base import dtypes
from distflow.base.errors import DtypeMismatchError, InvalidArgumentError
from distflow.core.convert import constant
from distflow.core.tensor import Tensor

_X = [1.0, 2.0]
_I = [1, 2]


@pytest.fixture
def x():
    return constant(_X)


@pytest.fixture
def i():
    return constant(_I)


# -- operators -----------------------------------------------------------------------------

_ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"]
_COMPARISON = ["eq", "ne", "lt", "le", "gt", "ge"]


@pytest.mark.parametrize("name", _ARITHMETIC + _COMPARISON)
@pytest.mark.parametrize(
    "other",
    [
        3.0,
        3,
        True,
        np.float32(3),
        np.float64(3),
        np.array([3.0, 0.5]),
        np.array([3, 2]),
        [3.0, 2.0],
    ],
    ids=repr,
)
def test_float_tensor_beside_python_and_numpy_keeps_its_dtype(x, name, other):
    operation = getattr(operator, name)
    wide = np.asarray(other, np.float32)
    for result, expected in (
        (operation(x, other), operation(np.asarray(_X, np.float32), wide)),
        (operation(other, x), operation(wide, np.asarray(_X, np.float32))),
    ):
        assert isinstance(result, Tensor)
        assert result.dtype.name == ("bool" if name in _COMPARISON else "float32")
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "floordiv", "mod", "pow", *_COMPARISON])
@pytest.mark.parametrize("other", [3, True, np.int64(3), np.array([3, 2])], ids=repr)
def test_int_tensor_beside_integers_keeps_its_dtype(i, name, other):
    operation = getattr(operator, name)
    result = operation(i, other)
    assert result.dtype.name == ("bool" if name in _COMPARISON else "int32")
    expected = operation(np.asarray(_I), np.asarray(other, np.int64))
    np.testing.assert_array_equal(result.numpy(), expected)
    assert isinstance(operation(other, i), Tensor)


@pytest.mark.parametrize("name", ["and_", "or_", "xor"])
def test_bit_operators_work_on_bools_and_integers(name):
    operation = getattr(operator, name)
    assert operation(constant(True), constant(False)).numpy() == operation(True, False)
    assert operation(constant(True), False).numpy() == operation(True, False)
    assert operation(constant(6), 3).numpy() == operation(6, 3)
    assert operation(6, constant(3)).numpy() == operation(6, 3)


def test_unary_operators():
    assert (-constant([1.0, -2.0])).numpy().tolist() == [-1.0, 2.0]
    assert abs(constant([-1, 2])).numpy().tolist() == [1, 2]
    assert (~constant([True, False])).numpy().tolist() == [False, True]
    assert (~constant([0, 5])).numpy().tolist() == [-1, -6]


def test_matmul_operator_takes_numpy_on_both_sides():
    a, b = np.array([[1.0, 2.0]], np.float32), np.array([[3.0], [4.0]])
    assert (constant(a) @ b).numpy().tolist() == [[11.0]]
    assert (a @ constant(b.astype(np.float32))).numpy().tolist() == [[11.0]]


@pytest.mark.parametrize(
    ("kind", "result"),
    [("int8", "float32"), ("uint8", "float32"), ("int16", "float32"), ("int32", "float64"),
     ("int64", "float64"), ("float16", "float16"), ("float64", "float64")],
)  # fmt: skip
def test_division_dtype(kind, result):
    x = constant([7], kind)
    assert (x / constant([2], kind)).dtype.name == result
    assert (x / 2).dtype.name == (2 / x).dtype.name == result
    assert (x / 2).numpy().tolist() == [3.5]


def test_integer_floor_division_and_remainder_round_down(i):
    assert (-i // 2).numpy().tolist() == [-1, -1]
    assert (-i % 3).numpy().tolist() == [2, 1]


@pytest.mark.parametrize("name", ["floordiv", "mod"])
def test_integer_division_by_zero_is_refused(i, name):
    with pytest.raises(InvalidArgumentError, match=r"divisors must not be zero"):
        getattr(operator, name)(i, 0)


def test_integer_to_a_negative_power_is_refused(i):
    with pytest.raises(InvalidArgumentError, match=r"negative powers"):
        i**-1


@pytest.mark.parametrize("name", [*_ARITHMETIC, *_COMPARISON])
def test_tensors_of_two_dtypes_are_refused_with_a_hint(x, i, name):
    with pytest.raises(
        DtypeMismatchError, match=r"one dtype; received (float32 and int32|int32 and f)"
    ):
        getattr(operator, name)(x, i)


@pytest.mark.parametrize("name", [*_ARITHMETIC, *_COMPARISON])
@pytest.mark.parametrize("other", [1.5, "a", 1j], ids=repr)
def test_number_of_a_higher_kind_beside_an_int_tensor_is_refused(i, name, other):
    with pytest.raises(TypeError):
        getattr(operator, name)(i, other)


def test_float_array_beside_an_int_tensor_is_refused_not_truncated(i):
    with pytest.raises(DtypeMismatchError):
        i + np.array([1.5, 2.5])


def test_large_int_beside_a_small_int_tensor_is_refused_not_wrapped():
    with pytest.raises(InvalidArgumentError, match=r"must fit uint8"):
        constant([1], "uint8") + 300


@pytest.mark.parametrize("name", ["add", "mul"])
def test_booleans_do_not_add(name):
    with pytest.raises(DtypeMismatchError, match=rf"{name}: expected a dtype among"):
        getattr(operator, name)(constant(True), constant(True))


def test_shapes_that_do_not_broadcast_are_refused(x):
    with pytest.raises(InvalidArgumentError, match=r"add: shapes must broadcast .*\[2\] and \[3\]"):
        x + constant([1.0, 2.0, 3.0])


# -- comparison ----------------------------------------------------------------------------


def test_comparison_with_none_is_a_python_bool(x):
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711


def test_comparison_of_shapes_that_do_not_broadcast_is_unequal(x):
    other = constant([1.0, 2.0, 3.0])
    assert not (x == other)
    assert x != other


def test_membership_compares_values():
    assert constant(1.0) in [constant(2.0), constant(1.0)]


def test_string_tensors_compare_with_strings():
    assert (constant(["a", "b"]) == "a").numpy().tolist() == [True, False]


def test_comparison_with_something_unconvertible_is_refused(x):
    with pytest.raises((ValueError, TypeError)):
        x == object()  # noqa: B015


# -- as a Python value ---------------------------------------------------------------------


def test_tensor_is_unhashable_and_its_reference_is_a_key(x):
    with pytest.raises(TypeError, match=r"ref\(\)"):
        hash(x)
    assert {x.ref(): 1}[x.ref()] == 1
    assert x.ref().deref() is x
    assert x.ref() != constant(_X).ref()


@pytest.mark.parametrize(
    ("value", "truth"), [(0.0, False), ([1.0], True), ([[0]], False), ([], False), (True, True)]
)
def test_bool_of_one_element(value, truth):
    assert bool(constant(value)) is truth


def test_bool_of_several_elements_is_refused(x):
    with pytest.raises(ValueError, match=r"exactly one element"):
        bool(x)


def test_conversions_of_scalars():
    assert int(constant(3.7)) == 3
    assert float(constant(2)) == 2.0
    assert complex(constant(2.0)) == 2 + 0j
    assert constant(2.5).item() == 2.5
    assert [10, 20, 30][constant(1)] == 20
    assert list(range(constant(3))) == [0, 1, 2]


@pytest.mark.parametrize("value", [1.0, [1]])
def test_only_integer_scalars_are_indices(value):
    with pytest.raises(TypeError, match=r"only integer scalar"):
        [10, 20][constant(value)]


def test_length_and_iteration(x):
    assert len(x) == 2
    assert [float(v) for v in x] == _X
    a, b = x
    assert float(a + b) == 3.0


def test_scalar_has_no_length_and_no_iteration():
    with pytest.raises(TypeError, match=r"scalar"):
        len(constant(1.0))
    with pytest.raises(TypeError, match=r"scalar"):
        iter(constant(1.0))


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (constant(1), "<tf.Tensor: shape=(), dtype=int32, numpy=1>"),
        (constant(True), "<tf.Tensor: shape=(), dtype=bool, numpy=True>"),
        (constant("a"), "<tf.Tensor: shape=(), dtype=string, numpy=b'a'>"),
        (
            constant(_X),
            "<tf.Tensor: shape=(2,), dtype=float32, numpy=array([1., 2.], dtype=float32)>",
        ),
        (
            constant([[1.0, 2.0], [3.0, 4.0]]),
            "<tf.Tensor: shape=(2, 2), dtype=float32, numpy=\n"
            "array([[1., 2.],\n       [3., 4.]], dtype=float32)>",
        ),
    ],
)
def test_repr_is_tensorflows(tensor, text):
    assert repr(tensor) == text


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (constant(1), "tf.Tensor(1, shape=(), dtype=int32)"),
        (constant("a"), "tf.Tensor(b'a', shape=(), dtype=string)"),
        (constant(_X), "tf.Tensor([1. 2.], shape=(2,), dtype=float32)"),
        (
            constant([[1.0, 2.0], [3.0, 4.0]]),
            "tf.Tensor(\n[[1. 2.]\n [3. 4.]], shape=(2, 2), dtype=float32)",
        ),
    ],
)
def test_str_is_tensorflows(tensor, text):
    assert str(tensor) == text


def test_format(x):
    assert f"{constant(1.5):.2f}" == "1.50"
    assert f"{constant(1.5)}" == "1.5"
    assert f"{x}" == "[1. 2.]"


def test_tensor_is_immutable(x):
    with pytest.raises(TypeError):
        x[0] = 1.0


def test_copies_are_equal(x):
    for twin in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert twin.numpy().tolist() == _X
        assert twin.dtype is dtypes.float32


def test_shape_and_rank(x):
    assert x.shape == (2,)
    assert x.get_shape().as_list() == [2]
    assert x.ndim == 1
    x.set_shape([None])
    with pytest.raises(ValueError, match=r"compatible"):
        x.set_shape([3])


# -- NumPy and DLPack ----------------------------------------------------------------------


def test_numpy_gives_a_writable_copy(x):
    array = x.numpy()
    array[0] = 9
    assert x.numpy().tolist() == _X


def test_numpy_of_a_scalar_is_a_numpy_scalar():
    assert isinstance(constant(1.0).numpy(), np.float32)
    assert constant("a").numpy() == b"a"


def test_asarray_shares_memory_and_is_read_only(x):
    array = np.asarray(x)
    assert np.shares_memory(array, np.asarray(x))
    assert not array.flags.writeable
    assert np.array(x).flags.writeable
    assert np.asarray(x, np.float64).dtype == np.float64


def test_numpy_functions_take_tensors(x):
    assert np.sum(x) == 3.0
    assert np.add(x, x).tolist() == [2.0, 4.0]
    assert np.stack([x, x]).shape == (2, 2)


def test_dlpack_to_numpy_and_back(x):
    array = np.from_dlpack(x)
    assert array.tolist() == _X
    assert constant(array).numpy().tolist() == _X


def test_dlpack_lends_nothing_that_can_be_written(x):
    for array in (np.from_dlpack(x), np.from_dlpack(_OldConsumer(x))):
        if array.flags.writeable:
            array[0] = 9
        assert x.numpy().tolist() == _X


class _OldConsumer:
    """Asks for a capsule as before DLPack 1.0, without a version."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **unused):
        return self.tensor.__dlpack__()

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


# -- indexing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [0, -1, slice(1, 3), slice(None, None, -1), slice(3, 0, -2), (1, 2), (..., 0), (None, 1),
     (slice(None), None, -1), Ellipsis, (0, ..., slice(0, 2)), slice(5, 2), slice(-2, None),
     np.int64(1), (slice(None, None, 2), slice(1, None, 3))],
    ids=repr,
)  # fmt: skip
def test_basic_index_equals_numpy(key):
    array = np.arange(20.0).reshape(4, 5)
    np.testing.assert_array_equal(constant(array)[key].numpy(), array[key])


def test_index_by_a_scalar_tensor_and_by_slices_of_tensors():
    array = np.arange(6.0)
    x = constant(array)
    assert x[constant(2)].numpy() == 2.0
    assert x[constant(1) : constant(4)].numpy().tolist() == [1.0, 2.0, 3.0]


def test_index_by_a_mask():
    x = constant([[1.0, 2.0], [3.0, 4.0]])
    assert x[constant([True, False])].numpy().tolist() == [[1.0, 2.0]]
    assert x[x > 1.5].numpy().tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("key", "words"), [(5, "must be in"), ((0, 0), "at most 1"), ((..., ...), "at most one")]
)
def test_bad_index_is_refused(x, key, words):
    with pytest.raises((ValueError, IndexError), match=words):
        x[key]

import collections

import numpy as np
import pytest

from distflow.base import dtypes, errors
from distflow.base.specs import TensorSpec
from distflow.core.tensor import EagerTensor
from distflow.data import INFINITE_CARDINALITY, UNKNOWN_CARDINALITY, Dataset


def test_slices_of_a_list_are_rows_of_one_tensor(values):
    dataset = Dataset.from_tensor_slices([[1, 2], [3, 4]])
    assert dataset.element_spec == TensorSpec((2,), dtypes.int32)
    assert values(dataset) == [[1, 2], [3, 4]]


def test_slices_of_a_dict_and_labels_keep_the_structure(values):
    dataset = Dataset.from_tensor_slices(({"b": ["x", "y"], "a": [1.0, 2.0]}, [0, 1]))
    assert values(dataset) == [({"b": b"x", "a": 1.0}, 0), ({"b": b"y", "a": 2.0}, 1)]
    assert dataset.element_spec[0]["b"] == TensorSpec((), dtypes.string)


def test_elements_are_eager_tensors():
    (element,) = Dataset.from_tensors(3)
    assert isinstance(element, EagerTensor)


def test_unequal_first_dimensions_name_both():
    with pytest.raises(errors.InvalidArgumentError, match=r"\[2\] at \[0\].*\[3\] at \[1\]"):
        Dataset.from_tensor_slices(([1, 2], [3, 4, 5]))


def test_slices_of_a_scalar_are_an_error():
    with pytest.raises(errors.InvalidArgumentError, match="from_tensors"):
        Dataset.from_tensor_slices(5)


def test_data_set_keeps_its_own_copy_of_arrays(values):
    array = np.arange(3)
    dataset = Dataset.from_tensor_slices(array)
    array[:] = 7
    assert values(dataset) == [0, 1, 2]


@pytest.mark.parametrize("args", [(5,), (2, 5), (10, 0, -3), (0,)])
def test_range_equals_pythons(args, values):
    assert values(Dataset.range(*args)) == list(range(*args))
    assert len(Dataset.range(*args)) == len(range(*args))


def test_range_is_int64_unless_told():
    assert Dataset.range(3).element_spec == TensorSpec((), dtypes.int64)
    assert next(iter(Dataset.range(3, output_type=dtypes.int32))).dtype is dtypes.int32


def test_generator_is_called_anew_for_each_iteration(values):
    calls = []

    def generate(n):
        calls.append(n)
        yield from range(int(n))

    dataset = Dataset.from_generator(generate, output_types=dtypes.int32, args=(3,))
    assert values(dataset) == values(dataset) == [0, 1, 2]
    assert len(calls) == 2


def test_generator_of_structures_is_checked_against_the_signature(values):
    signature = ({"x": TensorSpec((None,), dtypes.float32)}, TensorSpec((), dtypes.int64))
    dataset = Dataset.from_generator(lambda: iter([({"x": [1, 2]}, 3)]), output_signature=signature)
    assert values(dataset) == [({"x": [1.0, 2.0]}, 3)]
    assert dataset.element_spec == signature


@pytest.mark.parametrize(
    ("value", "spec", "message"),
    [
        ("a", TensorSpec((), dtypes.int32), "int32.*received 'a'"),
        (1.5, TensorSpec((), dtypes.int32), "int32.*received 1.5"),
        (np.float64(1.5), TensorSpec((), dtypes.int32), "int32.*received"),
        ([1], TensorSpec((2,), dtypes.int32), r"shape \[1\]"),
        ([1, 2], (TensorSpec((), dtypes.int32), TensorSpec((), dtypes.int32)), "structure"),
        ((1,), (TensorSpec((), dtypes.int32), TensorSpec((), dtypes.int32)), "structure"),
        ({"b": 1}, {"a": TensorSpec((), dtypes.int32)}, "structure"),
    ],
)
def test_wrong_generator_element_says_what_was_expected(value, spec, message):
    dataset = Dataset.from_generator(lambda: iter([value]), output_signature=spec)
    with pytest.raises(errors.InvalidArgumentError, match=message):
        list(dataset)


def test_generator_needs_a_signature():
    with pytest.raises(errors.DtypeMismatchError, match="received neither"):
        Dataset.from_generator(lambda: iter([]))


def test_legacy_types_and_shapes_make_the_signature():
    dataset = Dataset.from_generator(lambda: iter([]), (dtypes.int32, dtypes.int64), ((), (2,)))
    assert dataset.element_spec == (TensorSpec((), dtypes.int32), TensorSpec((2,), dtypes.int64))


def test_generator_is_closed_when_the_iterator_is_dropped():
    closed = []

    def generate():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    iterator = iter(Dataset.from_generator(generate, output_types=dtypes.int32))
    next(iterator)
    del iterator
    assert closed == [True]


def test_zip_ends_with_the_shortest_and_keeps_structure(values):
    dataset = Dataset.zip((Dataset.range(2), {"a": Dataset.range(3)}))
    assert values(dataset) == [(0, {"a": 0}), (1, {"a": 1})]
    assert int(dataset.cardinality()) == 2


def test_zip_takes_data_sets_as_arguments(values):
    assert values(Dataset.zip(Dataset.range(2), Dataset.range(5, 9))) == [(0, 5), (1, 6)]


def test_concatenate_checks_dtypes_when_it_is_called(values):
    assert values(Dataset.range(2).concatenate(Dataset.range(1))) == [0, 1, 0]
    with pytest.raises(TypeError, match="one structure and dtype"):
        Dataset.range(2).concatenate(Dataset.from_tensor_slices([1.0]))


def test_namedtuples_stay_whole_in_map(values):
    pair = collections.namedtuple("pair", "x y")
    dataset = Dataset.from_tensor_slices(pair([1, 2], [3, 4])).map(lambda p: p.x + p.y)
    assert values(dataset) == [4, 6]


# Numbers from TF 2.21.
@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (Dataset.range(5).repeat(), INFINITE_CARDINALITY),
        (Dataset.range(5).filter(lambda x: True), UNKNOWN_CARDINALITY),
        (Dataset.range(5).repeat(3), 15),
        (Dataset.range(10).shard(3, 0), 4),
        (Dataset.range(10).shard(3, 2), 3),
        (Dataset.range(7).window(3, shift=2), 4),
        (Dataset.range(7).window(3, shift=2, drop_remainder=True), 3),
        (Dataset.range(7).batch(3).unbatch(), UNKNOWN_CARDINALITY),
        (Dataset.range(7).batch(3, drop_remainder=True).unbatch(), 6),
        (Dataset.range(3).take(-1), 3),
        (Dataset.range(3).repeat().take(5), 5),
        (Dataset.range(3).skip(-1), 0),
        (Dataset.range(10).batch(4), 3),
        (Dataset.range(10).batch(4, drop_remainder=True), 2),
        (Dataset.range(0).repeat(), 0),
        (Dataset.random(seed=1), INFINITE_CARDINALITY),
    ],
)
def test_cardinality_equals_tensorflows(dataset, expected):
    assert int(dataset.cardinality()) == expected


def test_length_of_infinite_and_unknown_data_sets_is_a_type_error():
    with pytest.raises(TypeError, match="infinite"):
        len(Dataset.range(5).repeat())
    with pytest.raises(TypeError, match="unknown"):
        len(Dataset.range(5).filter(lambda x: True))


def test_data_set_is_true_even_if_empty():
    assert Dataset.range(0)

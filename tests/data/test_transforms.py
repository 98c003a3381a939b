import threading

import numpy as np
import pytest

from distflow.autodiff import GradientTape
from distflow.base import dtypes, errors
from distflow.base.specs import TensorSpec
from distflow.core.convert import constant
from distflow.data import AUTOTUNE, Dataset, Options
from distflow.ops import math


def test_map_spreads_tuples_over_arguments(values):
    dataset = Dataset.zip(Dataset.range(3), Dataset.range(10, 13))
    assert values(dataset.map(lambda a, b: a * b)) == [0, 11, 24]


def test_map_gets_a_dict_as_one_argument(values):
    dataset = Dataset.from_tensor_slices({"a": [1, 2]}).map(lambda d: d["a"] + 1)
    assert values(dataset) == [2, 3]


def test_list_at_the_top_of_a_result_is_a_tuple_and_a_tensor_below(values):
    assert values(Dataset.range(2).map(lambda x: [x, x])) == [(0, 0), (1, 1)]
    dataset = Dataset.range(2).map(lambda x: {"a": [x, x]})
    assert values(dataset) == [{"a": [0, 0]}, {"a": [1, 1]}]
    assert dataset.element_spec == {"a": TensorSpec((2,), dtypes.int64)}


def test_map_may_look_at_values_and_have_side_effects(values):
    seen = []

    def function(x):
        seen.append(int(x))
        return x if int(x) % 2 == 0 else -x

    assert values(Dataset.range(4).map(function)) == [0, -1, 2, -3]
    assert seen == [0, 1, 2, 3]


def test_map_of_none_is_an_error():
    with pytest.raises(errors.InvalidArgumentError, match="elements must be tensors"):
        list(Dataset.range(2).map(lambda x: None))


def test_spec_of_a_mapped_data_set_comes_from_a_trace():
    dataset = Dataset.range(6).batch(2).map(lambda x: (math.cast(x, dtypes.float32), x[:1]))
    first, second = dataset.element_spec
    assert first == TensorSpec((None,), dtypes.float32)
    assert second.dtype is dtypes.int64


def test_spec_of_an_untraceable_function_comes_from_the_first_element():
    dataset = Dataset.range(4).batch(2).map(lambda x: np.float32(x.numpy()) + 1)
    assert dataset.element_spec == TensorSpec((None,), dtypes.float32)


def test_looking_at_the_spec_does_not_change_a_shuffle(values):
    def pipeline():
        return Dataset.range(20).shuffle(20, seed=3).map(lambda x: x.numpy() + 0)

    looked, plain = pipeline(), pipeline()
    assert looked.element_spec == TensorSpec((), dtypes.int64)
    assert values(looked) == values(plain)


def test_spec_of_an_empty_data_set_comes_from_zeros():
    untraceable = Dataset.range(0).map(lambda x: x.numpy() / 2)
    assert untraceable.element_spec == TensorSpec((), dtypes.float64)
    joined = Dataset.range(0).window(2).flat_map(lambda w: w.batch(2))
    assert joined.element_spec == TensorSpec((None,), dtypes.int64)


@pytest.mark.parametrize("calls", [1, 3, AUTOTUNE])
def test_parallel_map_keeps_the_order(calls, values):
    dataset = Dataset.range(50).map(lambda x: x * 2, num_parallel_calls=calls)
    assert values(dataset) == [2 * i for i in range(50)]


def test_parallel_map_runs_calls_at_the_same_time(values):
    meeting = threading.Barrier(2, timeout=30)

    def function(x):
        meeting.wait()
        return x

    assert values(Dataset.range(4).map(function, num_parallel_calls=2)) == [0, 1, 2, 3]


def test_unordered_map_delivers_what_is_ready(values):
    second_done = threading.Event()

    def function(x):
        if int(x) == 0:
            assert second_done.wait(30)
        return x

    dataset = Dataset.range(2).map(function, num_parallel_calls=2, deterministic=False)
    iterator = iter(dataset)
    assert int(next(iterator)) == 1
    second_done.set()
    assert int(next(iterator)) == 0


def test_options_can_make_parallel_maps_unordered():
    options = Options()
    options.deterministic = False
    second_done = threading.Event()

    def function(x):
        if int(x) == 0:
            assert second_done.wait(30)
        return x

    dataset = Dataset.range(2).map(function, num_parallel_calls=2).with_options(options)
    iterator = iter(dataset)
    assert int(next(iterator)) == 1
    second_done.set()


def test_parallel_batches_may_come_unordered(values):
    dataset = Dataset.range(12).map(lambda x: x).batch(3, num_parallel_calls=2, deterministic=False)
    assert sorted(values(dataset)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


def test_exception_of_a_parallel_map_comes_in_its_place():
    def function(x):
        if int(x) == 2:
            raise KeyError("two")
        return x

    iterator = iter(Dataset.range(5).map(function, num_parallel_calls=3))
    assert [int(next(iterator)), int(next(iterator))] == [0, 1]
    with pytest.raises(KeyError, match="two"):
        next(iterator)


def test_map_is_not_seen_by_a_tape_around_the_loop():
    x = constant(3.0)
    with GradientTape() as tape:
        tape.watch(x)
        (y,) = Dataset.from_tensors(2.0).map(lambda v: v * x)
    assert tape.gradient(y, x) is None


def test_filter_keeps_what_is_true(values):
    assert values(Dataset.range(6).filter(lambda x: x % 2 == 1)) == [1, 3, 5]


def test_predicate_that_is_no_bool_is_an_error():
    with pytest.raises(errors.InvalidArgumentError, match="bool scalar"):
        list(Dataset.range(3).filter(lambda x: x))


def test_take_while_stops_at_the_first_false(values):
    assert values(Dataset.range(9).take_while(lambda x: x < 3)) == [0, 1, 2]


def test_enumerate_counts_from_start(values):
    assert values(Dataset.range(7, 9).enumerate(start=5)) == [(5, 7), (6, 8)]


def test_scan_carries_a_state(values):
    dataset = Dataset.range(5).scan(np.int64(0), lambda s, x: (s + x, s + x))
    assert values(dataset) == [0, 1, 3, 6, 10]
    assert dataset.element_spec == TensorSpec((), dtypes.int64)


def test_reduce_gets_the_element_as_one_argument():
    dataset = Dataset.zip(Dataset.range(3), Dataset.range(10, 13))
    assert int(dataset.reduce(np.int64(0), lambda s, pair: s + pair[0] * pair[1])) == 35


def test_state_that_changes_its_dtype_is_an_error():
    with pytest.raises(errors.DtypeMismatchError, match=r"int32.*float32"):
        Dataset.range(3).reduce(0, lambda s, x: 1.0)


def test_flat_map_joins_data_sets(values):
    dataset = Dataset.range(3).flat_map(lambda x: Dataset.from_tensors(x).repeat(2))
    assert values(dataset) == [0, 0, 1, 1, 2, 2]


def test_flat_map_of_a_tensor_is_an_error():
    with pytest.raises(errors.DtypeMismatchError, match="return a Dataset"):
        list(Dataset.range(3).flat_map(lambda x: x))


# Orders from TF 2.21.
@pytest.mark.parametrize("calls", [None, 1, AUTOTUNE])
@pytest.mark.parametrize(
    ("stop", "repeats", "block", "expected"),
    [
        (4, 4, 3, [1, 1, 1, 2, 2, 2, 1, 2, 3, 3, 3, 3]),
        (6, 3, 2, [1, 1, 2, 2, 1, 2, 3, 3, 4, 4, 3, 4, 5, 5, 5]),
    ],
)
def test_interleave_order_equals_tensorflows(calls, stop, repeats, block, expected, values):
    dataset = Dataset.range(1, stop).interleave(
        lambda x: Dataset.from_tensors(x).repeat(repeats),
        cycle_length=2, block_length=block, num_parallel_calls=calls,
    )  # fmt: skip
    assert values(dataset) == expected


@pytest.mark.parametrize("wrong", [4, 6])
def test_asserted_cardinality_is_checked(wrong, values):
    assert values(Dataset.range(5).assert_cardinality(5)) == [0, 1, 2, 3, 4]
    with pytest.raises(errors.FailedPreconditionError, match=f"expected {wrong} elements"):
        list(Dataset.range(5).assert_cardinality(wrong))


def test_single_element_must_be_single():
    assert int(Dataset.range(7, 8).get_single_element()) == 7
    with pytest.raises(errors.InvalidArgumentError, match="received none"):
        Dataset.range(0).get_single_element()
    with pytest.raises(errors.InvalidArgumentError, match="received several"):
        Dataset.range(2).get_single_element()


def test_iterator_ends_with_out_of_range():
    iterator = iter(Dataset.range(1))
    assert int(iterator.get_next()) == 0
    with pytest.raises(errors.OutOfRangeError):
        iterator.get_next()


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (Dataset.range(5).take(2), [0, 1]),
        (Dataset.range(5).skip(2), [2, 3, 4]),
        (Dataset.range(3).skip(-1), []),
        (Dataset.range(2).repeat(2), [0, 1, 0, 1]),
        (Dataset.range(2).repeat().take(5), [0, 1, 0, 1, 0]),
        (Dataset.range(7).shard(3, 1), [1, 4]),
        (Dataset.range(0).repeat(), []),
    ],
)
def test_rearrangements(dataset, expected, values):
    assert values(dataset) == expected


def test_shard_index_must_be_below_the_number_of_shards():
    with pytest.raises(errors.InvalidArgumentError, match=r"\[0, 3\)"):
        Dataset.range(5).shard(3, 3)


def test_options_that_do_nothing_are_refused():
    with pytest.raises(AttributeError, match="experimental_slack"):
        Options().experimental_slack = True


def test_later_options_win():
    first, second = Options(), Options()
    first.deterministic = False
    first.threading.private_threadpool_size = 3
    second.deterministic = True
    merged = Dataset.range(1).with_options(first).take(1).with_options(second).options()
    assert merged.deterministic is True
    assert merged.threading.private_threadpool_size == 3

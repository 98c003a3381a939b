import time

import numpy as np
import pytest

from distflow.base import dtypes, errors
from distflow.base.specs import TensorSpec
from distflow.core.convert import constant
from distflow.data import AUTOTUNE, Dataset
from distflow.data.arrays import ArraySource


def ragged():
    """[0], [0, 1], [0, 1, 2] as int32."""
    return Dataset.range(1, 4).map(lambda n: np.arange(int(n), dtype=np.int32))


def test_last_batch_is_smaller_unless_dropped(values):
    assert values(Dataset.range(5).batch(2)) == [[0, 1], [2, 3], [4]]
    assert values(Dataset.range(5).batch(2, drop_remainder=True)) == [[0, 1], [2, 3]]


def test_spec_of_batches_knows_the_size_only_without_remainder():
    assert Dataset.range(5).batch(2).element_spec == TensorSpec((None,), dtypes.int64)
    dropped = Dataset.range(5).batch(2, drop_remainder=True)
    assert dropped.element_spec == TensorSpec((2,), dtypes.int64)


@pytest.mark.parametrize("calls", [1, AUTOTUNE])
def test_parallel_batches_are_the_same(calls, values):
    plain = Dataset.range(25).map(lambda x: {"a": x, "b": (x, x * 2)}).batch(4)
    parallel = Dataset.range(25).map(lambda x: {"a": x, "b": (x, x * 2)}).batch(4, False, calls)
    assert values(plain) == values(parallel)


def test_batch_of_unequal_shapes_names_them_and_padded_batch():
    with pytest.raises(errors.InvalidArgumentError, match=r"\[1\]; received \[2\](.|\n)*padded_"):
        list(ragged().batch(3))


@pytest.mark.parametrize("size", [0, -1])
def test_batch_size_must_be_positive(size):
    with pytest.raises(errors.InvalidArgumentError, match="batch_size must be > 0"):
        Dataset.range(5).batch(size)


def test_strings_are_batched(values):
    dataset = Dataset.from_tensor_slices(["a", "bc", "d"])
    assert values(dataset.batch(2)) == [[b"a", b"bc"], [b"d"]]
    assert values(dataset.map(lambda s: s).batch(2)) == [[b"a", b"bc"], [b"d"]]


def test_padded_batch_grows_to_the_longest_of_each_batch(values):
    assert values(ragged().padded_batch(2, [None])) == [[[0, 0], [0, 1]], [[0, 1, 2]]]


def test_padded_batch_fills_with_the_value(values):
    dataset = ragged().padded_batch(3, [4], padding_values=-1)
    assert values(dataset) == [[[0, -1, -1, -1], [0, 1, -1, -1], [0, 1, 2, -1]]]
    assert dataset.element_spec == TensorSpec((None, 4), dtypes.int32)


def test_padded_batch_of_structures(values):
    spec = {"i": TensorSpec((None,), dtypes.int32), "s": TensorSpec((None,), dtypes.string)}
    items = [{"i": [1], "s": ["a", "b"]}, {"i": [2, 3], "s": ["c"]}]
    dataset = Dataset.from_generator(lambda: iter(items), output_signature=spec)
    (batch,) = values(dataset.padded_batch(2))
    assert batch == {"i": [[1, 0], [2, 3]], "s": [[b"a", b"b"], [b"c", b""]]}


def test_padding_to_a_smaller_size_is_an_error():
    with pytest.raises(errors.DataLossError, match=r"\[1\].*\[2\]"):
        list(ragged().padded_batch(3, [1]))


def test_padding_value_of_another_dtype_is_an_error():
    with pytest.raises(errors.InvalidArgumentError, match="int32"):
        list(ragged().padded_batch(3, [None], padding_values=0.5))


def test_padded_shapes_need_the_rank():
    with pytest.raises(errors.InvalidArgumentError, match="rank"):
        list(ragged().padded_batch(3, [None, None]))


def test_unbatch_undoes_batch(values):
    dataset = Dataset.zip(Dataset.range(5), Dataset.range(5, 10))
    assert values(dataset.batch(2).unbatch()) == values(dataset)


def test_unbatch_of_unequal_parts_is_an_error():
    with pytest.raises(errors.InvalidArgumentError, match="same first dimension"):
        list(Dataset.from_tensors(([1, 2], [1])).unbatch())


# Windows from TF 2.21.
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"size": 3, "shift": 2}, [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6]]),
        ({"size": 3, "shift": 1, "stride": 2, "drop_remainder": True},
         [[0, 2, 4], [1, 3, 5], [2, 4, 6]]),
        ({"size": 2, "shift": 4}, [[0, 1], [4, 5]]),
        ({"size": 2}, [[0, 1], [2, 3], [4, 5], [6]]),
    ],
)  # fmt: skip
def test_windows_equal_tensorflows(arguments, expected, values):
    windows = Dataset.range(7).window(**arguments)
    assert values(windows.flat_map(lambda w: w.batch(9))) == expected
    assert len(windows) == len(expected)


def test_window_of_pairs_is_a_pair_of_data_sets(values):
    windows = Dataset.zip(Dataset.range(4), Dataset.range(4, 8)).window(2)
    joined = windows.flat_map(lambda a, b: Dataset.zip(a.batch(2), b.batch(2)))
    assert values(joined) == [([0, 1], [4, 5]), ([2, 3], [6, 7])]


# -- rows of arrays: the fast path gives what the slow path gives ----------------------------

PIPELINES = {
    "batch": lambda d: d.batch(7),
    "drop_remainder": lambda d: d.batch(7, drop_remainder=True),
    "shuffle": lambda d: d.shuffle(10, seed=3).batch(7),
    "shuffle of all": lambda d: d.shuffle(1000, seed=3).batch(7),
    "repeat": lambda d: d.shuffle(10, seed=3).repeat(3).batch(7),
    "repeat before": lambda d: d.repeat(2).shuffle(10, seed=3).batch(7),
    "endless": lambda d: d.shuffle(10, seed=3).repeat().batch(7).take(30),
    "take skip shard": lambda d: d.skip(3).take(40).shard(3, 1).shuffle(5, seed=1).batch(4),
    "prefetch": lambda d: d.shuffle(10, seed=3).prefetch(2).batch(7).prefetch(2),
    "empty": lambda d: d.take(0).batch(7),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_gathered_batches_equal_stacked_elements(name, values):
    arrays = ({"x": np.arange(100.0).reshape(50, 2), "s": [str(i) for i in range(50)]},
              np.arange(50))  # fmt: skip
    rows = Dataset.from_tensor_slices(arrays)
    elements = rows.map(lambda features, label: (features, label))
    fast, slow = PIPELINES[name](rows), PIPELINES[name](elements)
    for _ in range(2):
        assert values(fast) == values(slow)
    assert [b[1].shape for b in fast] == [b[1].shape for b in slow]


def test_gathering_is_really_taken(monkeypatch):
    monkeypatch.setattr(ArraySource, "row", None)
    assert len(list(Dataset.from_tensor_slices(np.arange(10)).shuffle(4).batch(3))) == 4


def test_array_source_reads_blocks_of_rows():
    source = ArraySource((constant([[1, 2], [3, 4], [5, 6]]), {"y": [7, 8, 9]}))
    x, y = source.take(np.array([2, 0]))
    assert len(source) == 3
    assert x.numpy().tolist() == [[5, 6], [1, 2]]
    assert y["y"].numpy().tolist() == [9, 7]


def test_slow_path_moves_ten_thousand_elements_a_second():
    dataset = Dataset.range(2000).map(lambda x: (x, x)).shuffle(100).batch(32).prefetch(1)
    assert sum(1 for _ in dataset.take(1)) == 1
    start = time.perf_counter()
    assert sum(1 for _ in dataset) == 63
    # 0.2 s are allowed for 2,000; a loaded machine gets five times as much.
    assert time.perf_counter() - start < 1.0

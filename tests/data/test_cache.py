import numpy as np
import pytest

from distflow.base import errors
from distflow.data import Dataset


@pytest.fixture
def counted():
    calls = []

    def function(x):
        calls.append(int(x))
        return x * 2

    return Dataset.range(3).map(function), calls


def test_memory_cache_reads_its_source_once(counted, values):
    dataset, calls = counted
    cached = dataset.cache()
    assert values(cached) == values(cached) == [0, 2, 4]
    assert calls == [0, 1, 2]


def test_incomplete_pass_keeps_nothing(counted, values):
    dataset, _ = counted
    cached = dataset.cache()
    assert values(cached.take(1)) == [0]
    assert values(cached) == [0, 2, 4]


def test_shuffle_after_cache_still_reshuffles(values):
    dataset = Dataset.range(50).cache().shuffle(50, seed=1)
    assert values(dataset) != values(dataset)


def test_looking_at_the_spec_fills_no_cache(counted, values):
    cached = counted[0].cache()
    assert cached.map(lambda x: x.numpy()).element_spec.shape == ()
    assert cached.node.memory.elements is None
    assert values(cached) == [0, 2, 4]


def test_file_cache_is_read_by_another_data_set(tmp_path, counted, values):
    dataset, calls = counted
    path = tmp_path / "numbers"
    assert values(dataset.cache(path)) == [0, 2, 4]
    assert values(dataset.cache(path)) == [0, 2, 4]
    assert calls.count(2) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["numbers.cache"]


def test_file_cache_keeps_structures_strings_and_dtypes(tmp_path):
    arrays = ({"s": [["a", ""], ["bc", "d"]]}, np.array([1.5, 2.5], np.float16))
    dataset = Dataset.from_tensor_slices(arrays)
    path = str(tmp_path / "c")
    first, second = list(dataset.cache(path)), list(dataset.cache(path))
    for (a, x), (b, y) in zip(first, second):
        assert a["s"].numpy().tolist() == b["s"].numpy().tolist()
        assert x.dtype is y.dtype
        assert x.numpy() == y.numpy()


def test_incomplete_pass_leaves_no_file(tmp_path):
    iterator = iter(Dataset.range(3).cache(tmp_path / "c"))
    next(iterator)
    iterator.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"garbage", None])
def test_damaged_file_is_an_error(tmp_path, damage):
    dataset = Dataset.range(3)
    list(dataset.cache(tmp_path / "c"))
    file = tmp_path / "c.cache"
    file.write_bytes(file.read_bytes()[:-4] if damage is None else damage)
    with pytest.raises(errors.DataLossError, match="Delete the file"):
        list(dataset.cache(tmp_path / "c"))


def test_cache_in_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(errors.NotFoundError, match="folder"):
        list(Dataset.range(3).cache(tmp_path / "no" / "c"))

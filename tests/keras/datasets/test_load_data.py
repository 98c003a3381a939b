"""Each load_data: files of its format, made here; the same rows as Keras."""

import gzip
import json
import pickle
import tarfile

import numpy as np
import pytest

from distflow import keras
from distflow.base import errors
from distflow.keras import datasets
from distflow.keras.datasets import (
    boston_housing,
    california_housing,
    cifar10,
    cifar100,
    fashion_mnist,
    files,
    imdb,
    mnist,
    reuters,
)
from tests.keras.battery import keras_or_skip

RNG = np.random.default_rng(4)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache's folder; whatever is not in it is not anywhere."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(files, "_download", lambda *args: "no network in tests")
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets"


def ragged(count):
    rows = np.empty(count, dtype=object)
    rows[:] = [RNG.integers(1, 30, RNG.integers(2, 9)).tolist() for _ in range(count)]
    return rows


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews.npz"
    np.savez(path, x_train=ragged(9), y_train=RNG.integers(0, 2, 9), x_test=ragged(5),
             y_test=RNG.integers(0, 2, 5))  # fmt: skip
    return str(path)


@pytest.fixture
def wires(tmp_path):
    np.savez(tmp_path / "wires.npz", x=ragged(10), y=RNG.integers(0, 46, 10))
    return str(tmp_path / "wires.npz")


@pytest.fixture
def houses(tmp_path):
    np.savez(tmp_path / "houses.npz", x=RNG.normal(size=(700, 3)), y=RNG.normal(size=700))
    return str(tmp_path / "houses.npz")


def mnist_file(path):
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(path, **{name: np.arange(3, dtype=np.uint8) + i for i, name in enumerate(names)})


def test_mnist_reads_a_file(tmp_path):
    mnist_file(tmp_path / "m.npz")
    (x, y), (x_test, y_test) = mnist.load_data(str(tmp_path / "m.npz"))
    assert [a[0] for a in (x, y, x_test, y_test)] == [0, 1, 2, 3]


def test_mnist_finds_its_cache(cache):
    mnist_file(cache / "mnist.npz")
    assert keras.datasets.mnist.load_data()[0][0].tolist() == [0, 1, 2]


def test_damaged_mnist_is_said(tmp_path):
    (tmp_path / "m.npz").write_bytes(b"nothing")
    with pytest.raises(errors.DataLossError, match=r"to be an \.npz file with x_train"):
        mnist.load_data(str(tmp_path / "m.npz"))


PLACES = {
    "mnist": "mnist.npz", "fashion_mnist": "fashion-mnist/train-images-idx3-ubyte.gz",
    "cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz",
    "imdb": "imdb.npz", "reuters": "reuters.npz", "boston_housing": "boston_housing.npz",
    "california_housing": "california_housing.npz",
}  # fmt: skip


@pytest.mark.parametrize("name", datasets.__all__)
def test_a_missing_set_says_which_file_belongs_where(cache, name):
    with pytest.raises(errors.NotFoundError) as raised:
        getattr(datasets, name).load_data()
    text = str(raised.value)
    assert f"{name}.load_data: expected the file {cache}/{PLACES[name]}" in text
    assert "\nGet https://" in text


def fashion_files(folder):
    folder.mkdir()
    for part, count in (("train", 4), ("t10k", 2)):
        images = RNG.integers(0, 256, (count, 28, 28), np.uint8)
        labels = np.arange(count, dtype=np.uint8)
        head = np.array([2051, count, 28, 28], ">i4").tobytes()
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(head + images.tobytes())
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(np.array([2049, count], ">i4").tobytes() + labels.tobytes())


def test_fashion_mnist_reads_its_four_files(cache):
    fashion_files(cache / "fashion-mnist")
    (x, y), (x_test, y_test) = fashion_mnist.load_data()
    assert (x.shape, x.dtype, x_test.shape) == ((4, 28, 28), np.uint8, (2, 28, 28))
    assert (y.tolist(), y_test.tolist()) == ([0, 1, 2, 3], [0, 1])


def test_a_cut_file_of_fashion_mnist_is_said(cache):
    fashion_files(cache / "fashion-mnist")
    path = cache / "fashion-mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(errors.DataLossError, match="t10k-images"):
        fashion_mnist.load_data()


def cifar_archive(cache, name, top, members):
    folder = cache / "made" / top
    folder.mkdir(parents=True)
    for member, labels in members.items():
        batch = {b"data": RNG.integers(0, 256, (2, 3072), np.uint8)}
        batch |= {key.encode(): value for key, value in labels.items()}
        (folder / member).write_bytes(pickle.dumps(batch, protocol=2))
    with tarfile.open(cache / name, "w:gz") as tar:
        tar.add(folder, arcname=top)
    return folder


def test_cifar10_reads_its_archive_and_keeps_the_files(cache):
    members = {f"data_batch_{i}": {"labels": [i, 9]} for i in range(1, 6)}
    folder = cifar_archive(
        cache, "cifar-10-python.tar.gz", "cifar-10-batches-py",
        members | {"test_batch": {"labels": [7, 8]}},
    )  # fmt: skip
    (x, y), (x_test, y_test) = cifar10.load_data()
    assert (x.shape, y.shape, x_test.shape) == ((10, 32, 32, 3), (10, 1), (2, 32, 32, 3))
    assert y[::2, 0].tolist() == [1, 2, 3, 4, 5]
    assert (y_test[:, 0].tolist(), y_test.dtype) == ([7, 8], np.uint8)
    first = pickle.loads((folder / "data_batch_1").read_bytes())[b"data"][0]
    np.testing.assert_array_equal(x[0], first.reshape(3, 32, 32).transpose(1, 2, 0))
    (cache / "cifar-10-python.tar.gz").unlink()
    np.testing.assert_array_equal(cifar10.load_data()[0][0], x)


def test_cifar_has_channels_where_they_belong(cache):
    labels = {"fine_labels": [5, 6], "coarse_labels": [1, 2]}
    parts = {"train": labels, "test": labels}
    cifar_archive(cache, "cifar-100-python.tar.gz", "cifar-100-python", parts)
    assert cifar100.load_data()[0][1].tolist() == [[5], [6]]
    assert cifar100.load_data("coarse")[1][1].tolist() == [[1], [2]]
    keras.config.set_image_data_format("channels_first")
    try:
        assert cifar100.load_data()[0][0].shape == (2, 3, 32, 32)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_word_numbers_are_limited(reviews):
    (x, _), _ = imdb.load_data(reviews, num_words=20, skip_top=5)
    found = {word for text in x for word in text[1:]}
    assert found <= set(range(5, 20)) | {2}
    assert all(text[0] in (1, 2) for text in x)
    (x, _), _ = imdb.load_data(reviews, num_words=20, skip_top=5, oov_char=None, start_char=None)
    assert all(5 <= word < 20 for text in x for word in text)


def test_word_index(cache):
    (cache / "imdb_word_index.json").write_text(json.dumps({"the": 1}))
    (cache / "reuters_word_index.json").write_text(json.dumps({"oil": 1}))
    assert imdb.get_word_index() == {"the": 1}
    assert reuters.get_word_index() == {"oil": 1}


def test_topics_have_names():
    assert len(reuters.get_label_names()) == 46
    assert reuters.get_label_names()[3] == "earn"


def test_houses_are_split(houses):
    (x, y), (x_test, y_test) = california_housing.load_data("small", houses, test_split=0.25)
    assert (x.shape, y.shape, x_test.shape, y_test.shape) == ((450, 3), (450,), (150, 3), (150,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cifar100.load_data("rough"), "label_mode"),
        (lambda: california_housing.load_data("medium"), "version"),
        (lambda: california_housing.load_data(test_split=1.0), "test_split"),
        (lambda: boston_housing.load_data(test_split=-0.1), "test_split"),
        (lambda: reuters.load_data(test_split=2), "test_split"),
    ],
)
def test_mistake_is_one_clear_error(call, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        call()


def test_no_review_that_is_short_enough_is_an_error(reviews):
    with pytest.raises(errors.InvalidArgumentError, match="Increase maxlen"):
        imdb.load_data(reviews, maxlen=1)


def same(one, other):
    for a, b in zip((*one[0], *one[1]), (*other[0], *other[1])):
        assert a.dtype == b.dtype
        assert [list(x) if isinstance(x, list) else x.tolist() for x in a] == [
            list(x) if isinstance(x, list) else x.tolist() for x in b
        ]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings",
    [
        {}, {"num_words": 20, "skip_top": 3}, {"maxlen": 7}, {"start_char": None},
        {"oov_char": None, "num_words": 15}, {"seed": 3, "index_from": 0},
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["imdb", "reuters"])
def test_texts_equal_those_of_keras(name, settings, reviews, wires, monkeypatch):
    keras_or_skip()
    import importlib

    theirs = importlib.import_module(f"keras.src.datasets.{name}")
    path = reviews if name == "imdb" else wires
    monkeypatch.setattr(theirs, "get_file", lambda *args, **kwargs: path)
    same(theirs.load_data(path, **settings), getattr(datasets, name).load_data(path, **settings))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["boston_housing", "california_housing"])
def test_houses_equal_those_of_keras(name, houses, monkeypatch):
    keras_or_skip()
    import importlib

    theirs = importlib.import_module(f"keras.src.datasets.{name}")
    monkeypatch.setattr(theirs, "get_file", lambda *args, **kwargs: houses)
    for settings in ({}, {"test_split": 0.5, "seed": 9}):
        same(
            theirs.load_data(path=houses, **settings),
            getattr(datasets, name).load_data(path=houses, **settings),
        )

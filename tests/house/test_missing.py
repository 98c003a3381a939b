"""Namespaces: what is not there yet says so, importing is quick, nothing hides `function`."""

import importlib
import subprocess
import sys
import types

import pytest

import distflow as tf
from distflow._missing import NAMES
from distflow.keras import not_there


@pytest.mark.parametrize("space", NAMES)
def test_no_missing_name_is_there(space):
    module = importlib.import_module(f"distflow.{space}".rstrip("."))
    there = set(getattr(module, "__all__", ()))
    assert not there & set(NAMES[space].split())


@pytest.mark.parametrize("room", not_there.NAMES)
def test_no_missing_name_of_keras_is_there(room):
    module = importlib.import_module(f"distflow.keras.{room}")
    assert [name for name in not_there.NAMES[room].split() if hasattr(module, name)] == []


def test_a_missing_name_says_so():
    with pytest.raises(AttributeError, match=r"tf.linalg.svd is part of TensorFlow's API, but not"):
        _ = tf.linalg.svd
    with pytest.raises(tf.errors.UnimplementedError):
        _ = tf.linalg.svd
    assert not hasattr(tf.linalg, "svd")


@pytest.mark.parametrize(
    "name",
    ["layers.FlaxLayer", "layers.JaxLayer", "callbacks.OrbaxCheckpoint"],
)
def test_a_missing_name_of_keras_says_so(name):
    space, _, last = name.rpartition(".")
    with pytest.raises(AttributeError, match=rf"keras\.{name} is part of Keras's API"):
        getattr(getattr(tf.keras, space), last)


@pytest.mark.parametrize("name", ["data.TFRecordDataset", "distribute.TPUStrategy"])
def test_a_missing_name_of_a_room_says_so(name):
    room, _, last = name.partition(".")
    with pytest.raises(AttributeError, match=rf"tf\.{name} is part of TensorFlow's API"):
        getattr(getattr(tf, room), last)


def test_a_misspelt_name_is_a_plain_error():
    with pytest.raises(AttributeError, match=r"module 'distflow\.math' has no attribute 'sinn'"):
        _ = tf.math.sinn


def test_listed_names_exist():
    assert [n for n in tf.__all__ if not hasattr(tf, n)] == []


def test_importing_the_room_function_does_not_hide_the_decorator():
    importlib.import_module("distflow.function")
    assert not isinstance(tf.function, types.ModuleType)
    assert tf.function(lambda x: x + 1)(tf.constant(1)).numpy() == 2


def test_import_loads_no_heavy_package():
    heavy = "grpc h5py rich malt llvmlite google.protobuf"
    code = (
        "import sys, distflow; "
        f"print([m for m in {heavy.split()!r} if m in sys.modules], "
        "sorted(m for m in sys.modules if m.startswith('distflow.') and "
        "m.split('.')[1] in ('keras', 'data', 'distribute', 'function', 'comm', 'cluster')))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "[] []"


def test_devices():
    assert [d.device_type for d in tf.config.list_physical_devices()] == ["CPU"]
    assert tf.config.list_physical_devices("GPU") == []
    with pytest.raises(tf.errors.InvalidArgumentError, match="devices are"):
        tf.config.set_visible_devices(["GPU:0"], "GPU")


def test_compute_gradient_compares_both_ways():
    theory, numeric = tf.test.compute_gradient(lambda x: x * x * x, [tf.constant([1.0, 2.0])])
    assert theory[0].tolist() == [[3, 0], [0, 12]]
    assert abs(theory[0] - numeric[0]).max() < 1e-2


def test_dtype_names():
    assert tf.half == tf.float16
    assert tf.dtypes.bool == tf.bool
    assert tf.constant(1).dtype is tf.int32


def test_errors_have_tensorflows_codes():
    assert tf.errors.INVALID_ARGUMENT == 3
    assert tf.errors.UNAUTHENTICATED == 16

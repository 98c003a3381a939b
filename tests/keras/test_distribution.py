"""keras.distribution on the one device of a process: layouts, maps, scopes, refusals."""

import numpy as np
import pytest

import distflow as tf
from distflow import keras

dist = keras.distribution


@pytest.fixture(autouse=True)
def _nothing_set():
    yield
    dist.set_distribution(None)


def mesh():
    return dist.DeviceMesh((1, 1), ["batch", "model"])


def test_a_process_has_one_device():
    assert dist.list_devices() == dist.list_devices("CPU") == ["cpu:0"]
    assert (dist.get_device_count(), dist.get_device_count("gpu")) == (1, 0)
    dist.initialize()


def test_a_map_finds_layouts_by_expressions_of_the_whole_path():
    found = dist.LayoutMap(mesh())
    found["dense.*kernel"] = (None, "model")
    found["dense.*bias"] = ("model",)
    assert found["dense_1/kernel"].axes == (None, "model")
    assert found["my/dense_1/kernel"] is None
    assert found["dense_1/bias"].device_mesh is found.device_mesh
    with pytest.raises(ValueError, match="already exist"):
        found["dense.*bias"] = (None,)
    found["dense_1.*"] = (None,)
    with pytest.raises(ValueError, match="matches multiple"):
        found["dense_1/bias"]


def test_a_model_trains_alike_with_and_without():
    def trained():
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse")
        model.fit(np.eye(3), np.ones((3, 2)), verbose=0)
        return model.get_weights()[0]

    plain = trained()
    dist.set_distribution(dist.DataParallel())
    np.testing.assert_array_equal(trained(), plain)


def test_layouts_of_data_and_of_variables():
    layouts = dist.LayoutMap(mesh())
    layouts["dense/kernel"] = (None, "model")
    layer = keras.layers.Dense(2, name="dense")
    layer.build((None, 3))
    parallel = dist.ModelParallel(layout_map=layouts, batch_dim_name="batch")
    assert parallel.get_data_layout((8, 3)).axes == ("batch", None)
    assert parallel.get_variable_layout(layer.kernel).axes == (None, "model")
    assert parallel.get_variable_layout(layer.bias).axes == (None,)
    assert parallel.num_model_replicas == dist.DataParallel().num_model_replicas == 1


def test_a_scope_ends():
    first, second = dist.DataParallel(), dist.DataParallel()
    dist.set_distribution(first)
    with second.scope():
        assert dist.distribution() is second
    assert dist.distribution() is first


def test_a_tensor_stays_whole():
    x = dist.distribute_tensor(np.ones((2, 3)), dist.TensorLayout((None, "model"), mesh()))
    assert x.shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dist.DeviceMesh((), []), ValueError, "cannot be empty"),
        (lambda: dist.DeviceMesh((1,), ["a", "b"]), ValueError, "same size"),
        (lambda: dist.DeviceMesh((2,), ["a"]), ValueError, "number of devices"),
        (lambda: dist.DeviceMesh((2,), ["a"], ["gpu:0", "gpu:1"]), ValueError, "tf.distribute"),
        (lambda: dist.TensorLayout(("rows",), mesh()), ValueError, "Invalid axis names"),
        (lambda: dist.LayoutMap(mesh()).__setitem__("a", 3), ValueError, "TensorLayout type"),
        (lambda: dist.DataParallel(3), ValueError, "DeviceMesh"),
        (lambda: dist.ModelParallel(), ValueError, "layout_map"),
        (lambda: dist.ModelParallel(layout_map={}), ValueError, "LayoutMap"),
        (lambda: dist.distribute_tensor(np.ones(2), dist.TensorLayout((None, None))), ValueError,
         "1 axes"),
        (lambda: dist.set_distribution(3), ValueError, "DataParallel"),
        (lambda: dist.initialize(num_processes=2), tf.errors.UnimplementedError, "mpirun"),
    ],
)  # fmt: skip
def test_wrong_calls_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()

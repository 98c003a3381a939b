import subprocess
import sys

import numpy as np
import pytest

from distflow import keras
from distflow.base import errors
from tests.keras.engine.small_layers import Linear


@pytest.mark.spawn
def test_importing_keras_loads_no_layers():
    code = "import sys, distflow.keras; print([m for m in sys.modules if 'keras.layers' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["Model", "Sequential", "Input", "Layer", "InputSpec", "models"])
def test_public_names_are_found_on_first_use(name):
    assert getattr(keras, name) is not None
    assert name in dir(keras)


def test_unknown_names_are_said_to_be_unknown():
    with pytest.raises(AttributeError, match="'Sequentiel'"):
        _ = keras.Sequentiel


def test_floatx_sets_the_dtype_of_layers():
    keras.config.set_floatx("float64")
    try:
        assert Linear(1).dtype == "float64"
    finally:
        keras.config.set_floatx("float32")


def test_global_policy_is_that_of_new_layers():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        assert Linear(1).compute_dtype == "bfloat16"
    finally:
        keras.backend.clear_session()
    assert Linear(1).compute_dtype == "float32"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: keras.config.set_floatx("int32"), "a floating dtype"),
        (lambda: keras.config.set_image_data_format("sideways"), "one of 'channels_last'"),
        (lambda: keras.utils.to_categorical([3], 2), r"must be in \[0, 2\)"),
    ],
)
def test_wrong_settings_are_refused(act, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        act()


def test_to_categorical_marks_the_class():
    rows = keras.utils.to_categorical([[0], [2]])
    np.testing.assert_array_equal(rows, [[1, 0, 0], [0, 0, 1]])
    assert keras.utils.to_categorical(np.array([[1, 0]]), 2).shape == (1, 2, 2)


def test_normalize_divides_by_the_norm_and_keeps_zeros():
    np.testing.assert_allclose(keras.utils.normalize([[3.0, 4.0], [0, 0]]), [[0.6, 0.8], [0, 0]])


def test_names_that_are_not_there_yet_say_so():
    assert not hasattr(keras, "estimator")
    with pytest.raises(NotImplementedError, match=r"keras\.estimator is part of Keras's API"):
        _ = keras.estimator

import json

import numpy as np
import pytest

from distflow.core.convert import convert_to_tensor
from distflow.keras import activations, initializers, regularizers
from distflow.keras.dtype_policy import DTypePolicy
from distflow.keras.registry import (
    custom_object_scope,
    get_registered_name,
    register_keras_serializable,
)
from distflow.keras.serialization import deserialize_keras_object, serialize_keras_object


class Thing:
    def __init__(self, size):
        self.size = size

    def get_config(self):
        return {"size": self.size}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def triple(x):
    return x * 3


def round_trip(value, **kwargs):
    return deserialize_keras_object(json.loads(json.dumps(serialize_keras_object(value))), **kwargs)


@pytest.mark.parametrize("value", [None, 3, 2.5, "text", True, [1, [2]], {"a": 1}, b"ab", ...])
def test_plain_values_come_back(value):
    assert round_trip(value) == value


def test_arrays_and_tensors_come_back_with_their_dtypes():
    array = round_trip(np.arange(3, dtype="int16"))
    assert array.dtype == np.int16
    np.testing.assert_array_equal(array, [0, 1, 2])
    tensor = round_trip(convert_to_tensor([1.5]))
    np.testing.assert_array_equal(tensor.numpy(), [1.5])


def test_slices_come_back():
    assert round_trip(slice(1, None, 2)) == slice(1, None, 2)


# Each as Keras 3.15 writes it.
@pytest.mark.parametrize(
    ("value", "written"),
    [
        (regularizers.L2(0.01), {
            "module": "keras.regularizers", "class_name": "L2", "config": {"l2": 0.01},
            "registered_name": None}),
        (DTypePolicy("mixed_float16"), {
            "module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_float16"},
            "registered_name": None}),
        (initializers.Zeros(), {
            "module": "keras.initializers", "class_name": "Zeros", "config": {},
            "registered_name": None}),
        (activations.relu, {
            "module": "builtins", "class_name": "function", "config": "relu",
            "registered_name": "function"}),
        (Thing(2), {
            "module": None, "class_name": "Thing", "config": {"size": 2},
            "registered_name": "Thing"}),
        ((1, (2, 3)), [1, [2, 3]]),
        (np.float32(3), 3.0),
    ],
)  # fmt: skip
def test_objects_are_written_as_keras_writes_them(value, written):
    assert serialize_keras_object(value) == written


def test_functions_of_keras_come_back_by_name():
    assert round_trip(activations.relu) is activations.relu


def test_custom_objects_are_handed_in():
    assert round_trip(Thing(4), custom_objects={"Thing": Thing}).size == 4
    assert round_trip(triple, custom_objects={"triple": triple}) is triple


def test_scope_makes_custom_objects_known():
    with custom_object_scope({"Thing": Thing}):
        assert round_trip(Thing(4)).size == 4


def test_registered_classes_are_found_by_package_and_name():
    @register_keras_serializable("pack")
    class Known(Thing):
        pass

    assert get_registered_name(Known) == "pack>Known"
    assert serialize_keras_object(Known(1))["registered_name"] == "pack>Known"
    assert type(round_trip(Known(1))) is Known


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: round_trip(Thing(1)), TypeError, "Could not locate class 'Thing'"),
        (lambda: round_trip(triple), TypeError, "Could not locate function 'triple'"),
        (lambda: serialize_keras_object(lambda x: x), TypeError, "a lambda cannot be saved"),
        (lambda: serialize_keras_object({1, 2}), TypeError, "Cannot serialize object"),
        (lambda: serialize_keras_object(object()), TypeError, "must implement the `get_config"),
        (
            lambda: deserialize_keras_object({"class_name": "__lambda__", "config": {}}),
            ValueError, "loads no code",
        ),
        (
            lambda: deserialize_keras_object(
                {"class_name": "Popen", "module": "subprocess", "config": {}}
            ),
            TypeError, "Could not locate class 'Popen'",
        ),
        (
            lambda: deserialize_keras_object(
                {"class_name": "os", "module": "keras.saving.files", "config": {}}
            ),
            TypeError, "Could not locate class 'os'",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_or_loaded_is_one_clear_error(act, error, message):
    with pytest.raises(error, match=message):
        act()

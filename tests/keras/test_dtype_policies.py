"""Policies of integers, and maps of policies."""

import pytest

from distflow import keras
from tests.keras.battery import keras_or_skip

policies = keras.dtype_policies


def make(room):
    found = room.DTypePolicyMap("mixed_bfloat16", {})
    found["encoder/first"] = "float32"
    found["encoder/.*"] = room.DTypePolicy("float16")
    return found


def test_an_exact_path_comes_before_expressions_and_the_default_last():
    found = make(policies)
    names = [found[path].name for path in ("encoder/first", "encoder/second", "decoder")]
    assert names == ["float32", "float16", "mixed_bfloat16"]
    assert (found.compute_dtype, found.variable_dtype) == ("bfloat16", "float32")
    assert len(found) == 2


def test_a_map_comes_back_from_its_config():
    found = make(policies)
    assert policies.deserialize(policies.serialize(found)) == found


def test_a_path_of_two_expressions_is_refused():
    found = make(policies)
    found["encoder/s.*"] = "float64"
    with pytest.raises(ValueError, match="matches multiple"):
        found["encoder/second"]
    with pytest.raises(ValueError, match="already exist"):
        found["encoder/first"] = "float64"


def test_a_layer_takes_a_policy_of_integers():
    layer = keras.layers.Dense(3, dtype="int8_from_mixed_bfloat16")
    layer.build((None, 2))
    assert (layer.quantization_mode, layer.compute_dtype) == ("int8", "bfloat16")
    again = keras.layers.Dense.from_config(layer.get_config())
    assert again.dtype_policy == layer.dtype_policy


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_configs_are_those_of_keras():
    theirs = keras_or_skip().dtype_policies
    assert policies.serialize(make(policies)) == theirs.serialize(make(theirs))
    for room in (policies, theirs):
        found = room.QuantizedDTypePolicy("int8", "float32")
        assert (found.name, found.get_config()) == (
            "int8_from_float32", {"mode": "int8", "source_name": "float32"})  # fmt: skip

"""Policies of integers, and maps of policies."""

import pytest

from distflow import keras
from distflow.base import errors
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


def test_a_layer_with_a_map_comes_back():
    layer = keras.layers.Dense(3, dtype=make(policies))
    again = keras.layers.Dense.from_config(layer.get_config())
    assert again.dtype_policy == layer.dtype_policy
    model = keras.Sequential([keras.Input((2,)), layer])
    (copy,) = keras.models.model_from_json(model.to_json()).layers
    assert copy.dtype_policy == layer.dtype_policy


# How to make one of each kind, and its module in Keras 3's files.
KINDS = {
    "floats": (lambda room: room.DTypePolicy("mixed_bfloat16"), "keras"),
    "integers": (
        lambda room: room.QuantizedDTypePolicy("int8", "bfloat16"),
        "keras.dtype_policies",
    ),
    "map": (make, "keras.dtype_policies"),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_any_policy_comes_back_from_its_description(kind):
    policy = KINDS[kind][0](policies)
    described = policies.serialize(policy)
    assert described["module"] == KINDS[kind][1]
    for way in (policies.deserialize, policies.get):
        again = way(described)
        assert (type(again), again) == (type(policy), policy)


def test_a_policy_of_integers_is_also_read_from_the_module_of_older_files():
    described = policies.serialize(policies.QuantizedDTypePolicy("int8", "float32"))
    again = policies.deserialize({**described, "module": "keras"})
    assert again.name == "int8_from_float32"


@keras.saving.register_keras_serializable("tests")
class Own(policies.DTypePolicy):
    pass


def test_a_registered_class_of_the_user_is_a_policy_too():
    layer = keras.layers.Dense(3, dtype=Own("float64"))
    again = keras.layers.Dense.from_config(layer.get_config()).dtype_policy
    assert (type(again), again.name) == (Own, "float64")


@pytest.mark.parametrize(
    ("name", "module"), [("GPTQDTypePolicy", "keras.dtype_policies"), ("Dense", "keras.layers")]
)
def test_other_configs_are_refused(name, module):
    config = {"module": module, "class_name": name, "config": {"units": 3}}
    with pytest.raises(errors.InvalidArgumentError, match="a config of a policy"):
        policies.get(config)


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
    for make_one, _ in KINDS.values():
        written = theirs.serialize(make_one(theirs))
        assert policies.serialize(make_one(policies)) == written
        layer = keras.layers.Dense.from_config({"units": 3, "dtype": written})
        assert layer.get_config()["dtype"] == written
    for room in (policies, theirs):
        found = room.QuantizedDTypePolicy("int8", "float32")
        assert (found.name, found.get_config()) == (
            "int8_from_float32", {"mode": "int8", "source_name": "float32"})  # fmt: skip

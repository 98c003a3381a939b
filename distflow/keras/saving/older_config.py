"""Descriptions of models as Keras 1 and 2 wrote them, turned into those of Keras 3.

Plain dicts in, plain dicts out: nothing is made here. What changed between the versions is in the
tables; what has no place in Keras 3 (an operator layer of TensorFlow, a lambda) is refused by name.
"""

from __future__ import annotations

import importlib
from typing import Any

from distflow.base import errors
from distflow.keras import serialization
from distflow.keras.engine import keras_ops

_ROOMS = ("layers", "initializers", "regularizers", "constraints", "losses", "metrics",
          "optimizers", "optimizers.schedules", "activations")  # fmt: skip
_MODELS = {
    "Functional": "keras.src.models.functional",
    "Model": "keras.src.models.functional",
    "Sequential": "keras",
}
# Arguments that Keras 3 has no more; they made no difference to the numbers.
_DROPPED = frozenset({
    "implementation", "time_major", "input_length", "ragged", "sparse", "fused", "renorm",
    "virtual_batch_size", "jit_compile", "is_legacy_optimizer", "batch_input_dtype", "keras_api",
})  # fmt: skip
_SPARSE = frozenset({"sparse"})
_KEEPS = {
    "InputLayer": frozenset({"sparse", "ragged"}),
    "TextVectorization": frozenset({"sparse", "ragged"}),
    "CategoryEncoding": _SPARSE, "Discretization": _SPARSE, "StringLookup": _SPARSE,
    "IntegerLookup": _SPARSE, "Hashing": _SPARSE,
}  # fmt: skip
_RENAMED = {
    "LeakyReLU": {"alpha": "negative_slope"},
    "SGD": {"lr": "learning_rate"},
    "Adam": {"lr": "learning_rate"},
    "RMSprop": {"lr": "learning_rate"},
}
_OPTIMIZER_RESTS = ("decay", "is_legacy_optimizer", "jit_compile")


def upgraded(description: Any) -> Any:
    """Returns a description (of a model, layer, initializer, ...) in Keras 3's form.

    Raises:
      UnimplementedError: for layers that Keras 3 cannot load either.
    """
    if isinstance(description, list | tuple):
        return [upgraded(x) for x in description]
    if not isinstance(description, dict):
        return description
    if not ("class_name" in description and "config" in description):
        return {key: upgraded(value) for key, value in description.items()}
    name = str(description["class_name"])
    config = description["config"]
    if name in ("Policy", "PolicyV1"):
        return config["name"]
    if name.startswith("__") or not isinstance(config, dict):
        return description
    if name in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"):
        raise errors.UnimplementedError(
            f"load_model: expected layers; received '{config.get('name')}', an operator of "
            "TensorFlow applied to a symbolic tensor (Keras 3 does not load it either).\n"
            "Put the computation into a layer of your own and save the model again."
        )
    result = dict(description)
    result["config"] = _config(name, config)
    if result.get("module") is None:
        result["module"] = _MODELS.get(name) or _module(name.removeprefix("Custom>"))
        if result["module"] is not None and name.startswith("Custom>"):
            result["class_name"] = name.removeprefix("Custom>")
    elif name in _MODELS and "src" not in str(result["module"]):
        result["module"] = _MODELS[name]
    return result


def _module(name: str) -> str | None:
    """The public module of a class that is known by its name alone."""
    for room in _ROOMS:
        if hasattr(importlib.import_module(f"distflow.keras.{room}"), name):
            return f"keras.{room}"
    return keras_ops.MODULE if keras_ops.knows(name) else None


def _config(name: str, config: dict[str, Any]) -> dict[str, Any]:
    if {"layers", "input_layers", "output_layers"} <= set(config):
        return _functional(config)
    kept = _KEEPS.get(name, frozenset())
    renamed = _RENAMED.get(name.removeprefix("Custom>"), {})
    result = {
        renamed.get(key, key): upgraded(value)
        for key, value in config.items()
        if key not in _DROPPED or key in kept
    }
    if name in ("MeanMetricWrapper", "LossFunctionWrapper") and isinstance(config.get("fn"), str):
        result["fn"] = serialization.serialize_keras_object(
            serialization.find_function(config["fn"])
        )
    if name == "BatchNormalization" and isinstance(config.get("axis"), list):
        (result["axis"],) = config["axis"]
    if result.get("reduction") == "auto":
        result["reduction"] = "sum_over_batch_size"
    if "learning_rate" in result:
        for key in _OPTIMIZER_RESTS:
            result.pop(key, None)
    return result


# -- graphs ------------------------------------------------------------------------------------


def _functional(config: dict[str, Any]) -> dict[str, Any]:
    """A graph whose nodes were lists [layer, call, output, arguments]."""
    # A model inside counted its own making as its first call.
    first = {
        str(layer["name"]): int(_counts_itself(layer)) for layer in config["layers"]
        if isinstance(layer, dict)
    }  # fmt: skip
    layers = []
    for layer in config["layers"]:
        made = upgraded({k: v for k, v in layer.items() if k != "inbound_nodes"})
        made["inbound_nodes"] = [_node(node, first) for node in layer["inbound_nodes"]]
        layers.append(made)
    rest = {k: v for k, v in config.items() if k not in ("layers", "input_layers", "output_layers")}
    return {
        **rest,
        "layers": layers,
        "input_layers": _places(config["input_layers"], first),
        "output_layers": _places(config["output_layers"], first),
    }


def _counts_itself(layer: dict[str, Any]) -> bool:
    inner = layer.get("config")
    if layer.get("class_name") not in _MODELS or not isinstance(inner, dict):
        return False
    nodes = [n for x in inner.get("layers", ()) for n in x.get("inbound_nodes", ())]
    if any(isinstance(node, dict) and "args" in node for node in nodes):
        return False  # already Keras 3's
    layers = inner.get("layers") or [{}]
    return "input_layers" in inner or layers[0].get("class_name") == "InputLayer"


def _node(node: Any, first: dict[str, int]) -> dict[str, Any]:
    if isinstance(node, dict) and set(node) == {"args", "kwargs"}:
        return node
    kwargs: dict[str, Any] = {}
    inputs = _inputs(node, first, kwargs)
    if isinstance(inputs, list) and len(inputs) == 1 and not isinstance(node, dict):
        inputs = inputs[0]
    return {"args": [inputs], "kwargs": kwargs}


def _inputs(node: Any, first: dict[str, int], kwargs: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        return {key: _inputs(value, first, kwargs) for key, value in node.items()}
    if _is_place(node, first):
        if len(node) > 3:
            kwargs.update({k: _argument(v, first) for k, v in (node[3] or {}).items()})
        return _tensor(node, first)
    if isinstance(node, list) and node and node[0] == "_CONSTANT_VALUE":
        return node[2]
    return [_inputs(value, first, kwargs) for value in node]


def _argument(value: Any, first: dict[str, int]) -> Any:
    """An argument of a call, in which tensors are places."""
    if _is_place(value, first):
        return _tensor(value, first)
    if isinstance(value, list):
        return [_argument(v, first) for v in value]
    return upgraded(value)


def _is_place(value: Any, first: dict[str, int]) -> bool:
    return (
        (
            isinstance(value, list | tuple)
            and len(value) in (3, 4)
            and value[0] in first
            and isinstance(value[1], int)
            and isinstance(value[2], int)
        )
        if value and isinstance(value[0] if isinstance(value, list | tuple) else None, str)
        else False
    )


def _tensor(place: Any, first: dict[str, int]) -> dict[str, Any]:
    history = [place[0], place[1] - first[place[0]], place[2]]
    return {"class_name": "__keras_tensor__", "config": {"keras_history": history}}


def _places(places: Any, first: dict[str, int]) -> Any:
    if isinstance(places, dict):
        return {key: _places(value, first) for key, value in places.items()}
    if _is_place(places, first):
        return [places[0], places[1] - first[places[0]], places[2]]
    if len(places) == 1:
        return _places(places[0], first)
    return [_places(value, first) for value in places]

"""Objects to JSON and back, in Keras 3's format.

An object becomes {module, class_name, config, registered_name, [build_config], [compile_config]}
with Keras's public module names ("keras.layers"), so that Keras 3 reads what distflow writes.
Reading makes only classes that distflow has, or that the user registered or hands in: a file
cannot name anything else, and no code comes out of it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from distflow.base import dtypes, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.keras import registry

_ROOT = "distflow.keras"
# Rooms and classes whose public name is not their folder's: the longest prefix counts.
_PUBLIC = {
    f"{_ROOT}.engine.functional": "keras.src.models.functional",
    f"{_ROOT}.engine.op_layer": "distflow.ops",
    f"{_ROOT}.engine.input_layer": "keras.layers",
    f"{_ROOT}.engine.layer": "keras.layers",
    f"{_ROOT}.engine": "keras",
    f"{_ROOT}.dtype_policy": "keras",
    f"{_ROOT}.dtype_policy.QuantizedDTypePolicy": "keras.dtype_policies",
    f"{_ROOT}.dtype_policy_map": "keras.dtype_policies",
    f"{_ROOT}.optimizers.schedules": "keras.optimizers.schedules",
}
# Where names of Keras's modules are looked up here.
_HOMES = {
    "keras.src.models.functional": f"{_ROOT}.engine.functional",
    "keras.src.engine.functional": f"{_ROOT}.engine.functional",
    "distflow.ops": f"{_ROOT}.engine.op_layer",
    "keras.src.models.sequential": f"{_ROOT}.engine.sequential",
    "keras.models": f"{_ROOT}",
    "keras.layers.InputLayer": f"{_ROOT}.engine.input_layer",
    "keras.layers.Layer": f"{_ROOT}.engine.layer",
    "keras.QuantizedDTypePolicy": f"{_ROOT}.dtype_policy",  # as older versions wrote it
}
# The files of Keras that hold operations; all of them are in one table here.
_HOMES |= {
    f"keras.src.ops.{file}": f"{_ROOT}.engine.keras_classes"
    for file in ("numpy", "nn", "math", "core", "linalg", "image", "einops")
}
_FUNCTION_ROOMS = ("activations", "losses", "metrics", "initializers", "regularizers")


def serialize_keras_object(obj: Any) -> Any:
    """Returns a description of an object made of JSON's types.

    Raises:
      TypeError: for something without `get_config`, with the path to it in the message.
    """
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    if isinstance(obj, bytes):
        return {"class_name": "__bytes__", "config": {"value": obj.decode()}}
    if isinstance(obj, dtypes.DType):
        return obj.name
    if isinstance(obj, shapes.TensorShape):
        return list(obj)
    if isinstance(obj, np.ndarray):
        return _array("__numpy__", obj)
    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, Tensor):
        return _tensor(obj)
    if isinstance(obj, slice):
        parts = {"start": obj.start, "stop": obj.stop, "step": obj.step}
        return {"class_name": "__slice__", "config": parts}
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(obj, list | tuple):
        return [serialize_keras_object(x) for x in obj]
    if isinstance(obj, Mapping) and not hasattr(obj, "get_config"):
        return {key: serialize_keras_object(value) for key, value in obj.items()}
    if inspect.isfunction(obj):
        return _function(obj)
    if hasattr(obj, "get_config") and not inspect.isclass(obj):
        return _instance(obj)
    if callable(obj) and not inspect.isclass(obj) and hasattr(obj, "__name__"):
        return _function(obj)
    raise TypeError(
        f"Cannot serialize object {obj!r:.120} of type {type(obj)}. To be serializable, a class "
        "must implement the `get_config()` method."
    )


def _function(function: Any) -> dict[str, Any]:
    if function.__name__ == "<lambda>":
        raise TypeError(
            "serialize_keras_object: a lambda cannot be saved, because saved models hold no code. "
            "Give a named function, decorated with @keras.saving.register_keras_serializable()."
        )
    return {
        "module": "builtins",
        "class_name": "function",
        "config": registry.get_registered_name(function),
        "registered_name": "function",
    }


def _array(kind: str, array: Any) -> dict[str, Any]:
    value = array.astype(np.float32) if array.dtype.kind == "V" else array
    return {
        "class_name": kind,
        "config": {"value": value.tolist(), "dtype": dtypes.of_array(array).name},
    }


def _tensor(tensor: Any) -> dict[str, Any]:
    history = getattr(tensor, "_keras_history", None)
    if history is not None:
        operation, node_index, tensor_index = history
        config = {
            "shape": list(tensor.shape),
            "dtype": tensor.dtype.name,
            "keras_history": [operation.name, node_index, tensor_index],
        }
        return {"class_name": "__keras_tensor__", "config": config}
    if not isinstance(tensor, EagerTensor):
        raise TypeError(f"Cannot serialize {tensor!r}: it has no value.")
    return _array("__tensor__", tensor.array)


def _instance(obj: Any) -> dict[str, Any]:
    described = obj.describe() if hasattr(obj, "describe") else None
    if described is not None:
        return described
    cls = type(obj)
    module = public_module(cls)
    internal = module is None or module.startswith("keras.src")
    name = registry.get_registered_name(cls) if internal else None
    result = {
        "module": module,
        "class_name": cls.__name__,
        "config": _plain(obj.get_config()),
        "registered_name": name,
    }
    for key, method in (("build_config", "get_build_config"),
                        ("compile_config", "get_compile_config")):  # fmt: skip
        config = getattr(obj, method)() if hasattr(obj, method) else None
        if config is not None:
            result[key] = _plain(config)
    return result


def _plain(config: Any) -> Any:
    return {key: serialize_keras_object(value) for key, value in config.items()}


def public_module(cls: type) -> str | None:
    """Returns Keras's name of the module of a class; None for classes of the user."""
    module = cls.__module__
    if registry.is_registered(cls) or not module.startswith("distflow."):
        return None
    if not module.startswith(_ROOT):
        return ".".join(module.split(".")[:2])
    path = f"{module}.{cls.__name__}."
    for prefix in sorted(_PUBLIC, key=len, reverse=True):
        if path.startswith(prefix + "."):
            return _PUBLIC[prefix]
    return "keras." + module[len(_ROOT) + 1 :].split(".")[0]


def deserialize_keras_object(
    config: Any, custom_objects: dict[str, Any] | None = None, safe_mode: bool = True,
    **kwargs: Any,
) -> Any:  # fmt: skip
    """Returns the object that `serialize_keras_object` described.

    Args:
      config: the description; plain values stand for themselves.
      custom_objects: name -> class or function, for names that are not registered.
      safe_mode: accepted for Keras's sake; code is never loaded.

    Raises:
      TypeError: if a class or function is not known.
      ValueError: if the description is not one.
    """
    if custom_objects:
        with registry.custom_object_scope(custom_objects):
            return deserialize_keras_object(config)
    if config is None or isinstance(config, bool | int | float):
        return config
    if isinstance(config, str):
        found = registry.get_registered_object(config)
        return config if found is None else found
    if isinstance(config, list | tuple):
        return [deserialize_keras_object(x) for x in config]
    if not isinstance(config, dict):
        raise TypeError(f"Could not parse config: {config!r}")
    if "class_name" not in config or "config" not in config:
        return {key: deserialize_keras_object(value) for key, value in config.items()}
    return _special(config) if config["class_name"] in _SPECIAL else _object(config)


_SPECIAL: dict[str, Any] = {
    "__bytes__": lambda c: c["value"].encode(),
    "__slice__": lambda c: slice(c["start"], c["stop"], c["step"]),
    "__ellipsis__": lambda c: Ellipsis,
    "__numpy__": lambda c: np.array(c["value"], dtypes.as_dtype(c["dtype"]).numpy),
    "__tensor__": lambda c: convert_to_tensor(
        np.array(c["value"], dtypes.as_dtype(c["dtype"]).numpy)
    ),
    "__tuple__": lambda c: tuple(deserialize_keras_object(c["value"])),
}


def _special(config: dict[str, Any]) -> Any:
    return _SPECIAL[config["class_name"]](config["config"])


def _object(config: dict[str, Any]) -> Any:
    name, module = config["class_name"], config.get("module")
    if name == "__lambda__":
        raise ValueError(
            "deserialize_keras_object: the file holds a lambda, which is code. distflow loads no "
            "code from files. Save the model with a named, registered function instead."
        )
    if name == "function":
        return find_function(config["config"])
    cls = find_class(name, module, config.get("registered_name"))
    if inspect.isfunction(cls):
        return cls
    inner = config["config"]
    if not hasattr(cls, "from_config"):
        raise TypeError(
            f"Unable to reconstruct an instance of '{name}' because the class is missing a "
            "`from_config()` method."
        )
    instance = cls.from_config(inner)
    build = config.get("build_config")
    if build and hasattr(instance, "build_from_config") and not getattr(instance, "built", False):
        instance.build_from_config(build)
    compiled = config.get("compile_config")
    if compiled and hasattr(instance, "compile_from_config"):
        instance.compile_from_config(compiled)
    return instance


def find_class(name: str, module: str | None, registered_name: str | None = None) -> Any:
    """Returns the class of a description.

    Raises:
      TypeError: if it is neither distflow's own nor registered nor handed in.
    """
    for candidate in (registered_name, name, f"Custom>{name}"):
        found = None if candidate is None else registry.get_registered_object(candidate)
        if found is not None:
            return found
    home = _HOMES.get(f"{module}.{name}") or _home(module)
    if home is not None:
        try:
            found = getattr(importlib.import_module(home), name, None)
        except ModuleNotFoundError:
            found = None
        if inspect.isclass(found) or inspect.isfunction(found):
            return found
    raise TypeError(
        f"Could not locate class '{name}' (module {module!r}, registered name "
        f"{registered_name!r}). Make sure custom classes are decorated with "
        "`@keras.saving.register_keras_serializable()`, or handed in: "
        f"load_model(..., custom_objects={{'{name}': {name}}})."
    )


def _home(module: str | None) -> str | None:
    if module is None:
        return None
    if module in _HOMES:
        return _HOMES[module]
    for prefix in ("tf_keras", "tensorflow.keras", "keras"):
        if module == prefix or module.startswith(prefix + "."):
            rest = module[len(prefix) :].replace(".src", "")
            return _ROOT + rest
    return module if module == "distflow" or module.startswith("distflow.") else None


def find_function(name: str) -> Any:
    """Returns a function by its (registered) name.

    Raises:
      TypeError: if it is neither Keras's own nor registered nor handed in.
    """
    found = registry.get_registered_object(name)
    if found is not None:
        return found
    for room in _FUNCTION_ROOMS:
        found = getattr(importlib.import_module(f"{_ROOT}.{room}"), name, None)
        if inspect.isfunction(found):
            return found
    raise TypeError(
        f"Could not locate function '{name}'. Make sure it is decorated with "
        "`@keras.saving.register_keras_serializable()`, or handed in: "
        f"load_model(..., custom_objects={{'{name}': {name}}})."
    )

"""OpLayer: one primitive applied to symbolic tensors, so that `x * 2` is part of a model.

The closed set has names and plain attributes, so these nodes are saved and loaded like layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, nest
from distflow.core.primitive import REGISTRY
from distflow.keras import serialization
from distflow.keras.engine import keras_ops, naming
from distflow.keras.engine.keras_tensor import HISTORY, KerasTensor, SpecTensor, infer
from distflow.keras.engine.operation import Operation


class OpLayer(Operation):
    """Applies a primitive with fixed attributes.

    Args:
      primitive: its name in the closed set.
      attributes: its keyword arguments.
      name: unique name; default that of the primitive.
    """

    def __init__(self, primitive: str, attributes: dict[str, Any], name: str | None = None):
        if primitive not in REGISTRY:
            raise errors.NotFoundError(f"OpLayer: there is no primitive {primitive!r}.")
        super().__init__(name=name or naming.auto_name(f"op_{primitive.strip('_')}"))
        self.primitive, self.attributes = primitive, attributes

    def __call__(self, *inputs: Any) -> Any:
        """Returns the primitive's outputs: values, or KerasTensors for symbolic inputs."""
        if not any(isinstance(x, KerasTensor) for x in inputs):
            return REGISTRY[self.primitive](*inputs, **self.attributes)
        found = infer(REGISTRY[self.primitive], inputs, self.attributes)
        if isinstance(found, list):
            return self._note_call(inputs, {}, tuple(SpecTensor(*spec) for spec in found))
        return self._note_call(inputs, {}, SpecTensor(*found))

    def get_config(self) -> dict[str, Any]:
        """Returns name, primitive and attributes.

        Raises:
          TypeError: if an attribute is a function, as of `py_function`.
        """
        attributes = {k: self._encode(k, v) for k, v in self.attributes.items()}
        return {"name": self.name, "primitive": self.primitive, "attributes": attributes}

    def describe(self) -> dict[str, Any] | None:
        """Returns the description of Keras 3's operation where it has this one; else None."""
        kind = keras_ops.WRITTEN.get(self.primitive)
        if kind is None:
            return None
        return {
            "module": keras_ops.MODULE,
            "class_name": kind,
            "config": {"name": self.name},
            "registered_name": kind,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OpLayer:
        """Returns the operation of a configuration."""
        attributes = {k: _decode(v) for k, v in config["attributes"].items()}
        return cls(config["primitive"], attributes, config["name"])

    def _encode(self, key: str, value: Any) -> Any:
        if isinstance(value, dtypes.DType):
            return {"class_name": "__dtype__", "config": {"value": value.name}}
        if isinstance(value, list | tuple):
            return [self._encode(key, v) for v in value]
        if isinstance(value, dict):
            return {k: self._encode(k, v) for k, v in value.items()}
        if value is None or isinstance(value, bool | int | float | str | np.ndarray | np.generic):
            return serialization.serialize_keras_object(value)
        raise TypeError(
            f"The operation '{self.name}' ({self.primitive}) of a functional model cannot be "
            f"saved: its attribute {key!r} is {value!r:.80}. Put it into a layer of your own."
        )


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(v) for v in value)
    if isinstance(value, dict):
        if value.get("class_name") == "__dtype__":
            return dtypes.as_dtype(value["config"]["value"])
        if "class_name" in value:
            return serialization.deserialize_keras_object(value)
        return {k: _decode(v) for k, v in value.items()}
    return value


def _apply(primitive: Any, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    if primitive.name not in REGISTRY:
        raise errors.UnimplementedError(
            f"{primitive.name} cannot be applied to a KerasTensor. Put it into a layer of your own."
        )
    if not any(isinstance(x, KerasTensor) for x in nest.flatten(inputs)):
        return REGISTRY[primitive.name](*inputs, **attributes)
    return OpLayer(primitive.name, attributes)(*inputs)


HISTORY.apply = _apply

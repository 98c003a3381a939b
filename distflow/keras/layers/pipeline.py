"""Pipeline: layers one after another, as one layer; and layers as configs."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import serialization
from distflow.keras.engine.layer import Layer


class Pipeline(Layer):
    """Applies layers in order; what they prepare may be a dict of images and labels."""

    _allow_non_tensor_positional_args = True

    def __init__(self, layers: Any, name: str | None = None):
        super().__init__(name=name)
        if not isinstance(layers, list | tuple) or not all(isinstance(x, Layer) for x in layers):
            raise errors.invalid("Pipeline", "`layers` must be a list of layers", repr(layers))
        self._pipeline_layers = list(layers)
        self._convert_input_args = False

    @property
    def layers(self) -> list[Any]:
        """The layers."""
        return list(self._pipeline_layers)

    def call(self, inputs: Any, training: Any = True, mask: Any = None) -> Any:
        """Returns the inputs after all layers."""
        x = inputs
        for layer in self._pipeline_layers:
            takes = layer._call_signature.parameters
            x = layer(x, training=training) if "training" in takes else layer(x)
        return x

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what `call` gives, dtype included."""
        return self._traced_specs(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        found = [serialization.serialize_keras_object(x) for x in self._pipeline_layers]
        return {"layers": found, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns a pipeline made from `get_config()`."""
        found = [
            serialization.deserialize_keras_object(x, custom_objects) for x in config["layers"]
        ]
        return cls(found, name=config.get("name"))


def serialize(layer: Any) -> dict[str, Any]:
    """Returns a layer's class and config as JSON's types."""
    return serialization.serialize_keras_object(layer)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """Returns the layer of a config that `serialize` gave.

    Raises:
      InvalidArgumentError: if it is none of a layer.
    """
    layer = serialization.deserialize_keras_object(config, custom_objects)
    if not isinstance(layer, Layer):
        raise errors.invalid("deserialize", "the config of a layer", f"{config!r:.80}")
    return layer

"""Wrapper: a layer that holds another one."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import serialization
from distflow.keras.engine.layer import Layer


class Wrapper(Layer):
    """A layer around `layer`, for subclasses."""

    def __init__(self, layer: Any, **kwargs: Any):
        if not isinstance(layer, Layer):
            raise errors.invalid(type(self).__name__, "`layer` must be a Keras layer", repr(layer))
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        """Builds the layer inside."""
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        layer = serialization.serialize_keras_object(self.layer)
        return super().get_config() | {"layer": layer}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns a layer made from `get_config()`."""
        config = dict(config)
        config["layer"] = serialization.deserialize_keras_object(config["layer"], custom_objects)
        return super().from_config(config)

"""What `quantize(config=...)` takes: which quantizers make integers of weights and of inputs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from distflow.base import errors
from distflow.keras import serialization
from distflow.keras.quantizers.rounding import AbsMaxQuantizer


class QuantizationConfig:
    """The quantizers of a layer; subclasses define `mode`.

    Args:
      weight_quantizer: of the weights; None for the layer's own.
      activation_quantizer: of the inputs; None leaves them as they are.
    """

    def __init__(self, weight_quantizer: Any = None, activation_quantizer: Any = None):
        self.weight_quantizer = weight_quantizer
        self.activation_quantizer = activation_quantizer

    @property
    def mode(self) -> str:
        """Name of the kind of numbers."""
        raise NotImplementedError(
            "Subclasses must implement this property. Do not instantiate QuantizationConfig "
            "directly."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal one."""
        return {
            name: serialization.serialize_keras_object(getattr(self, name))
            for name in ("weight_quantizer", "activation_quantizer")
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> QuantizationConfig:
        """Returns one made from `get_config()`."""
        return cls(**{k: serialization.deserialize_keras_object(v) for k, v in config.items()})


class Int8QuantizationConfig(QuantizationConfig):
    """Weights, and by default inputs, as integers of eight bits.

    Args:
      weight_quantizer: with output_dtype "int8".
      activation_quantizer: "default" is an AbsMaxQuantizer along the axes that are summed.
    """

    def __init__(self, weight_quantizer: Any = None, activation_quantizer: Any = "default"):
        default = isinstance(activation_quantizer, str) and activation_quantizer == "default"
        super().__init__(weight_quantizer, AbsMaxQuantizer() if default else activation_quantizer)
        if weight_quantizer is not None and weight_quantizer.output_dtype != "int8":
            raise ValueError(
                "Int8QuantizationConfig requires a weight_quantizer with output_dtype='int8'. "
                f"Received: output_dtype={weight_quantizer.output_dtype}"
            )

    @property
    def mode(self) -> str:
        """ "int8"."""
        return "int8"


MODES = ("int8", "float8", "int4", "gptq", "awq")


def resolve(where: str, mode: Any, config: Any) -> QuantizationConfig:
    """Returns the configuration that the arguments of `quantize` mean.

    Raises:
      ValueError: for unknown modes, other objects, or a mode that contradicts the config.
      UnimplementedError: for a mode of Keras that is not there.
    """
    if isinstance(config, str):
        mode, config = config, None
    if config is not None and not isinstance(config, QuantizationConfig):
        raise ValueError(
            "Argument `config` must be an instance of `QuantizationConfig`. Received: "
            f"config={config} (of type {type(config)})"
        )
    if mode is None and config is None:
        raise ValueError("You must provide either `mode` or `config` to `quantize`.")
    if mode is not None and mode not in MODES:
        raise ValueError(
            f"Invalid quantization mode. Expected one of {MODES}. Received: mode={mode}"
        )
    if config is not None and mode is not None and config.mode != mode:
        raise ValueError(f"Contradictory arguments: mode='{mode}' but config.mode='{config.mode}'")
    found = config.mode if config is not None else mode
    if found != "int8":
        raise errors.UnimplementedError(
            f'{where}: expected mode="int8"; received {found!r}.\nOther modes are not there.'
        )
    return Int8QuantizationConfig() if config is None else config


def filtered(filters: Any) -> Callable[[Any], bool]:
    """Returns which layers a filter of `Model.quantize` means.

    Args:
      filters: None for all, regular expressions to find in names, or a function of a layer.
    """
    if filters is None:
        return lambda layer: True
    if callable(filters):
        return lambda layer: bool(filters(layer))
    patterns = [filters] if isinstance(filters, str) else filters
    if not isinstance(patterns, list | tuple):
        raise ValueError(
            "The `filters` argument must be a regex string, a list of regex strings, or a "
            f"callable. Received: {type(filters)}"
        )
    return lambda layer: any(re.search(pattern, layer.name) for pattern in patterns)

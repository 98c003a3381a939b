"""Public names of `keras.quantizers`: from floats to small integers.

`Model.quantize("int8")` makes the weights of dense layers and of embeddings integers.
"""

from __future__ import annotations

from typing import Any

from distflow.keras import by_name, serialization
from distflow.keras.not_there import lookup
from distflow.keras.quantizers.configs import Int8QuantizationConfig, QuantizationConfig
from distflow.keras.quantizers.nibbles import pack_int4, unpack_int4
from distflow.keras.quantizers.rounding import (
    AbsMaxQuantizer,
    Quantizer,
    abs_max_quantize,
    abs_max_quantize_grouped_with_zero_point,
    compute_float8_amax_history,
    compute_float8_scale,
    fake_quant_with_min_max_vars,
    quantize_and_dequantize,
)

__all__ = [
    "AbsMaxQuantizer", "Int8QuantizationConfig", "QuantizationConfig", "Quantizer",
    "abs_max_quantize", "abs_max_quantize_grouped_with_zero_point", "compute_float8_amax_history",
    "compute_float8_scale", "deserialize", "fake_quant_with_min_max_vars", "get", "pack_int4",
    "quantize_and_dequantize", "serialize", "unpack_int4",
]  # fmt: skip

NAMES: dict[str, Any] = {
    "AbsMaxQuantizer": AbsMaxQuantizer, "abs_max_quantizer": AbsMaxQuantizer,
    "Quantizer": Quantizer, "quantizer": Quantizer,
    "Int8QuantizationConfig": Int8QuantizationConfig,
}  # fmt: skip
deserialize = by_name.deserializer("quantizer", NAMES)


def get(identifier: Any) -> Any:
    """Returns the quantizer that a name, class, config or object stands for."""
    return by_name.resolve("quantizer", identifier, NAMES)


def serialize(initializer: Any) -> Any:
    """Returns the config from which `deserialize` makes an equal quantizer."""
    return serialization.serialize_keras_object(initializer)


__getattr__ = lookup("quantizers")

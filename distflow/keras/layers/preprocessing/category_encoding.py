"""CategoryEncoding: one-hot, multi-hot or counted integer categories."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras.layers.preprocessing.data_layer import (
    DataLayer,
    as_tensor,
    check_mode,
    encode,
    encoded_shape,
    known_minimum,
)
from distflow.ops import math


class CategoryEncoding(DataLayer):
    """Encodes integers in [0, num_tokens); larger ones count for nothing.

    Args:
      num_tokens: number of categories.
      output_mode: "one_hot" for each integer, or for the last dimension together "multi_hot" or
        "count" (times `count_weights` of the call).
    """

    def __init__(self, num_tokens: int | None = None, output_mode: str = "multi_hot",
                 sparse: bool = False, **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        if output_mode == "binary":
            output_mode = "multi_hot"
        check_mode("CategoryEncoding", output_mode, ("count", "one_hot", "multi_hot"), sparse)
        if num_tokens is None or num_tokens < 1:
            raise errors.invalid(
                "CategoryEncoding", "num_tokens must be set to a number >= 1", f"{num_tokens}",
                "Where it is not known beforehand, use IntegerLookup.",
            )  # fmt: skip
        self.num_tokens = num_tokens
        self.output_mode = output_mode
        self.sparse = sparse

    def call(self, inputs: Any, count_weights: Any = None) -> Any:
        """Returns the encoding in the compute dtype."""
        if count_weights is not None and self.output_mode != "count":
            raise errors.invalid(
                "CategoryEncoding", "`count_weights` is not used when `output_mode` is not "
                "'count'", f"output_mode={self.output_mode}",
            )  # fmt: skip
        ids = inputs if inputs.dtype.is_integer else math.cast(inputs, "int32")
        lowest = known_minimum(ids)
        if lowest is not None and lowest < 0:
            raise errors.invalid(
                "CategoryEncoding", f"Input values must be in the range 0 <= values < num_tokens "
                f"with num_tokens={self.num_tokens}", str(lowest),
            )  # fmt: skip
        weights = None if count_weights is None else as_tensor(count_weights)
        return encode(ids, self.output_mode, self.num_tokens, self.compute_dtype, weights)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the encoding."""
        return encoded_shape(input_shape, self.output_mode, self.num_tokens)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "num_tokens": self.num_tokens, "output_mode": self.output_mode,
        }  # fmt: skip

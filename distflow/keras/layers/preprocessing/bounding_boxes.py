"""MaxNumBoundingBoxes: every image gets the same number of boxes."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras.layers.arguments import positive
from distflow.keras.layers.preprocessing.data_layer import DataLayer, as_tensor
from distflow.ops import array

_NAME = "MaxNumBoundingBoxes"


class MaxNumBoundingBoxes(DataLayer):
    """Cuts or fills the boxes of each image, in a dict with "bounding_boxes".

    Args:
      max_number: how many boxes each image has afterwards.
      fill_value: of boxes and labels that are added.

    `data["bounding_boxes"]` is {"boxes": [..., boxes, 4], "labels": [..., boxes]}.
    """

    def __init__(self, max_number: int, fill_value: float = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.max_number = positive(_NAME, "max_number", max_number)
        self.fill_value = fill_value

    def _as_tensors(self, inputs: Any) -> Any:
        if isinstance(inputs, dict):
            return {key: self._as_tensors(value) for key, value in inputs.items()}
        return as_tensor(inputs)

    def call(self, data: Any, training: Any = True) -> Any:
        """Returns the data with as many boxes and labels; images alone stay as they are."""
        if not isinstance(data, dict):
            return data
        found = data.get("bounding_boxes")
        if not isinstance(found, dict) or not {"boxes", "labels"} <= set(found):
            raise errors.invalid(_NAME, "a dict with \"bounding_boxes\": {\"boxes\", \"labels\"}",
                                 f"the keys {sorted(data)}")  # fmt: skip
        boxes, labels = self._sized(found["boxes"], -2), self._sized(found["labels"], -1)
        return {**data, "bounding_boxes": {**found, "boxes": boxes, "labels": labels}}

    def _sized(self, x: Any, axis: int) -> Any:
        axis %= x.ndim
        ends = [[0, 0] for _ in range(x.ndim)]
        ends[axis][1] = self.max_number
        filled = array.pad(x, ends, constant_values=self.fill_value)
        return filled[(slice(None),) * axis + (slice(0, self.max_number),)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shapes with `max_number` boxes."""
        if not isinstance(input_shape, dict) or "bounding_boxes" not in input_shape:
            return input_shape
        found = dict(input_shape["bounding_boxes"])
        found["boxes"] = (*found["boxes"][:-2], self.max_number, found["boxes"][-1])
        found["labels"] = (*found["labels"][:-1], self.max_number)
        return {**input_shape, "bounding_boxes": found}

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "max_number": self.max_number, "fill_value": self.fill_value,
        }  # fmt: skip

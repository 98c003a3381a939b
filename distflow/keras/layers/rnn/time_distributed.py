"""TimeDistributed: a layer applied to each step of sequences."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.function.autograph import convert_user_code
from distflow.function.map_fn import run_rows
from distflow.keras.engine.variable import autocast_scope
from distflow.keras.layers import (
    activation,
    conv,
    conv_separable,
    conv_transpose,
    core,
    normalization,
    pooling,
    reshaping,
)
from distflow.keras.layers.rnn.time_loop import time_major
from distflow.keras.layers.wrapper import Wrapper
from distflow.ops import array, dims

# Layers of these files treat each example by itself, so that all steps can be one batch; not so
# those that may be told to work along the batch.
_BY_EXAMPLE = {
    cls
    for room in (
        activation, conv, conv_separable, conv_transpose, core, normalization, pooling, reshaping,
    )
    for cls in vars(room).values()
    if isinstance(cls, type) and cls.__module__ == room.__name__
} - {activation.Softmax, core.Lambda, normalization.UnitNormalization}  # fmt: skip


class TimeDistributed(Wrapper):
    """A layer applied to each step of inputs [batch, time, ...], with the same weights."""

    def __init__(self, layer: Any, **kwargs: Any):
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        """Builds the layer for one step."""
        super().build(_step_shape(input_shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of a step's output with the time behind the batch."""
        inner = self.layer.compute_output_shape(_step_shape(input_shape))
        return (inner[0], input_shape[1], *inner[1:])

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Returns the outputs of all steps [batch, time, ...]."""
        if mask is not None:
            _check_mask(mask, inputs)
        takes = self.layer._call_signature.parameters
        masked = mask is not None and "mask" in takes
        arguments = {"training": training} if "training" in takes else {}
        with autocast_scope(self.layer.compute_dtype if self.layer.autocast else None):
            if type(self.layer) in _BY_EXAMPLE and not masked:
                return self._at_once(inputs, arguments)
            return self._step_by_step(inputs, mask if masked else None, arguments)

    def _at_once(self, inputs: Any, arguments: dict[str, Any]) -> Any:
        sizes = [dims.size(inputs, i) for i in range(inputs.ndim)]
        outputs = self.layer.call(array.reshape(inputs, [-1, *sizes[2:]]), **arguments)
        rest = [dims.size(outputs, i) for i in range(1, outputs.ndim)]
        return array.reshape(outputs, [sizes[0], sizes[1], *rest])

    def _step_by_step(self, inputs: Any, mask: Any, arguments: dict[str, Any]) -> Any:
        call = convert_user_code(self.layer.call)
        rows = (time_major(inputs),) if mask is None else (time_major(inputs), time_major(mask))

        def step(_: Any, row: Any) -> Any:
            given = arguments if mask is None else {**arguments, "mask": row[1]}
            return (), call(row[0], **given)

        # Steps whose number is known are written one after another, so that they may have effects.
        _, outputs = run_rows(step, (), rows, unroll=inputs.shape[1] is not None)
        return time_major(outputs)


def _step_shape(input_shape: Any) -> tuple[Any, ...]:
    if not isinstance(input_shape, tuple | list) or len(input_shape) < 3:
        raise errors.invalid(
            "TimeDistributed", "`TimeDistributed` Layer should be passed an `input_shape` with at "
            "least 3 dimensions", f"{input_shape}",
        )  # fmt: skip
    return (input_shape[0], *input_shape[2:])


def _check_mask(mask: Any, inputs: Any) -> None:
    pairs = zip(tuple(mask.shape), tuple(inputs.shape)[:2])
    if mask.ndim < 2 or any(None not in (a, b) and a != b for a, b in list(pairs)[:2]):
        raise errors.invalid(
            "TimeDistributed", "the mask must be [batch, time, ...], of the inputs "
            f"{tuple(inputs.shape)}", f"mask of shape {tuple(mask.shape)}",
        )  # fmt: skip

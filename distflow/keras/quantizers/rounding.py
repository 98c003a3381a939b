"""From floats to small integers and back: the largest size of a row becomes the largest integer.

Source: Jacob et al. 2018, Quantization and training of neural networks for efficient
integer-arithmetic-only inference, CVPR (arXiv:1712.05877).
"""

from __future__ import annotations

import math as maths
from typing import Any

import ml_dtypes
import numpy as np

from distflow.autodiff import custom_gradient
from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import settings
from distflow.ops import array, math, reduce
from distflow.ops.indexing import tensor_scatter_nd_update
from distflow.ops.prims.elementwise import select
from distflow.ops.python_calls import numpy_function
from distflow.ops.repeat import roll


class Quantizer:
    """Turns floats into integers and their scale; subclasses define `__call__` and `get_config`.

    Args:
      output_dtype: name of the integers' dtype.
    """

    def __init__(self, output_dtype: str = "int8"):
        self.output_dtype = output_dtype

    def __call__(self, x: Any) -> Any:
        """Returns x as it is."""
        return x

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Quantizer:
        """Returns a quantizer made from `get_config()`."""
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal quantizer."""
        raise NotImplementedError(f"{self} does not implement get_config()")


class AbsMaxQuantizer(Quantizer):
    """Rounds x * scale, where scale = (largest integer) / (largest |x| along some axes).

    Args:
      axis: int or several; default that of the call, else -1.
      value_range: the smallest and the largest integer.
      epsilon: added to the largest |x|.
    """

    def __init__(self, axis: Any = None, value_range: Any = (-127, 127),
                 epsilon: float | None = None, output_dtype: str = "int8"):  # fmt: skip
        super().__init__(output_dtype)
        self.axis = None if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.value_range = tuple(value_range)
        self.epsilon = settings.epsilon() if epsilon is None else epsilon
        if output_dtype == "int8" and not -128 <= value_range[0] <= value_range[1] <= 127:
            raise ValueError(
                "Quantizer with output_dtype='int8' requires value_range to be within the interval "
                f"[-128, 127]. Received: value_range={value_range}"
            )

    def __call__(self, x: Any, axis: Any = None, to_numpy: bool = False) -> Any:
        """Returns (integers, scale), the scale with ones along the axes."""
        axis = self.axis if axis is None else axis
        return abs_max_quantize(x, -1 if axis is None else axis, self.value_range,
                                self.output_dtype, self.epsilon, to_numpy)  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal quantizer."""
        config: dict[str, Any] = {"value_range": self.value_range, "epsilon": self.epsilon,
                                  "output_dtype": self.output_dtype}  # fmt: skip
        return config if self.axis is None else config | {"axis": self.axis}


def abs_max_quantize(
    inputs: Any, axis: Any, value_range: Any = (-127, 127), dtype: str = "int8",
    epsilon: float | None = None, to_numpy: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Returns (integers, scale): x is about integers / scale.

    Args:
      inputs: floats.
      axis: int or several, along which one scale holds; it keeps them with size 1.
      to_numpy: compute on the host; the result is the same.
    """
    x = convert_to_tensor(inputs)
    low, high = value_range
    tiny = settings.epsilon() if epsilon is None else epsilon
    if to_numpy:
        # An array of a finished weight: no operation of a trace.
        x = convert_to_tensor(np.asarray(x.numpy()))
    axes = list(axis) if isinstance(axis, list | tuple) else axis
    largest = reduce.reduce_max(math.abs(x), axes, keepdims=True)
    scale = math.cast(high, x.dtype) / (largest + tiny)
    rounded = math.round(x * scale)
    return math.cast(math.clip_by_value(rounded, low, high), dtype), scale


def abs_max_quantize_grouped_with_zero_point(
    inputs: Any, block_size: int, value_range: Any = (-8, 7), dtype: str = "int8",
    epsilon: float | None = None, to_numpy: bool = False,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Returns (integers [rows, columns], scale, zero point [groups, columns]).

    Each `block_size` rows have one scale and one integer that stands for 0:
    x is about (integers - zero point) * scale. Missing rows of the last group count as zeros.

    Args:
      inputs: floats [rows, columns].
    """
    x = np.asarray(convert_to_tensor(inputs).numpy())
    low, high = value_range
    tiny = settings.epsilon() if epsilon is None else epsilon
    if x.ndim != 2:
        raise errors.invalid("abs_max_quantize_grouped_with_zero_point", "a matrix", str(x.shape))
    rows, columns = x.shape
    groups = maths.ceil(rows / block_size)
    filled = np.zeros((groups * block_size, columns), x.dtype)
    filled[:rows] = x
    blocks = filled.reshape(groups, block_size, columns)
    least, most = blocks.min(1, keepdims=True), blocks.max(1, keepdims=True)
    scale = (most - least + tiny) / (high - low)
    zero = np.clip(np.round(-least / scale) + low, low, high)
    values = np.clip(np.round(blocks / scale) + zero, low, high).astype(dtype)
    return (
        convert_to_tensor(values.reshape(-1, columns)[:rows]),
        convert_to_tensor(scale[:, 0].astype(x.dtype)),
        convert_to_tensor(zero[:, 0].astype(np.int8)),
    )


def fake_quant_with_min_max_vars(
    inputs: Any, min_vals: Any, max_vals: Any, num_bits: int = 8, narrow_range: bool = False,
    axis: int | None = None,
) -> Any:  # fmt: skip
    """Returns floats rounded to the values that integers of `num_bits` bits can stand for.

    Args:
      min_vals, max_vals: the range, a scalar or one number for each entry of `axis`; it is moved
        a little, so that 0 is one of the values.
      narrow_range: whether integers begin at 1 instead of 0.

    Gradients flow to the inputs within the range, and to its ends for those beyond.
    """
    x, low, high = (
        convert_to_tensor(inputs),
        convert_to_tensor(min_vals),
        convert_to_tensor(max_vals),
    )
    least, most = (1 if narrow_range else 0), (1 << num_bits) - 1
    if axis is not None:
        wide = [1] * x.ndim
        wide[axis] = -1

    def spread(value: Any) -> Any:
        value = math.cast(value, "float32")
        return array.reshape(value, []) if axis is None else array.reshape(value, wide)

    @custom_gradient
    def run(x: Any, low: Any, high: Any) -> Any:
        start, end = spread(low), spread(high)
        scale = (end - start) / (most - least)
        zero = math.round(math.clip_by_value(least - start / scale, least, most))
        start, end = (least - zero) * scale, (most - zero) * scale
        wide_x = math.cast(x, "float32")
        inside = math.clip_by_value(wide_x, start, end) - start
        result = math.floor(inside / scale - math.floor(-start / scale + 0.5) + 0.5) * scale

        def gradient(g: Any) -> Any:
            below, above = wide_x < start, wide_x > end
            kept = select(math.logical_or(below, above), g * 0, g)
            to_low, to_high = select(below, g, g * 0), select(above, g, g * 0)
            over = None if axis is None else [i for i in range(x.ndim) if i != axis % x.ndim]
            ends = (array.reshape(reduce.reduce_sum(p, over), low.shape) for p in (to_low, to_high))
            return kept, *(math.cast(end, low.dtype) for end in ends)

        return math.cast(result, x.dtype), gradient

    return run(x, low, high)


# -- float8 ----------------------------------------------------------------------------------------


def compute_float8_scale(amax: Any, scale: Any, dtype_max: Any, margin: int = 0) -> Any:
    """Returns the scale with which values up to `amax` fill a float8 dtype; else the old one."""
    largest, old = convert_to_tensor(amax), convert_to_tensor(scale)
    inverse = 1.0 / old
    found = math.cast(dtype_max, largest.dtype) / largest / 2.0**margin
    found = select(largest > 0.0, found, inverse)
    found = select(math.is_finite(largest), found, inverse)
    return 1.0 / found


def compute_float8_amax_history(x: Any, amax_history: Any) -> Any:
    """Returns the history [steps] of the largest |x| moved by one, with today's at its start."""
    history = convert_to_tensor(amax_history)
    now = math.cast(reduce.reduce_max(math.abs(convert_to_tensor(x))), history.dtype)
    return tensor_scatter_nd_update(roll(history, -1, 0), [[0]], array.reshape(now, [1]))


def quantize_and_dequantize(inputs: Any, scale: Any, quantized_dtype: Any,
                            compute_dtype: Any) -> Any:  # fmt: skip
    """Returns x rounded to what x / scale is in a float8 dtype; gradients flow within its range.

    Args:
      quantized_dtype: "float8_e4m3fn", "float8_e5m2" or another name of ml_dtypes.
    """
    kind = np.dtype(getattr(ml_dtypes, str(quantized_dtype)))
    most = float(ml_dtypes.finfo(kind).max)
    by = math.cast(scale, compute_dtype)
    x = math.clip_by_value(convert_to_tensor(inputs) / by, -most, most)
    wide = dtypes.as_dtype(compute_dtype)
    (rounded,) = numpy_function(
        lambda values: [np.asarray(values, np.float32).astype(kind).astype(wide.numpy)], [x], [wide]
    )
    return (x + math.stop_gradient(rounded - x)) * by

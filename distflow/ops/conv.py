"""Convolutions of one to three dimensions: padding, layout and groups for the one primitive.

Filters are [*window, in channels / groups, out channels]; the input's channels decide the number
of groups. Channels-first layouts are transposed on the way in and out.
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors, shapes
from distflow.core import convert
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops import dims
from distflow.ops.prims import contraction, movement
from distflow.ops.prims import elementwise as p
from distflow.ops.shaping import ensure_shape

_FORMATS = {
    "NWC": (1, False), "NCW": (1, True), "NHWC": (2, False), "NCHW": (2, True),
    "NDHWC": (3, False), "NCDHW": (3, True),
}  # fmt: skip
_DEFAULT = {1: "NWC", 2: "NHWC", 3: "NDHWC"}


def channels_first(where: str, data_format: Any, n: int) -> bool:
    """Whether a data format puts channels before the n spatial dimensions."""
    name = _DEFAULT[n] if data_format is None else data_format
    if _FORMATS.get(name, (0, False))[0] != n:
        wanted = [k for k, (count, _) in _FORMATS.items() if count == n]
        raise errors.invalid(where, f"data_format must be one of {wanted}", repr(data_format))
    return _FORMATS[name][1]


def spatial(where: str, name: str, value: Any, n: int, first: bool) -> tuple[int, ...]:
    """Returns strides, dilations or a window as n ints, from 1, n or n + 2 of them."""
    if value is None:
        value = 1
    given = [int(v) for v in (value if isinstance(value, list | tuple) else [value])]
    if len(given) == 1:
        given = given * n
    if len(given) == n + 2:
        outer = (given[0], given[1] if first else given[-1])
        if outer != (1, 1):
            raise errors.invalid(
                where, f"{name} of the batch and channel dimensions must be 1", str(value)
            )
        given = given[2:] if first else given[1:-1]
    if len(given) != n or min(given) < 1:
        raise errors.invalid(where, f"{name} must be 1, {n} or {n + 2} ints >= 1", str(value))
    return tuple(given)


def padding_pairs(where: str, padding: Any, n: int, first: bool) -> Any:
    """Returns "SAME", "VALID" or n pairs (low, high)."""
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise errors.invalid(where, "padding must be SAME, VALID or pairs", repr(padding))
        return padding.upper()
    rows = [tuple(int(v) for v in row) for row in padding]
    if len(rows) == n + 2:
        rows = rows[2:] if first else rows[1:-1]
    if len(rows) != n or any(len(row) != 2 for row in rows):
        raise errors.invalid(
            where, f"explicit padding must be {n + 2} pairs [low, high]", str(padding)
        )
    return tuple(rows)


def to_last(x: Any, first: bool) -> Any:
    """Returns x with its channels moved to the end, if they are first."""
    return movement.transpose(x, perm=(0, *range(2, x.ndim), 1)) if first else x


def to_first(x: Any, first: bool) -> Any:
    """Undoes `to_last`."""
    return movement.transpose(x, perm=(0, x.ndim - 1, *range(1, x.ndim - 1))) if first else x


def _conv(
    where: str, x: Any, w: Any, n: int, strides: Any, padding: Any, data_format: Any,
    dilations: Any,
) -> Any:  # fmt: skip
    x, w = convert.match(where, (x, w), None)
    first = channels_first(where, data_format, n)
    extra = x.ndim - (n + 2)
    if extra < 0 or w.ndim != n + 2:
        raise errors.invalid(
            where, f"input and filter must have rank {n + 2}",
            f"input {shapes.text(x.shape)}, filter {shapes.text(w.shape)}",
        )  # fmt: skip
    lead = dims.of(x)[: extra + 1]
    if extra:
        x = dims.reshape(x, [dims.count(x, range(extra + 1)), *dims.of(x)[extra + 1 :]])
    x = to_last(x, first)
    y = contraction.conv(
        x,
        w,
        strides=spatial(where, "strides", strides, n, first),
        padding=padding_pairs(where, padding, n, first),
        lhs_dilation=(1,) * n,
        rhs_dilation=spatial(where, "dilations", dilations, n, first),
        groups=_groups(where, x, w),
    )
    y = to_first(y, first)
    return dims.reshape(y, [*lead, *dims.of(y)[1:]]) if extra else y


def _groups(where: str, x: Any, w: Any) -> int:
    channels, depth = x.shape[-1], w.shape[-2]
    if channels is None or depth is None:
        return 1
    if depth == 0 or channels % depth or w.shape[-1] % (channels // depth):
        raise errors.invalid(
            where, f"the input's channels must be a multiple of the filter's depth {depth}",
            f"input {shapes.text(x.shape)}, filter {shapes.text(w.shape)}",
        )  # fmt: skip
    return channels // depth


def convolution(
    input: Any, filters: Any, strides: Any = None, padding: Any = "VALID",
    data_format: Any = None, dilations: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the convolution over as many spatial dimensions as the filter has."""
    w = convert_to_tensor(filters)
    if w.ndim - 2 not in _DEFAULT:
        raise errors.invalid("convolution", "filters must have rank 3, 4 or 5", str(w.ndim))
    n = w.ndim - 2
    return _conv("convolution", input, w, n, strides, padding, data_format, dilations)


def conv1d(
    input: Any, filters: Any, stride: Any, padding: Any, data_format: Any = "NWC",
    dilations: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the 1-D convolution of [batch, width, in] with [width, in, out]."""
    return _conv("conv1d", input, filters, 1, stride, padding, data_format, dilations)


def conv2d(
    input: Any, filters: Any, strides: Any, padding: Any, data_format: Any = "NHWC",
    dilations: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the 2-D convolution (cross-correlation, as usual in learning).

    Args:
      input: [batch, height, width, in], or [batch, in, height, width] for NCHW.
      filters: [height, width, in / groups, out].
      strides, dilations: an int, or 1, 2 or 4 of them.
      padding: "SAME", "VALID", or [[0, 0], [top, bottom], [left, right], [0, 0]].

    Returns:
      Tensor [batch, new height, new width, out].
    """
    return _conv("conv2d", input, filters, 2, strides, padding, data_format, dilations)


def conv3d(
    input: Any, filters: Any, strides: Any, padding: Any, data_format: Any = "NDHWC",
    dilations: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the 3-D convolution of [batch, depth, height, width, in]."""
    return _conv("conv3d", input, filters, 3, strides, padding, data_format, dilations)


def depthwise_conv2d(
    input: Any, filter: Any, strides: Any, padding: Any, data_format: Any = None,
    dilations: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns each input channel convolved with its own filters.

    Args:
      input: [batch, height, width, in].
      filter: [height, width, in, multiplier]; channel k gives outputs k * multiplier + q.
      strides: 1, 2 or 4 ints.
    """
    w = convert_to_tensor(filter)
    if w.ndim != 4:
        raise errors.invalid("depthwise_conv2d", "filter must have rank 4", shapes.text(w.shape))
    height, width, depth, multiplier = w.shape
    x = convert_to_tensor(input, dtype_hint=w.dtype)
    first = channels_first("depthwise_conv2d", data_format, 2)
    channels = x.shape[1 if first else -1]
    if channels is not None and channels != depth:
        raise errors.invalid(
            "depthwise_conv2d", f"the input's channels must be {depth} as in the filter "
            f"{shapes.text(w.shape)}", f"input {shapes.text(x.shape)}",
        )  # fmt: skip
    if channels is None:
        x = ensure_shape(x, [None, depth, None, None] if first else [None, None, None, depth])
    w = movement.reshape(w, shape=(height, width, 1, depth * multiplier))
    return _conv("depthwise_conv2d", x, w, 2, strides, padding, data_format, dilations)


def separable_conv2d(
    input: Any, depthwise_filter: Any, pointwise_filter: Any, strides: Any, padding: Any,
    data_format: Any = None, dilations: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns a depthwise convolution followed by a 1 x 1 convolution."""
    y = depthwise_conv2d(input, depthwise_filter, strides, padding, data_format, dilations)
    return _conv("separable_conv2d", y, pointwise_filter, 2, 1, "VALID", data_format, 1)


def atrous_conv2d(value: Any, filters: Any, rate: int, padding: Any, name: Any = None) -> Tensor:
    """Returns the convolution with the filter's elements `rate` apart."""
    return _conv("atrous_conv2d", value, filters, 2, 1, padding, "NHWC", rate)


# -- transposed ----------------------------------------------------------------------------


def conv_transpose(
    input: Any, filters: Any, output_shape: Any, strides: Any, padding: Any = "SAME",
    data_format: Any = None, dilations: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the transpose of a convolution: the gradient of its input.

    Args:
      input: [batch, *spatial, in].
      filters: [*window, out, in].
      output_shape: the whole shape of the result; its spatial sizes must be known.
    """
    x, w = convert.match("conv_transpose", (input, filters), None)
    n = w.ndim - 2
    if n not in _DEFAULT or x.ndim != n + 2:
        raise errors.invalid(
            "conv_transpose", "input and filters must have one rank, 3 to 5",
            f"input {shapes.text(x.shape)}, filters {shapes.text(w.shape)}",
        )  # fmt: skip
    first = channels_first("conv_transpose", data_format, n)
    steps = spatial("conv_transpose", "strides", strides, n, first)
    rates = spatial("conv_transpose", "dilations", dilations, n, first)
    static, _ = dims.parse("conv_transpose", output_shape)
    if len(static) == n + 2:
        sizes = static[2:] if first else static[1:-1]
    else:
        sizes = static
    if len(sizes) != n or None in sizes:
        raise errors.invalid(
            "conv_transpose", f"output_shape must hold {n} known spatial sizes", str(output_shape)
        )
    y = _transposed(to_last(x, first), w, sizes, steps, padding_pairs(
        "conv_transpose", padding, n, first), rates)  # fmt: skip
    return to_first(y, first)


def _transposed(x: Any, w: Any, sizes: Any, steps: Any, padding: Any, rates: Any) -> Any:
    n = len(sizes)
    if None not in (x.shape[-1], w.shape[-1]) and x.shape[-1] != w.shape[-1]:
        raise errors.invalid(
            "conv_transpose", f"the input's channels must be {w.shape[-1]} (filters "
            f"{shapes.text(w.shape)})", f"input {shapes.text(x.shape)}",
        )  # fmt: skip
    pads = contraction.resolve_padding(padding, sizes, w.shape[:-2], steps, rates)
    extents = [contraction.dilated(k, a) for k, a in zip(w.shape[:-2], rates)]
    forward = [contraction.window_count(*row) for row in zip(sizes, extents, steps, pads)]
    for axis, (have, want) in enumerate(zip(x.shape[1:-1], forward)):
        if have is not None and have != want:
            raise errors.invalid(
                "conv_transpose", f"output_shape {list(sizes)} needs an input of {forward}",
                f"{list(x.shape[1:-1])} (dimension {axis})",
            )  # fmt: skip
    axes = tuple(range(n))
    flipped = movement.transpose(movement.reverse(w, axes=axes), perm=(*axes, n + 1, n))
    spread = [contraction.dilated(o, s) for o, s in zip(forward, steps)]
    return contraction.conv(
        x,
        flipped,
        strides=(1,) * n,
        padding=tuple(
            (e - 1 - low, d + low - o) for e, (low, _), d, o in zip(extents, pads, sizes, spread)
        ),
        lhs_dilation=tuple(steps),
        rhs_dilation=tuple(rates),
        groups=1,
    )


def _fixed(name: str, n: int) -> Any:
    def transposed(
        input: Any, filters: Any, output_shape: Any, strides: Any, padding: Any = "SAME",
        data_format: Any = _DEFAULT[n], dilations: Any = None, name: Any = None,
    ) -> Tensor:  # fmt: skip
        channels_first(f"conv{n}d_transpose", data_format, n)
        return conv_transpose(
            input, filters, output_shape, strides, padding, data_format, dilations
        )

    transposed.__name__ = transposed.__qualname__ = name
    transposed.__doc__ = f"Returns the transpose of conv{n}d: see `conv_transpose`."
    return transposed


conv1d_transpose = _fixed("conv1d_transpose", 1)
conv2d_transpose = _fixed("conv2d_transpose", 2)
conv3d_transpose = _fixed("conv3d_transpose", 3)


def bias_add(value: Any, bias: Any, data_format: Any = None, name: Any = None) -> Tensor:
    """Returns value + bias, the bias along the channels (last, or second for "NC...").

    Raises:
      InvalidArgumentError: if there is not one bias for each channel.
    """
    x, b = convert.match("bias_add", (value, bias), None)
    first = str(data_format or "N...C").startswith("NC")
    channel = 1 if first else x.ndim - 1
    if x.ndim < 2 or b.ndim != 1:
        raise errors.invalid(
            "bias_add", "value must have rank >= 2 and bias rank 1",
            f"value {shapes.text(x.shape)}, bias {shapes.text(b.shape)}",
        )  # fmt: skip
    if None not in (x.shape[channel], b.shape[0]) and x.shape[channel] != b.shape[0]:
        raise errors.invalid(
            "bias_add", "one bias for each channel of the value",
            f"value {shapes.text(x.shape)}, bias {shapes.text(b.shape)}",
        )  # fmt: skip
    if first and x.ndim > 2:
        b = dims.reshape(b, [dims.of(b)[0], *(1 for _ in range(x.ndim - 2))])
    return p.add(x, b)

"""Activations, normalisations, codings, losses and attention of `keras.ops`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base import dtypes, errors
from distflow.keras import activations, losses, settings
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import as_axes, as_float, floats, tensor
from distflow.keras.query_blocks import block_rows, over_queries
from distflow.ops import creation, math, reduce, shaping
from distflow.ops import matmul as products
from distflow.ops.prims.elementwise import select

# -- activations ---------------------------------------------------------------------------------


def _activation(kind: str, function: Callable[..., Any]) -> Any:
    def run(x: Any) -> Any:
        return function(as_float(x))

    run.__name__ = run.__qualname__ = function.__name__
    run.__doc__ = function.__doc__
    return operation(kind)(run)


@operation("nn.Relu")
def relu(x: Any) -> Any:
    """Returns max(x, 0)."""
    return activations.relu(tensor(x))


@operation("nn.Relu6")
def relu6(x: Any) -> Any:
    """Returns x limited to [0, 6]."""
    return activations.relu6(tensor(x))


sigmoid = _activation("nn.Sigmoid", activations.sigmoid)
softplus = _activation("nn.Softplus", activations.softplus)
softsign = _activation("nn.Softsign", activations.softsign)
silu = _activation("nn.Silu", activations.silu)
swish = silu
log_sigmoid = _activation("nn.LogSigmoid", activations.log_sigmoid)
hard_sigmoid = _activation("nn.HardSigmoid", activations.hard_sigmoid)
hard_silu = _activation("nn.HardSilu", activations.hard_silu)
hard_swish = hard_silu
hard_tanh = _activation("nn.HardTanh", activations.hard_tanh)
selu = _activation("nn.Selu", activations.selu)
tanh_shrink = _activation("nn.TanhShrink", activations.tanh_shrink)
sparse_plus = _activation("nn.SparsePlus", activations.sparse_plus)
sparse_sigmoid = _activation("nn.SparseSigmoid", activations.sparse_sigmoid)


@operation("nn.LeakyRelu", "negative_slope")
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """Returns x, and negative_slope * x below 0."""
    return activations.leaky_relu(as_float(x), negative_slope)


@operation("nn.Elu", "alpha")
def elu(x: Any, alpha: float = 1.0) -> Any:
    """Returns x, and alpha * (exp(x) - 1) below 0."""
    return activations.elu(as_float(x), alpha)


@operation("nn.Celu", "alpha")
def celu(x: Any, alpha: float = 1.0) -> Any:
    """Returns max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""
    return activations.celu(as_float(x), alpha)


@operation("nn.Gelu", "approximate")
def gelu(x: Any, approximate: bool = True) -> Any:
    """Returns x times the chance that a normal number is less (by tanh if approximate)."""
    return activations.gelu(as_float(x), approximate)


@operation("nn.Glu", "axis")
def glu(x: Any, axis: int = -1) -> Any:
    """Returns the first half of an axis times the sigmoid of the second."""
    return activations.glu(as_float(x), axis)


@operation("nn.HardShrink", "threshold")
def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """Returns x, and 0 within the threshold."""
    return activations.hard_shrink(as_float(x), threshold)


@operation("nn.SoftShrink", "threshold")
def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """Returns x moved towards 0 by the threshold."""
    return activations.soft_shrink(as_float(x), threshold)


@operation("nn.Threshold", "threshold", "default_value")
def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """Returns x above the threshold, and a value elsewhere."""
    return activations.threshold(as_float(x), threshold, default_value)


@operation("nn.Squareplus", "b")
def squareplus(x: Any, b: int = 4) -> Any:
    """Returns (x + sqrt(x^2 + b)) / 2."""
    return activations.squareplus(as_float(x), b)


def _along(x: Any, axis: Any, function: Callable[..., Any]) -> Any:
    """A softmax over one axis, over several, or over all elements (None)."""
    (x,) = floats(x)
    if isinstance(axis, int):
        return function(x, axis)
    axes = as_axes(axis, x.ndim)
    rest = [i for i in range(x.ndim) if i not in axes]
    order = [*rest, *axes]
    moved = shaping.transpose(x, order)
    flat = shaping.reshape(moved, [*[-1 if d is None else d for d in moved.shape[: len(rest)]], -1])
    back = sorted(range(x.ndim), key=order.__getitem__)
    return shaping.transpose(shaping.reshape(function(flat, -1), shaping.shape(moved)), back)


@operation("nn.Softmax", "axis")
def softmax(x: Any, axis: Any = -1) -> Any:
    """Returns exp(x) divided by its sum over an axis (several; all for None)."""
    return _along(x, axis, activations.softmax)


@operation("nn.LogSoftmax", "axis")
def log_softmax(x: Any, axis: Any = -1) -> Any:
    """Returns the logarithm of softmax."""
    return _along(x, axis, activations.log_softmax)


@operation("nn.Sparsemax", "axis")
def sparsemax(x: Any, axis: int = -1) -> Any:
    """Returns the nearest distribution, in which small entries are 0."""
    return activations.sparsemax(as_float(x), axis)


# -- codings -------------------------------------------------------------------------------------


@operation("nn.OneHot", "num_classes", "axis", "dtype", "sparse")
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None,
            sparse: bool = False) -> Any:  # fmt: skip
    """Returns a new axis with a 1 at each class number and 0 elsewhere."""
    _no_sparse("one_hot", sparse)
    x = tensor(x)
    x = x if x.dtype.is_integer and x.dtype.size >= 4 else math.cast(x, "int32")
    wanted = dtypes.as_dtype(dtype or settings.floatx())
    return math.cast(creation.one_hot(x, num_classes, axis=axis), wanted)


@operation("nn.MultiHot", "num_classes", "axis", "dtype", "sparse")
def multi_hot(inputs: Any, num_classes: Any = None, axis: int = -1, dtype: Any = None,
              sparse: bool = False) -> Any:  # fmt: skip
    """Returns rows with a 1 at each class number that a row of the inputs holds."""
    _no_sparse("multi_hot", sparse)
    if num_classes is None:
        raise ValueError("Argument `num_classes` must be provided.")
    x = tensor(inputs)
    x = x if x.dtype.is_integer and x.dtype.size >= 4 else math.cast(x, "int32")
    over = 1 if x.ndim > 1 else 0
    coded = reduce.reduce_max(creation.one_hot(x, num_classes, axis=axis), over)
    return math.cast(coded, dtypes.as_dtype(dtype or settings.floatx()))


def _no_sparse(where: str, sparse: bool) -> None:
    if sparse:
        raise errors.UnimplementedError(f"{where}: sparse tensors are not there yet.")


# -- losses --------------------------------------------------------------------------------------


@operation("nn.BinaryCrossentropy", "from_logits")
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """Returns -y log(p) - (1 - y) log(1 - p) of each element."""
    target, output = floats(target, output)
    if tuple(target.shape) != tuple(output.shape) and None not in (*target.shape, *output.shape):
        raise ValueError(
            "Arguments `target` and `output` must have the same shape. Received: "
            f"target.shape={tuple(target.shape)}, output.shape={tuple(output.shape)}"
        )
    one = shaping.expand_dims(target, -1), shaping.expand_dims(output, -1)
    return losses.binary_crossentropy(*one, from_logits=from_logits)


@operation("nn.CategoricalCrossentropy", "from_logits", "axis")
def categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Any:
    """Returns -sum(target * log(output)) over the classes."""
    target, output = floats(target, output)
    if not target.ndim or not output.ndim:
        raise ValueError(
            "Arguments `target` and `output` must be at least rank 1. Received: "
            f"target.shape={tuple(target.shape)}, output.shape={tuple(output.shape)}"
        )
    return losses.categorical_crossentropy(target, output, from_logits=from_logits, axis=axis)


@operation("nn.SparseCategoricalCrossentropy", "from_logits", "axis")
def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Any:
    """Returns -log(output[target]) over the classes."""
    (output,) = floats(output)
    return losses.sparse_categorical_crossentropy(
        tensor(target), output, from_logits=from_logits, axis=axis
    )


@operation("nn.PSNR", "max_val")
def psnr(x1: Any, x2: Any, max_val: float) -> Any:
    """Returns the ratio of the largest value to the noise, in decibels."""
    x, y = floats(x1, x2)
    if tuple(x.shape) != tuple(y.shape) and None not in (*x.shape, *y.shape):
        raise ValueError(f"Input shapes {tuple(x.shape)} and {tuple(y.shape)} must match for PSNR "
                         "calculation.")  # fmt: skip
    noise = reduce.reduce_mean(math.square(x - y))
    ten = math.log(math.zero_of(x) + 10.0)
    return (20 * math.log(math.zero_of(x) + max_val) - 10 * math.log(noise)) / ten


# -- normalisation -------------------------------------------------------------------------------


@operation("nn.Normalize", "axis", "order", "epsilon")
def normalize(x: Any, axis: Any = -1, order: int = 2, epsilon: Any = None) -> Any:
    """Returns x divided by its norm of an order along an axis."""
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"Argument `order` must be an int >= 1. Received: order={order}")
    (x,) = floats(x)
    small = settings.epsilon() if epsilon is None else epsilon
    axes = list(as_axes(axis, x.ndim))
    if order == 2:
        total = reduce.reduce_sum(math.square(x), axes, True)
        return x * math.rsqrt(math.maximum(total, small * small))
    norm = math.pow(reduce.reduce_sum(math.pow(math.abs(x), float(order)), axes, True), 1 / order)
    return x / math.maximum(norm, small)


def batch_normalization(x: Any, mean: Any, variance: Any, axis: int, offset: Any = None,
                        scale: Any = None, epsilon: float = 1e-3) -> Any:  # fmt: skip
    """Returns (x - mean) / sqrt(variance + epsilon) * scale + offset along an axis."""
    (x,) = floats(x)
    shape = [1] * x.ndim
    shape[axis] = -1

    def at(value: Any) -> Any:
        return shaping.reshape(tensor(value, x.dtype), shape)

    y = (x - at(mean)) * math.rsqrt(at(variance) + epsilon)
    y = y if scale is None else y * at(scale)
    return y if offset is None else y + at(offset)


def layer_normalization(x: Any, gamma: Any = None, beta: Any = None, axis: Any = -1,
                        epsilon: Any = None, **kwargs: Any) -> Any:  # fmt: skip
    """Returns x with mean 0 and variance 1 over axes, times gamma, plus beta."""
    if kwargs:
        raise TypeError(f"layer_normalization got unexpected arguments {sorted(kwargs)}")
    (x,) = floats(x)
    small = settings.epsilon() if epsilon is None else epsilon
    axes = list(as_axes(axis, x.ndim))
    mean, variance = reduce.moments(x, axes, keepdims=True)
    y = (x - mean) * math.rsqrt(variance + small)
    return _scaled(y, axes, gamma, beta)


def rms_normalization(x: Any, scale: Any = None, axis: Any = -1, epsilon: Any = None) -> Any:
    """Returns x divided by the root of its mean square over axes, times scale."""
    (x,) = floats(x)
    small = settings.epsilon() if epsilon is None else epsilon
    axes = list(as_axes(axis, x.ndim))
    y = x * math.rsqrt(reduce.reduce_mean(math.square(x), axes, True) + small)
    return _scaled(y, axes, scale, None)


def _scaled(y: Any, axes: list[int], scale: Any, offset: Any) -> Any:
    shape = [y.shape[i] if i in axes else 1 for i in range(y.ndim)]
    if scale is not None:
        y = y * shaping.reshape(tensor(scale, y.dtype), shape)
    return y if offset is None else y + shaping.reshape(tensor(offset, y.dtype), shape)


@operation("nn.Polar")
def polar(abs_: Any, angle: Any) -> Any:
    """Returns complex numbers from absolute values and angles."""
    size, turn = floats(abs_, angle)
    return math.complex(size * math.cos(turn), size * math.sin(turn))


# -- attention -----------------------------------------------------------------------------------


@operation("nn.DotProductAttention", "is_causal", "flash_attention", "attn_logits_soft_cap")
def dot_product_attention(
    query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, scale: Any = None,
    is_causal: bool = False, flash_attention: Any = None, attn_logits_soft_cap: Any = None,
) -> Any:  # fmt: skip
    """Returns softmax(query key^T * scale + bias) value for each head.

    Args:
      query, key, value: [batch, length, heads, size]; key and value may have fewer heads, each of
        which then serves several of the query's.
      bias: added to the scores [batch, heads, queries, keys].
      mask: bool like the scores; False takes no part.
      scale: default 1 / sqrt(size).
      is_causal: whether a query sees only keys at its place and before.
      flash_attention: compute the scores in blocks of queries, and again in the backward pass,
        so that they are never stored whole; None: where the sequences are long.
      attn_logits_soft_cap: scores become cap * tanh(scores / cap).
    """
    q, k, v = floats(query, key, value)
    if not q.ndim == k.ndim == v.ndim == 4:
        raise ValueError(
            "`dot_product_attention` only supports 4D inputs. Received: "
            f"query.shape={tuple(q.shape)}, key.shape={tuple(k.shape)}, "
            f"value.shape={tuple(v.shape)}."
        )
    if k.shape[2] != q.shape[2]:
        groups = q.shape[2] // k.shape[2]
        k, v = (products.einsum("bthd,g->bthgd", x, creation.ones(groups, x.dtype)) for x in (k, v))
        k, v = (shaping.reshape(x, [-1, *_sizes(x)[1:2], q.shape[2], x.shape[-1]]) for x in (k, v))
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    beside = []
    if bias is not None:
        beside.append(_like_scores(tensor(bias, q.dtype)))
    seen = [] if mask is None else [_like_scores(tensor(mask, "bool"))]
    if is_causal:
        places = math.range(_sizes(q)[1])
        seen.append(shaping.expand_dims(places, 1) >= math.range(_sizes(k)[1]))

    def attend(q: Any, k: Any, v: Any, *beside: Any, block: int) -> Any:
        scores = products.einsum("bqhd,bkhd->bhqk", q * math.cast(factor, q.dtype), k)
        if attn_logits_soft_cap is not None:
            scores = attn_logits_soft_cap * math.tanh(scores / attn_logits_soft_cap)
        for other in beside:
            if other.dtype == "bool":
                scores = select(_like(other, scores), scores, _lowest(scores))
            else:
                scores = scores + other
        return products.einsum("bhqk,bkhd->bqhd", activations.softmax(scores), v)

    rows = block_rows(q.shape[1], k.shape[1], flash_attention)
    return over_queries(attend, q, k, v, *beside, *seen, rows=rows)


def _like_scores(x: Any) -> Any:
    return x if x.ndim >= 2 else shaping.reshape(x, [1, -1])


def _sizes(x: Any) -> list[Any]:
    shape = shaping.shape(x)
    return [shape[i] if d is None else d for i, d in enumerate(x.shape)]


def _like(mask: Any, x: Any) -> Any:
    return math.logical_and(mask, math.equal(x, x))


def _lowest(x: Any) -> Any:
    return math.zero_of(x) + float(dtypes.as_dtype(x.dtype).min) * 0.7

"""Networks, chance and control flow of `tf.keras.backend`, in terms of distflow's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.core.convert import convert_to_tensor
from distflow.function.control_flow import cond
from distflow.function.map_fn import foldl as _foldl
from distflow.function.map_fn import foldr as _foldr
from distflow.function.map_fn import map_fn as _map_fn
from distflow.keras import activations, losses, settings
from distflow.keras import random as keras_random
from distflow.keras.backend.functions import get_value, temporal_padding
from distflow.keras.engine import call_context
from distflow.keras.engine.functional import Functional
from distflow.ops import array, conv, indexing, math, pool, reduce, sorting
from distflow.ops import normalization as _normalization
from distflow.ops.printing import print as _print

# -- networks --------------------------------------------------------------------------------------

elu, sigmoid, tanh, softmax = (
    activations.elu, activations.sigmoid, activations.tanh, activations.softmax
)  # fmt: skip
softplus, softsign, hard_sigmoid = (
    activations.softplus, activations.softsign, activations.hard_sigmoid
)  # fmt: skip
binary_focal_crossentropy = losses.binary_focal_crossentropy
categorical_focal_crossentropy = losses.categorical_focal_crossentropy


def relu(x: Any, alpha: float = 0.0, max_value: Any = None, threshold: float = 0.0) -> Any:
    """Returns x from the threshold to max_value, and alpha * (x - threshold) below."""
    return activations.relu(x, alpha, max_value, threshold)


def dropout(x: Any, level: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """Returns x with a part `level` of it 0 and the others enlarged."""
    return keras_random.dropout(x, level, noise_shape, seed)


def bias_add(x: Any, bias: Any, data_format: Any = None) -> Any:
    """Returns x plus a bias of the channels."""
    first = settings.standardize_data_format(data_format) == "channels_first"
    if first and len(x.shape) > 2:
        return x + array.reshape(bias, [1, -1] + [1] * (len(x.shape) - 2))
    return convert_to_tensor(x) + bias


def batch_normalization(x: Any, mean: Any, var: Any, beta: Any, gamma: Any, axis: int = -1,
                        epsilon: float = 1e-3) -> Any:  # fmt: skip
    """Returns (x - mean) / sqrt(var + epsilon) * gamma + beta."""
    return _normalization.batch_normalization(x, mean, var, beta, gamma, epsilon)


def normalize_batch_in_training(x: Any, gamma: Any, beta: Any, reduction_axes: Any,
                                epsilon: float = 1e-3) -> tuple[Any, Any, Any]:  # fmt: skip
    """Returns x normalised by its own statistics, and these."""
    mean, variance = reduce.moments(x, list(reduction_axes))
    return batch_normalization(x, mean, variance, beta, gamma, epsilon=epsilon), mean, variance


_LAYOUTS = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}


def _layout(data_format: Any, n: int) -> str:
    return _LAYOUTS[n][settings.standardize_data_format(data_format) == "channels_first"]


def _convolution(n: int, text: str) -> Callable[..., Any]:
    def run(x: Any, kernel: Any, strides: Any = 1, padding: str = "valid",
            data_format: Any = None, dilation_rate: Any = 1) -> Any:  # fmt: skip
        if padding == "causal" and n == 1:
            reach = int(dilation_rate) * (kernel.shape[0] - 1)
            x, padding = temporal_padding(x, (reach, 0)), "valid"
        return conv.convolution(x, kernel, strides, padding.upper(), _layout(data_format, n),
                                dilation_rate)  # fmt: skip

    run.__doc__ = text
    return run


conv1d = _convolution(1, "Returns the convolution over steps.")
conv2d = _convolution(2, "Returns the convolution over images.")
conv3d = _convolution(3, "Returns the convolution over volumes.")


def conv2d_transpose(x: Any, kernel: Any, output_shape: Any, strides: Any = (1, 1),
                     padding: str = "valid", data_format: Any = None,
                     dilation_rate: Any = (1, 1)) -> Any:  # fmt: skip
    """Returns the transposed convolution to an output shape."""
    return conv.conv_transpose(x, kernel, output_shape, strides, padding.upper(),
                               _layout(data_format, 2), dilation_rate)  # fmt: skip


def depthwise_conv2d(x: Any, depthwise_kernel: Any, strides: Any = (1, 1), padding: str = "valid",
                     data_format: Any = None, dilation_rate: Any = (1, 1)) -> Any:  # fmt: skip
    """Returns each channel convolved with its own filters."""
    return conv.depthwise_conv2d(x, depthwise_kernel, strides, padding.upper(),
                                 _layout(data_format, 2), dilation_rate)  # fmt: skip


def separable_conv2d(x: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = (1, 1),
                     padding: str = "valid", data_format: Any = None,
                     dilation_rate: Any = (1, 1)) -> Any:  # fmt: skip
    """Returns a depthwise convolution followed by one over the channels alone."""
    return conv.separable_conv2d(x, depthwise_kernel, pointwise_kernel, strides, padding.upper(),
                                 _layout(data_format, 2), dilation_rate)  # fmt: skip


def _pooling(n: int) -> Callable[..., Any]:
    def run(x: Any, pool_size: Any, strides: Any = 1, padding: str = "valid",
            data_format: Any = None, pool_mode: str = "max") -> Any:  # fmt: skip
        """Returns the largest element ("max") or the mean ("avg") of each window."""
        if pool_mode not in ("max", "avg"):
            raise ValueError(f"Invalid pooling mode: {pool_mode}")
        return pool.pool(x, pool_size, pool_mode.upper(), strides, padding.upper(),
                         _layout(data_format, n))  # fmt: skip

    return run


pool2d, pool3d = _pooling(2), _pooling(3)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """Returns -y log(p) - (1 - y) log(1 - p) of each element."""
    target = math.cast(target, convert_to_tensor(output).dtype)
    one = array.expand_dims(target, -1), array.expand_dims(output, -1)
    return losses.binary_crossentropy(*one, from_logits=from_logits)


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False,
                             axis: int = -1) -> Any:  # fmt: skip
    """Returns -sum(target * log(output)) over the classes."""
    return losses.categorical_crossentropy(target, output, from_logits, axis=axis)


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False,
                                    axis: int = -1, ignore_class: Any = None) -> Any:  # fmt: skip
    """Returns -log(output[target]) over the classes."""
    return losses.sparse_categorical_crossentropy(target, output, from_logits, ignore_class, axis)


def in_top_k(predictions: Any, targets: Any, k: int) -> Any:
    """Returns whether each target is among the k largest predictions."""
    return sorting.in_top_k(targets, predictions, k)


def one_hot(indices: Any, num_classes: int) -> Any:
    """Returns rows with a one each."""
    return array.one_hot(indices, num_classes)


def gather(reference: Any, indices: Any) -> Any:
    """Returns rows by their numbers."""
    return indexing.gather(reference, indices)


# -- chance ----------------------------------------------------------------------------------------


def random_uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None,
                   seed: Any = None) -> Any:  # fmt: skip
    """Returns uniformly distributed numbers."""
    return keras_random.uniform(shape, minval, maxval, dtype, seed)


def random_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None,
                  seed: Any = None) -> Any:  # fmt: skip
    """Returns normally distributed numbers."""
    return keras_random.normal(shape, mean, stddev, dtype, seed)


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None,
                     seed: Any = None) -> Any:  # fmt: skip
    """Returns normally distributed numbers within two standard deviations."""
    return keras_random.truncated_normal(shape, mean, stddev, dtype, seed)


def random_bernoulli(shape: Any, p: float = 0.0, dtype: Any = None, seed: Any = None) -> Any:
    """Returns ones with chance p, else zeros."""
    return math.cast(keras_random.uniform(shape, seed=seed) <= p, dtype or settings.floatx())


random_binomial = random_bernoulli

# -- control ---------------------------------------------------------------------------------------


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """Returns one of two values (or of what two functions return), also element by element."""
    condition = math.cast(convert_to_tensor(condition), "bool")

    def value(expression: Any) -> Any:
        return expression() if callable(expression) else expression

    if condition.ndim == 0:
        return cond(condition, lambda: value(then_expression), lambda: value(else_expression))
    x, y = value(then_expression), value(else_expression)
    while condition.ndim < len(x.shape):
        condition = array.expand_dims(condition, -1)
    return indexing.where(condition, x, y)


def learning_phase() -> Any:
    """Returns 1 within a call with training=True, else 0."""
    return 1 if call_context.state.training is True else 0


def _in_phase(x: Any, alt: Any, training: Any) -> Any:
    value = x if (learning_phase() if training is None else training) else alt
    return value() if callable(value) else value


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """Returns x (or x()) in training, else alt."""
    return _in_phase(x, alt, training)


def in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """Returns alt (or alt()) in training, else x."""
    return _in_phase(alt, x, training)


def map_fn(fn: Any, elems: Any, name: Any = None, dtype: Any = None) -> Any:
    """Returns fn(row) for each row, stacked."""
    return _map_fn(fn, elems, dtype)


def foldl(fn: Any, elems: Any, initializer: Any = None, name: Any = None) -> Any:
    """Returns the last state of a = fn(a, row), from the first row to the last."""
    return _foldl(fn, elems, initializer)


def foldr(fn: Any, elems: Any, initializer: Any = None, name: Any = None) -> Any:
    """Returns the last state of a = fn(a, row), from the last row to the first."""
    return _foldr(fn, elems, initializer)


def function(inputs: Any, outputs: Any, updates: Any = None, name: Any = None,
             **kwargs: Any) -> Any:  # fmt: skip
    """Returns a function from a list of values of symbolic inputs to those of the outputs."""
    if updates:
        raise ValueError("`updates` argument is not supported during eager execution.")
    single = not isinstance(outputs, list | tuple)
    model = Functional(list(inputs), outputs if single else list(outputs))

    def run(values: Any) -> Any:
        found = model(list(values))
        return get_value(found) if single else [get_value(x) for x in found]

    return run


def print_tensor(x: Any, message: str = "", summarize: int = 3) -> Any:
    """Prints a value when it is computed; returns it."""
    _print(message, x, summarize=summarize)
    return x

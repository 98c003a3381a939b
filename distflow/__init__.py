"""distflow: TensorFlow 2's API for training on one machine or many, with reproducible bits.

`import distflow as tf`. Tensors, operations and gradients load at once; rooms above them (function,
data, keras, distribute, ...) on first use.
"""

import importlib as _importlib
import sys as _sys
import types as _types
from typing import Any as _Any

# Attaches + - * / @ [] to tensors.
import distflow.ops.operators as _operators  # noqa: F401
from distflow import (
    autodiff,
    bitwise,
    config,
    debugging,
    dtypes,
    errors,
    experimental,
    linalg,
    math,
    nest,
    nn,
    random,
    strings,
    test,
    version,
)
from distflow._missing import lookup as _lookup
from distflow.autodiff import GradientTape, UnconnectedGradients, custom_gradient, recompute_grad
from distflow.autodiff import backward as _backward
from distflow.base import flags as _flags
from distflow.base.dtypes import (
    DType,
    as_dtype,
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    string,
    uint8,
    uint16,
    uint32,
    uint64,
)
from distflow.base.dtypes import bool_ as bool
from distflow.base.log import get_logger
from distflow.base.names import current_scope as get_current_name_scope
from distflow.base.names import name_scope
from distflow.base.shapes import TensorShape
from distflow.base.specs import TensorSpec, TypeSpec
from distflow.core import native as _native
from distflow.core.context import device, executing_eagerly, init_scope, variable_creator_scope
from distflow.core.convert import constant, convert_to_tensor, register_tensor_conversion_function
from distflow.core.module import Module
from distflow.core.tensor import Tensor
from distflow.core.variable import Variable, VariableAggregation, VariableSynchronization
from distflow.ops.clip import clip_by_global_norm, clip_by_norm
from distflow.ops.control import (
    control_dependencies,
    get_static_value,
    group,
    identity_n,
    inside_function,
    is_symbolic_tensor,
    is_tensor,
    no_op,
    timestamp,
    tuple,
    type_spec_from_value,
)
from distflow.ops.creation import (
    eye,
    fill,
    linspace,
    meshgrid,
    one_hot,
    ones,
    ones_like,
    sequence_mask,
    zeros,
    zeros_like,
)
from distflow.ops.debugging import Assert, assert_equal, assert_greater, assert_less, assert_rank
from distflow.ops.indexing import (
    dynamic_partition,
    dynamic_stitch,
    gather,
    gather_nd,
    reverse_sequence,
    scatter_nd,
    slice,
    strided_slice,
    tensor_scatter_nd_add,
    tensor_scatter_nd_max,
    tensor_scatter_nd_min,
    tensor_scatter_nd_sub,
    tensor_scatter_nd_update,
    where,
)
from distflow.ops.math import (
    abs,
    acos,
    acosh,
    add,
    add_n,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitcast,
    cast,
    clip_by_value,
    complex,
    cos,
    cosh,
    cumsum,
    divide,
    equal,
    exp,
    floor,
    greater,
    greater_equal,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    pow,
    range,
    round,
    saturate_cast,
    scalar_mul,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    stop_gradient,
    subtract,
    tan,
    tanh,
    truediv,
)
from distflow.ops.matmul import einsum, matmul, tensordot
from distflow.ops.printing import print
from distflow.ops.python_calls import numpy_function, py_function
from distflow.ops.reduce import (
    argmax,
    argmin,
    norm,
    reduce_all,
    reduce_any,
    reduce_logsumexp,
    reduce_max,
    reduce_mean,
    reduce_min,
    reduce_prod,
    reduce_sum,
)
from distflow.ops.repeat import repeat, roll, tile
from distflow.ops.shaping import (
    broadcast_dynamic_shape,
    broadcast_static_shape,
    broadcast_to,
    concat,
    ensure_shape,
    expand_dims,
    identity,
    pad,
    rank,
    reshape,
    reverse,
    shape,
    shape_n,
    size,
    split,
    squeeze,
    stack,
    transpose,
    unstack,
)
from distflow.ops.slicing import boolean_mask
from distflow.ops.sorting import argsort, searchsorted, sort, unique, unique_with_counts
from distflow.ops.special import truncatediv, truncatemod
from distflow.ops.strings import as_string
from distflow.random.initializers import (
    constant_initializer,
    ones_initializer,
    random_normal_initializer,
    random_uniform_initializer,
    zeros_initializer,
)
from distflow.telemetry import pulse as _pulse
from distflow.telemetry import timeline as _timeline
from distflow.version import VERSION as __version__

_timeline.install()  # where DISTFLOW_TIMELINE asks for one
_pulse.install()  # where `distflow run` listens

half, double, newaxis, realdiv = float16, float64, None, divide


# Rooms and namespaces that load on first use, and the names of `tf` that come from one.
_ROOMS = (
    "audio", "autograph", "compat", "data", "distribute", "estimator", "feature_column",
    "image", "initializers", "io", "keras", "lookup", "losses", "metrics", "mlir", "optimizers",
    "queue", "quantization", "ragged", "saved_model", "sets", "signal", "sparse", "summary",
    "sysconfig", "train", "types", "xla", "graph_util", "profiler", "tpu",
)  # fmt: skip
_FUNCTION = (
    "TensorArray", "case", "cond", "foldl", "foldr", "function", "map_fn", "scan",
    "switch_case", "vectorized_map", "while_loop",
)  # fmt: skip
# TF's older names of Keras's rooms.
_KERAS = ("initializers", "losses", "metrics", "optimizers")

__all__ = [
    "Assert", "DType", "GradientTape", "Module", "Tensor", "TensorShape", "TensorSpec",
    "TypeSpec", "UnconnectedGradients", "Variable", "VariableAggregation",
    "VariableSynchronization", "__version__", "abs", "acos", "acosh", "add", "add_n", "argmax",
    "argmin", "argsort", "as_dtype", "as_string", "asin", "asinh", "assert_equal",
    "assert_greater", "assert_less", "assert_rank", "atan", "atan2", "atanh", "autodiff",
    "bfloat16", "bitcast", "bitwise", "bool", "boolean_mask", "broadcast_dynamic_shape",
    "broadcast_static_shape", "broadcast_to", "cast", "clip_by_global_norm", "clip_by_norm",
    "clip_by_value", "complex", "complex128", "complex64", "concat", "config", "constant",
    "constant_initializer", "control_dependencies", "convert_to_tensor", "cos", "cosh",
    "cumsum", "custom_gradient", "debugging", "device", "divide", "double", "dtypes",
    "dynamic_partition", "dynamic_stitch", "einsum", "ensure_shape", "equal", "errors",
    "executing_eagerly", "exp", "expand_dims", "experimental", "eye", "fill", "float16",
    "float32", "float64", "floor", "gather", "gather_nd", "get_current_name_scope",
    "get_logger", "get_static_value", "greater", "greater_equal", "group", "half", "identity",
    "identity_n", "init_scope", "inside_function", "int16", "int32", "int64", "int8",
    "is_symbolic_tensor", "is_tensor", "less", "less_equal", "linalg", "linspace",
    "logical_and", "logical_not", "logical_or", "math", "matmul", "maximum", "meshgrid",
    "minimum", "multiply", "name_scope", "negative", "nest", "newaxis", "nn", "no_op", "norm",
    "not_equal", "numpy_function", "one_hot", "ones", "ones_initializer", "ones_like", "pad",
    "pow", "print", "py_function", "random", "random_normal_initializer",
    "random_uniform_initializer", "range", "rank", "realdiv", "recompute_grad", "reduce_all",
    "reduce_any", "reduce_logsumexp", "reduce_max", "reduce_mean", "reduce_min", "reduce_prod",
    "reduce_sum", "register_tensor_conversion_function", "repeat", "reshape", "reverse",
    "reverse_sequence", "roll", "round", "saturate_cast", "scalar_mul", "scatter_nd",
    "searchsorted", "sequence_mask", "shape", "shape_n", "sigmoid", "sign", "sin", "sinh",
    "size", "slice", "sort", "split", "sqrt", "square", "squeeze", "stack", "stop_gradient",
    "strided_slice", "string", "strings", "subtract", "tan", "tanh", "tensor_scatter_nd_add",
    "tensor_scatter_nd_max", "tensor_scatter_nd_min", "tensor_scatter_nd_sub",
    "tensor_scatter_nd_update", "tensordot", "test", "tile", "timestamp", "transpose",
    "truediv", "truncatediv", "truncatemod", "tuple", "type_spec_from_value", "uint16",
    "uint32", "uint64", "uint8", "unique", "unique_with_counts", "unstack",
    "variable_creator_scope", "version", "where", "zeros", "zeros_initializer", "zeros_like",
]  # fmt: skip

_not_there = _lookup("")


def _load_kernels() -> _Any:
    """Loads what makes eager operations and gradients faster; it puts itself in place."""
    if _flags.executor() == "cpu":
        _importlib.import_module("distflow.compiler.cpu.eager").install()
        return True
    return False


_native.set_run(lambda *call: _native.run(*call) if _load_kernels() else None)
_backward.set_faster(lambda *call: _backward.eager_sweep(*call) if _load_kernels() else None)


def __getattr__(name: str) -> _Any:
    if name in _FUNCTION:
        value = getattr(_importlib.import_module("distflow.function"), name, None)
    elif name in _KERAS:
        value = getattr(_importlib.import_module("distflow.keras"), name, None)
    elif name in _ROOMS:
        value = _room(f"distflow.{name}")
    else:
        value = None
    if value is None:
        return _not_there(name)
    globals()[name] = value
    return value


def _room(name: str) -> _Any:
    """A room, or None where this version has none of the name."""
    try:
        return _importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS, *_FUNCTION})


class _Root(_types.ModuleType):
    """The module itself: importing the room `function` must not hide the decorator."""

    def __setattr__(self, name: str, value: _Any) -> None:
        if name == "function" and isinstance(value, _types.ModuleType):
            return
        super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Root

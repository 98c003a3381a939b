"""Public names of `keras.backend`: settings of the process, and the functions of TF 2's backend."""

from __future__ import annotations

import importlib
from typing import Any

from distflow.keras import dtype_policy
from distflow.keras.engine import keras_tensor, naming
from distflow.keras.engine.keras_tensor import is_keras_tensor
from distflow.keras.not_there import lookup
from distflow.keras.ops.dtype_rules import result_type
from distflow.keras.settings import (
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
    standardize_dtype,
)

# Functions of TF 2's backend, which load on first use.
_FUNCTIONS = """
    abs all any arange argmax argmin batch_dot batch_flatten batch_get_value
    batch_normalization batch_set_value bias_add binary_crossentropy binary_focal_crossentropy
    cast cast_to_floatx categorical_crossentropy categorical_focal_crossentropy clip
    concatenate constant conv1d conv2d conv2d_transpose conv3d cos count_params ctc_batch_cost
    ctc_decode cumprod cumsum depthwise_conv2d dot dropout dtype elu equal eval exp
    expand_dims eye flatten foldl foldr function gather get_uid get_value gradients greater
    greater_equal hard_sigmoid in_test_phase in_top_k in_train_phase int_shape is_float_dtype
    is_int_dtype is_sparse l2_normalize learning_phase less less_equal log map_fn max maximum
    mean min minimum moving_average_update name_scope ndim normalize_batch_in_training
    not_equal one_hot ones ones_like permute_dimensions placeholder pool2d pool3d pow
    print_tensor prod random_bernoulli random_binomial random_normal random_normal_variable
    random_uniform random_uniform_variable relu repeat repeat_elements reset_uids reshape
    resize_images resize_volumes reverse rnn round separable_conv2d set_value shape sigmoid
    sign sin softmax softplus softsign sparse_categorical_crossentropy spatial_2d_padding
    spatial_3d_padding sqrt square squeeze stack std stop_gradient sum switch tanh
    temporal_padding tile to_dense transpose truncated_normal update update_add update_sub var
    variable zeros zeros_like
""".split()
__all__ = [
    "backend", "clear_session", "epsilon", "floatx", "image_data_format", "is_keras_tensor",
    "result_type", "set_epsilon", "set_floatx", "set_image_data_format", "standardize_dtype",
    *_FUNCTIONS,
]  # fmt: skip
_FILES = ("functions", "networks", "sequences")
_missing = lookup("backend")


def __getattr__(name: str) -> Any:
    if name not in _FUNCTIONS:
        return _missing(name)
    rooms = (importlib.import_module(f"{__name__}.{room}") for room in _FILES)
    return getattr(next(room for room in rooms if hasattr(room, name)), name)


def backend() -> str:
    """Returns the name of what computes."""
    return "distflow"


def clear_session(free_memory: bool = True) -> None:
    """Starts automatic names anew, and forgets the global dtype policy."""
    naming.reset_names()
    keras_tensor.reset_names()
    dtype_policy.reset_global_policy()

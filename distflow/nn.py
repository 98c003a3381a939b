"""tf.nn: activations, convolutions, pooling, normalisation and losses."""

from distflow._missing import lookup
from distflow.ops.activations import (
    crelu,
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    relu6,
    selu,
    silu,
    softmax,
    softsign,
    swish,
)
from distflow.ops.average_loss import compute_average_loss, scale_regularization_loss
from distflow.ops.conv import (
    atrous_conv2d,
    bias_add,
    conv1d,
    conv1d_transpose,
    conv2d,
    conv2d_transpose,
    conv3d,
    conv3d_transpose,
    conv_transpose,
    convolution,
    depthwise_conv2d,
    separable_conv2d,
)
from distflow.ops.embedding import embedding_lookup
from distflow.ops.losses import (
    l2_loss,
    log_poisson_loss,
    sigmoid_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits,
    sparse_softmax_cross_entropy_with_logits,
    weighted_cross_entropy_with_logits,
)
from distflow.ops.math import sigmoid, softplus, tanh
from distflow.ops.normalization import (
    batch_normalization,
    l2_normalize,
    local_response_normalization,
    lrn,
)
from distflow.ops.pool import (
    avg_pool,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    pool,
)
from distflow.ops.reduce import moments, zero_fraction
from distflow.ops.sorting import in_top_k, top_k
from distflow.random.dropout import dropout

__all__ = [
    "atrous_conv2d", "avg_pool", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "batch_normalization", "bias_add", "compute_average_loss", "conv1d", "conv1d_transpose",
    "conv2d", "conv2d_transpose", "conv3d", "conv3d_transpose", "conv_transpose", "convolution",
    "crelu", "depthwise_conv2d", "dropout", "elu", "embedding_lookup", "gelu", "in_top_k",
    "l2_loss", "l2_normalize", "leaky_relu", "local_response_normalization", "log_poisson_loss",
    "log_softmax", "lrn", "max_pool", "max_pool1d", "max_pool2d", "max_pool3d", "moments",
    "pool", "relu", "relu6", "scale_regularization_loss", "selu", "separable_conv2d", "sigmoid",
    "sigmoid_cross_entropy_with_logits", "silu", "softmax", "softmax_cross_entropy_with_logits",
    "softplus", "softsign", "sparse_softmax_cross_entropy_with_logits", "swish", "tanh",
    "top_k", "weighted_cross_entropy_with_logits", "zero_fraction",
]  # fmt: skip

__getattr__ = lookup("nn")

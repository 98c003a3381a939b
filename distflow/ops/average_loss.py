"""Losses in a job of several replicas: each gives its share of the global batch's mean.

The shares are summed over replicas (gradients by the optimizer), so every example weighs the same
whatever the number of replicas; see TensorFlow's distributed training guide.
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops import array, math, reduce


def compute_average_loss(
    per_example_loss: Any, sample_weight: Any = None, global_batch_size: Any = None
) -> Tensor:
    """Returns the sum of the example losses divided by the global batch size.

    Args:
      per_example_loss: shape [batch, ...] of this replica.
      sample_weight: weights that multiply it, or None.
      global_batch_size: examples of all replicas; default those of this replica times the number
        of replicas.

    Raises:
      InvalidArgumentError: if the losses are a scalar (already reduced).
    """
    loss = convert_to_tensor(per_example_loss)
    if loss.ndim == 0:
        raise errors.invalid(
            "compute_average_loss", "a loss for each example", "a scalar",
            "Give the loss reduction='none'.",
        )  # fmt: skip
    if sample_weight is not None:
        loss = loss * math.cast(sample_weight, loss.dtype)
    if global_batch_size is None:
        global_batch_size = math.cast(array.shape(loss)[0] * _replicas(), loss.dtype)
    else:
        global_batch_size = math.cast(global_batch_size, loss.dtype)
    return reduce.reduce_sum(loss) / global_batch_size


def scale_regularization_loss(regularization_loss: Any) -> Tensor:
    """Returns the sum of a loss divided by the number of replicas, each of which adds it."""
    return reduce.reduce_sum(convert_to_tensor(regularization_loss)) / float(_replicas())


def _replicas() -> int:
    replica = context.state.replica
    return 1 if replica is None else replica.num_replicas_in_sync

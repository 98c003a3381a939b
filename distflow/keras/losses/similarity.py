"""Circle loss: embeddings of one class closer together than those of different classes."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes
from distflow.core.convert import convert_to_tensor
from distflow.keras.losses.base import LossFunctionWrapper
from distflow.ops import array, dims, math
from distflow.ops.matmul import matmul
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import reduce_logsumexp

# Stands for log(0): finite, so that gradients stay so for classes with one example.
_NEVER = -1e30


def circle(
    y_true: Any, y_pred: Any, ref_labels: Any = None, ref_embeddings: Any = None,
    remove_diagonal: bool = True, gamma: float = 80, margin: float = 0.4,
) -> Any:  # fmt: skip
    """Returns softplus(log-sum over positives + log-sum over negatives), one an example.

    Args:
      y_true: class numbers [batch].
      y_pred: embeddings of norm 1 [batch, features].
      ref_labels, ref_embeddings: what the examples are compared with; default: one another.
      remove_diagonal: whether an example is not compared with the reference of its own number.
      gamma: scale of the similarities.
      margin: relaxation of the optima.

    Examples without any loss are masked out of means.

    Source: Sun et al. 2020, arXiv:2002.10857, eq. 6.
    """
    y_pred = convert_to_tensor(y_pred)
    labels = _column(math.cast(y_true, dtypes.int32))
    others = y_pred if ref_embeddings is None else math.cast(ref_embeddings, y_pred.dtype)
    other_labels = labels if ref_labels is None else _column(math.cast(ref_labels, dtypes.int32))
    distance = math.maximum(1.0 - matmul(y_pred, others, transpose_b=True), 0.0)
    same = math.equal(labels, array.transpose(other_labels, [1, 0]))
    unlike = math.logical_not(same)
    if remove_diagonal:
        rows = array.expand_dims(math.range(dims.size(labels, 0)), 1)
        columns = array.expand_dims(math.range(dims.size(other_labels, 0)), 0)
        same = math.logical_and(same, math.not_equal(rows, columns))
    near = gamma * math.maximum(margin + distance, 0.0) * (distance - margin)
    far = gamma * math.maximum(1.0 + margin - distance, 0.0) * (1.0 - margin - distance)
    never = distance * 0.0 + _NEVER
    total = reduce_logsumexp(select(same, near, never), axis=1) + reduce_logsumexp(
        select(unlike, far, never), axis=1
    )
    loss = math.softplus(total)
    loss._keras_mask = loss > 0  # type: ignore[attr-defined]
    return loss


def _column(labels: Any) -> Any:
    return array.expand_dims(labels, 1) if labels.ndim == 1 else labels


class Circle(LossFunctionWrapper):
    """softplus of weighted similarities within and between classes."""

    def __init__(self, gamma: float = 80.0, margin: float = 0.4, remove_diagonal: bool = True,
                 reduction: str | None = "sum_over_batch_size", name: str | None = "circle",
                 dtype: Any = None):  # fmt: skip
        super().__init__(circle, reduction, name, dtype, gamma=gamma, margin=margin,
                         remove_diagonal=remove_diagonal)  # fmt: skip
        self.gamma = gamma
        self.margin = margin
        self.remove_diagonal = remove_diagonal

"""CTC: the loss of sequences whose labels have no known place in time."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.function.map_fn import run_rows
from distflow.keras.losses.base import LossFunctionWrapper
from distflow.ops import activations, array, dims, math
from distflow.ops.matmul import matmul
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import reduce_max, reduce_sum

# Stands for log(0): finite, so that differences and gradients stay so.
_NEVER = -1e30
_BLANK = 0


def ctc(y_true: Any, y_pred: Any) -> Any:
    """Returns -log(probability of the labels), one number a sequence.

    A path gives each step a label or the blank, class 0; repeated labels and then blanks are
    dropped. The probability is the sum over all paths that leave the labels, infinite loss if
    there is none.

    Args:
      y_true: class numbers [batch, labels] in [1, classes); zeros at the end are padding.
      y_pred: logits [batch, time, classes].

    Raises:
      InvalidArgumentError: if ranks differ from these.

    Source: Graves et al. 2006, Connectionist temporal classification, ICML, eq. 6-8.
    """
    labels, logits = convert_to_tensor(y_true), convert_to_tensor(y_pred)
    if labels.ndim != 2:
        raise errors.invalid(
            "ctc", "targets `y_true` must be integers of shape (batch_size, max_length)",
            f"y_true.shape={shapes.text(labels.shape)}",
        )  # fmt: skip
    if logits.ndim != 3:
        raise errors.invalid(
            "ctc", "logits `y_pred` must have shape (batch_size, max_length, num_classes)",
            f"y_pred.shape={shapes.text(logits.shape)}",
        )  # fmt: skip
    labels = math.cast(labels, dtypes.int32)
    given = math.cast(math.not_equal(labels, _BLANK), dtypes.int32)
    return surprise(labels, activations.log_softmax(logits, axis=-1), reduce_sum(given, axis=-1))


def surprise(labels: Any, chances: Any, label_length: Any, time_length: Any = None,
             blank: int = _BLANK) -> Any:  # fmt: skip
    """Returns -log(probability of the labels), one number a sequence.

    Args:
      labels: int32 [batch, labels]; from `label_length` [batch] on they are padding.
      chances: logarithms of probabilities [batch, time, classes].
      time_length: steps of each sequence [batch], or None: all of them.
      blank: the class that stands for no label.
    """
    length = array.expand_dims(label_length, 1)
    states = _with_blanks(labels, blank)
    emitted = _emitted(chances, states)
    at = array.expand_dims(math.range(dims.size(states, 1)), 0)
    never = emitted[0] * 0.0 + _NEVER
    alpha = select(math.logical_or(at < 1, math.equal(at, 1)), emitted[0], never)
    skips = _may_skip(states, at, blank)

    def moved(alpha: Any, row: Any) -> Any:
        one, two = _shifted(alpha, 1), _shifted(alpha, 2)
        return row + _log_sum([alpha, one, select(skips, two, two * 0.0 + _NEVER)])

    if time_length is None:
        alpha, _ = run_rows(lambda alpha, row: (moved(alpha, row), ()), alpha, emitted[1:])
    else:
        steps = math.range(1, dims.size(chances, 1))
        ends_at = array.expand_dims(time_length, 1)
        alpha, _ = run_rows(
            lambda alpha, row: (select(row[1] < ends_at, moved(alpha, row[0]), alpha), ()),
            alpha, (emitted[1:], steps),
        )  # fmt: skip
    ends = math.logical_or(math.equal(at, 2 * length), math.equal(at, 2 * length - 1))
    total = _log_sum_over(select(ends, alpha, alpha * 0.0 + _NEVER))
    return select(total < _NEVER / 2, total * 0.0 + float("inf"), -total)


def _with_blanks(labels: Any, blank: int) -> Any:
    """Returns blank, label, blank, label, ..., blank: [batch, 2 labels + 1]."""
    both = array.stack([labels * 0 + blank, labels], -1)
    pairs = dims.reshape(both, [dims.size(labels, 0), _twice(dims.size(labels, 1))])
    return array.pad(pairs, [[0, 0], [0, 1]], constant_values=blank)


def _twice(size: Any) -> Any:
    return size * 2


def _emitted(chances: Any, states: Any) -> Any:
    """Returns the log probability of each state's class at each step: [time, batch, states]."""
    # A product with rows that have a single one: its gradient is a product, too.
    chances = math.maximum(chances, _NEVER)
    rows = array.one_hot(states, dims.size(chances, 2), dtype=chances.dtype)
    return array.transpose(matmul(chances, rows, transpose_b=True), [1, 0, 2])


def _may_skip(states: Any, at: Any, blank: int) -> Any:
    """Returns whether a path may jump over the blank before: to a label unlike the last one."""
    before = array.pad(states[:, :-2], [[0, 0], [2, 0]], constant_values=blank)
    unlike = math.logical_and(math.not_equal(states, blank), math.not_equal(states, before))
    return math.logical_and(unlike, at > 1)


def _shifted(alpha: Any, by: int) -> Any:
    return array.pad(alpha[:, :-by], [[0, 0], [by, 0]], constant_values=_NEVER)


def _log_sum(terms: list[Any]) -> Any:
    high = terms[0]
    for term in terms[1:]:
        high = math.maximum(high, term)
    high = math.stop_gradient(high)
    total = math.exp(terms[0] - high)
    for term in terms[1:]:
        total = total + math.exp(term - high)
    return math.log(total) + high


def _log_sum_over(x: Any) -> Any:
    high = math.stop_gradient(reduce_max(x, axis=-1, keepdims=True))
    total = math.log(reduce_sum(math.exp(x - high), axis=-1, keepdims=True)) + high
    return array.squeeze(total, -1)


class CTC(LossFunctionWrapper):
    """-log(probability of the labels) for logits in time; class 0 is the blank."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = "ctc",
                 dtype: Any = None):  # fmt: skip
        super().__init__(ctc, reduction, name, dtype)

"""CTC in `keras.ops`: the loss with given lengths, and labels from logits."""

from __future__ import annotations

import itertools
import math as maths
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes, specs
from distflow.keras.engine.keras_ops import operation
from distflow.keras.losses.sequence import surprise
from distflow.keras.ops.dtype_rules import result_type, tensor
from distflow.ops import activations, math
from distflow.ops.python_calls import numpy_function

__all__ = ["ctc_decode", "ctc_loss"]


@operation("nn.CTCLoss", "mask_index")
def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any,
             mask_index: int = 0) -> Any:  # fmt: skip
    """Returns -log(probability of the labels), one number a sequence.

    Args:
      target: class numbers [batch, labels].
      output: logits [batch, time, classes].
      target_length, output_length: how many labels and steps count, [batch].
      mask_index: the class that stands for no label.

    Raises:
      InvalidArgumentError: if the batches differ.
    """
    labels, logits = tensor(target, "int32"), tensor(output)
    logits = math.cast(logits, result_type(logits.dtype, "float32"))
    sizes = tensor(target_length, "int32"), tensor(output_length, "int32")
    batches = {x.shape[0] for x in (labels, logits, *sizes) if x.ndim} - {None}
    ranks = [x.ndim for x in (labels, logits, *sizes)]
    if ranks != [2, 3, 1, 1] or len(batches) > 1:
        raise errors.invalid(
            "ctc_loss", "[batch, labels], [batch, time, classes], [batch] and [batch]",
            ", ".join(shapes.text(x.shape) for x in (labels, logits, *sizes)),
        )  # fmt: skip
    blank = mask_index + int(logits.shape[-1]) if mask_index < 0 else mask_index
    return surprise(labels, activations.log_softmax(logits, axis=-1), *sizes, blank)


@operation("nn.CTCDecode", "strategy", "beam_width", "top_paths", "merge_repeated", "mask_index")
def ctc_decode(
    inputs: Any, sequence_lengths: Any, strategy: str = "greedy", beam_width: int = 100,
    top_paths: int = 1, merge_repeated: bool = True, mask_index: int = 0,
) -> Any:  # fmt: skip
    """Returns the labels that logits mean, and how good they are; decoded on the host.

    Args:
      inputs: logits [batch, time, classes].
      sequence_lengths: how many steps count, [batch].
      strategy: "greedy" takes the best class of each step; "beam_search" follows the
        `beam_width` best labellings.
      top_paths: how many labellings a beam search returns.
      merge_repeated: whether "greedy" takes repeated labels as one.
      mask_index: the class that stands for no label.

    Returns:
      Labels int32 [paths, batch, time] with -1 at the ends, and for greedy the negative sum of the
      best logits, else the logarithm of the probability: [batch, paths].

    Source: Graves et al. 2006, Connectionist temporal classification, ICML; Hwang & Sung 2016,
    Character-level incremental speech recognition (prefix beam search).
    """
    merges = merge_repeated and strategy == "greedy"
    return decoded(inputs, sequence_lengths, strategy, beam_width, top_paths, merges, mask_index)


def decoded(inputs: Any, sequence_lengths: Any, strategy: str, beam_width: int, top_paths: int,
            merge_repeated: bool, mask_index: int) -> Any:  # fmt: skip
    """Does the work of `ctc_decode`; here `merge_repeated` also shortens what a search found."""
    logits = tensor(inputs)
    dtype = result_type(logits.dtype, "float32")
    logits = math.cast(logits, dtype)
    lengths = tensor(sequence_lengths, "int32")
    if strategy not in ("greedy", "beam_search"):
        raise ValueError(
            f"Invalid strategy {strategy}. Supported values are 'greedy' and 'beam_search'."
        )
    if logits.ndim != 3 or lengths.ndim != 1:
        raise errors.invalid(
            "ctc_decode", "[batch, time, classes] and [batch]",
            f"{shapes.text(logits.shape)} and {shapes.text(lengths.shape)}",
        )  # fmt: skip
    batch, steps, classes = logits.shape
    blank = mask_index + int(classes) if mask_index < 0 else mask_index
    paths = 1 if strategy == "greedy" else top_paths

    def decode(rows: Any, ends: Any) -> Any:
        labels = np.full((paths, rows.shape[0], rows.shape[1]), -1, np.int32)
        scores = np.zeros((rows.shape[0], paths), rows.dtype)
        for i, (row, end) in enumerate(zip(rows, ends)):
            if strategy == "greedy":
                found = [_greedy(row[:end], merge_repeated, blank)]
            else:
                found = _beam_search(row[:end].astype(np.float64), beam_width, paths, blank)
                if merge_repeated:
                    found = [([k for k, _ in itertools.groupby(t)], score) for t, score in found]
            for path, (text, score) in enumerate(found):
                labels[path, i, : len(text)] = text
                scores[i, path] = score
        return labels, scores

    return tuple(
        numpy_function(
            decode, [logits, lengths],
            [specs.TensorSpec([paths, batch, steps], dtypes.int32),
             specs.TensorSpec([batch, paths], dtypes.as_dtype(dtype))],
        )
    )  # fmt: skip


def _greedy(rows: Any, merge_repeated: bool, blank: int) -> tuple[list[int], float]:
    best = rows.argmax(-1)
    kept, last = [], -1
    for label in best.tolist():
        if label != blank and not (merge_repeated and label == last):
            kept.append(label)
        last = label
    return kept, -rows.max(-1).sum()


def _beam_search(rows: Any, width: int, paths: int, blank: int) -> list[tuple[Any, float]]:
    """Returns the best labellings with the logarithms of their probabilities.

    Each labelling is kept with two numbers: for paths that end in a blank, and in its last label.
    """
    high = rows.max(-1, keepdims=True)
    rows = rows - high - np.log(np.exp(rows - high).sum(-1, keepdims=True))
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -maths.inf)}
    for row in rows.tolist():
        grown: dict[tuple[int, ...], tuple[float, float]] = {}

        def add(text: Any, blanks: float, labels: float, grown: Any = grown) -> None:
            old = grown.get(text, (-maths.inf, -maths.inf))
            grown[text] = (np.logaddexp(old[0], blanks), np.logaddexp(old[1], labels))

        for text, (blanks, labels) in beams.items():
            total = np.logaddexp(blanks, labels)
            add(text, total + row[blank], labels + row[text[-1]] if text else -maths.inf)
            for label, chance in enumerate(row):
                if label != blank:
                    # The same label again is a new one after a blank only.
                    start = blanks if text and label == text[-1] else total
                    add((*text, label), -maths.inf, start + chance)
        ranked = sorted(grown.items(), key=lambda item: -np.logaddexp(*item[1]))
        beams = dict(ranked[:width])
    ranked = sorted(beams.items(), key=lambda item: -np.logaddexp(*item[1]))
    return [(list(text), float(np.logaddexp(*both))) for text, both in ranked[:paths]]

"""CTC and recurrent loops of `tf.keras.backend`, in terms of `keras.ops` and of the layers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.core.convert import convert_to_tensor
from distflow.keras import settings
from distflow.keras.layers.rnn import time_loop as loops
from distflow.keras.ops import ctc
from distflow.ops import array, math


def ctc_batch_cost(y_true: Any, y_pred: Any, input_length: Any, label_length: Any) -> Any:
    """Returns -log(probability of the labels), [batch, 1]; the last class is the blank.

    Args:
      y_true: class numbers [batch, labels].
      y_pred: probabilities [batch, time, classes].
      input_length, label_length: how many steps and labels count, [batch, 1].
    """
    found = ctc.ctc_loss(
        y_true, _logarithms(y_pred), array.squeeze(label_length, -1),
        array.squeeze(input_length, -1), mask_index=-1,
    )  # fmt: skip
    return array.expand_dims(found, 1)


def ctc_decode(y_pred: Any, input_length: Any, greedy: bool = True, beam_width: int = 100,
               top_paths: int = 1) -> tuple[list[Any], Any]:  # fmt: skip
    """Returns ([labels int32 [batch, time], -1 at the ends, for each path], scores).

    Args:
      y_pred: probabilities [batch, time, classes]; the last class is the blank.
      input_length: how many steps count, [batch].
      greedy: the best class of each step, or else the best labellings that a beam search finds.
    """
    labels, scores = ctc.decoded(
        _logarithms(y_pred), input_length, "greedy" if greedy else "beam_search", beam_width,
        top_paths, True, -1,
    )  # fmt: skip
    return array.unstack(labels), scores


def _logarithms(y_pred: Any) -> Any:
    return math.log(convert_to_tensor(y_pred) + settings.epsilon())


def rnn(
    step_function: Callable[..., Any], inputs: Any, initial_states: Any,
    go_backwards: bool = False, mask: Any = None, constants: Any = None, unroll: bool = False,
    input_length: Any = None, time_major: bool = False, zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Runs (row, states) -> (output, new states) over time.

    Args:
      inputs: [batch, time, ...]; [time, batch, ...] with `time_major`.
      initial_states: list of tensors [batch, ...].
      mask: [batch, time] or [batch, time, 1], False where a step keeps the states and the output.
      constants: handed to each step after the states.
      zero_output_for_mask: masked steps give zeros.
      return_all_outputs: whether the outputs of all steps are wanted; else the last one stands
        alone, with one step.

    Returns:
      (last output [batch, ...], outputs [batch, time, ...], last states).
    """
    rows = convert_to_tensor(inputs)
    rows = rows if time_major else loops.time_major(rows)
    keep = None
    if mask is not None:
        keep = math.cast(convert_to_tensor(mask), "bool")
        keep = array.expand_dims(keep, -1) if keep.ndim == 2 else keep
        keep = keep if time_major else loops.time_major(keep)
    more = list(constants or [])

    def step(row: Any, states: Any) -> Any:
        output, new = step_function(row, [*states, *more])
        return output, list(new)

    loop = loops.Loop(go_backwards, unroll, zero_output_for_mask, return_all_outputs)
    last, outputs, states = loop.run(
        step, rows, [convert_to_tensor(s) for s in initial_states], keep
    )
    if outputs is None:
        outputs = array.expand_dims(last, 0)
    return last, outputs if time_major else loops.time_major(outputs), states

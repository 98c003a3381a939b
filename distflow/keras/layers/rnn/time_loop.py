"""The loop of recurrent layers over time, with masks.

A step that is masked keeps the states and repeats the output before it (zeros before the first),
or gives zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distflow.base import nest
from distflow.base.specs import TensorSpec
from distflow.function.map_fn import run_rows
from distflow.graph.build import output_specs
from distflow.ops import array, dims


@dataclass(frozen=True)
class Loop:
    """How to go over time.

    Attributes:
      go_backwards: from the last step to the first; outputs come in the order of computation.
      unroll: write each step into the trace.
      zero_output_for_mask: masked steps give zeros.
      all_outputs: whether the outputs of all steps are wanted, or the last one only.
      output_state: which of the (flattened) new states the output of a step is; None: no one.
      starts_from_zero: whether that state is zero at the beginning.
    """

    go_backwards: bool = False
    unroll: bool = False
    zero_output_for_mask: bool = False
    all_outputs: bool = False
    output_state: int | None = None
    starts_from_zero: bool = False

    def run(
        self, step: Callable[..., Any], rows: Any, states: Any, mask: Any = None
    ) -> tuple[Any, Any, Any]:
        """Returns (last output, all outputs or None, last states), outputs in time order first.

        Args:
          step: (row, states) -> (output, new states of the same structure).
          rows: [time, batch, ...].
          states: structure of tensors [batch, ...].
          mask: bool [time, batch, ...], False where a step is left out.
        """
        if mask is not None:
            return self._masked(step, rows, states, mask)
        stacks = self.all_outputs or self.output_state is None

        def body(carried: Any, row: Any) -> Any:
            output, new = step(row, carried)
            return new, output if stacks else ()

        states, outputs = run_rows(body, states, rows, self.go_backwards, self.unroll)
        last = self._last(outputs) if self.output_state is None else self._output_in(states)
        return last, self._in_order(outputs), states

    def _masked(self, step: Any, rows: Any, states: Any, mask: Any) -> tuple[Any, Any, Any]:
        zeros = self.zero_output_for_mask
        # The output before is the state before, if both are zeros before the first step.
        from_state = self.output_state is not None and self.starts_from_zero and not zeros
        before = () if from_state or zeros else _blank(step, rows, states)
        stacks = self.all_outputs or zeros

        def body(carried: Any, row: Any) -> Any:
            old, before = carried
            x, keep = row
            output, new = step(x, old)
            new = nest.map_structure(lambda a, b: _choose(keep, a, b), new, old)
            if from_state:
                output = self._output_in(new)
            elif zeros:
                output = _choose(keep, output, array.zeros_like(output))
            else:
                output = before = _choose(keep, output, before)
            return (new, before), output if stacks else ()

        (states, before), outputs = run_rows(
            body, (states, before), (rows, mask), self.go_backwards, self.unroll
        )
        if zeros:
            last = self._last(outputs)
        else:
            last = self._output_in(states) if from_state else before
        return last, self._in_order(outputs), states

    def _output_in(self, states: Any) -> Any:
        assert self.output_state is not None
        return nest.flatten(states)[self.output_state]

    def _last(self, outputs: Any) -> Any:
        return outputs[0] if self.go_backwards else outputs[-1]

    def _in_order(self, outputs: Any) -> Any:
        if not self.all_outputs:
            return None
        return array.reverse(outputs, [0]) if self.go_backwards else outputs


def time_major(x: Any) -> Any:
    """Returns x [batch, time, ...] as [time, batch, ...], or the other way round."""
    return array.transpose(x, [1, 0, *range(2, x.ndim)])


def _choose(keep: Any, new: Any, old: Any) -> Any:
    """`new` where the mask [batch, ...] is true, else `old`."""
    for _ in range(new.ndim - keep.ndim):
        keep = array.expand_dims(keep, -1)
    return array.where(keep, new, old)


def _blank(step: Any, rows: Any, states: Any) -> Any:
    """Returns zeros like a step's output."""
    specs = nest.map_structure(lambda t: TensorSpec(t.shape, t.dtype), states)
    output, _ = output_specs(step, TensorSpec(rows.shape[1:], rows.dtype), specs)
    sizes = [dims.size(rows, 1), *output.shape[1:]]
    return array.zeros(sizes, output.dtype)

"""RNN: a cell applied along the time axis."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from distflow.base import errors, nest
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.keras import serialization
from distflow.keras.engine import call_context
from distflow.keras.engine.layer import Layer
from distflow.keras.engine.variable import LayerVariable, autocast_scope
from distflow.keras.layers.arguments import described
from distflow.keras.layers.rnn.cell import GatedCell
from distflow.keras.layers.rnn.dropout_cell import DropoutRNNCell
from distflow.keras.layers.rnn.stacked_cells import StackedRNNCells, takes
from distflow.keras.layers.rnn.time_loop import Loop, time_major
from distflow.ops import array, dims, math

_UNROLL = """Cannot unroll a RNN if the time dimension is undefined.
- If using a Sequential model, specify the time dimension by passing an `Input()` as your first \
layer.
- If using the functional API, specify the time dimension by passing a `shape` or `batch_shape` \
argument to your `Input()`."""


class RNN(Layer):
    """The outputs of a cell over the steps of sequences [batch, time, ...].

    Args:
      cell: has `state_size` and `call(inputs, states) -> (output, new states)`, perhaps
        `output_size` and `get_initial_state(batch_size)`; or a list of such cells, stacked.
      return_sequences: all outputs [batch, time, ...], not only the last one.
      return_state: also the last states, behind the output.
      go_backwards: from the last step to the first; outputs stand in that order, too.
      stateful: each batch starts from the states at the end of the batch before.
      unroll: write all steps into the trace: faster for short sequences.
      zero_output_for_mask: steps that a mask leaves out give zeros, not the output before.
    """

    _untracked_attributes = Layer._untracked_attributes | {"states"}

    def __init__(self, cell: Any, return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
                 zero_output_for_mask: bool = False, **kwargs: Any):  # fmt: skip
        if isinstance(cell, list | tuple):
            cell = StackedRNNCells(cell)
        if not hasattr(cell, "call"):
            raise errors.invalid("RNN", "Argument `cell` should have a `call` method", repr(cell))
        if not hasattr(cell, "state_size"):
            raise errors.invalid(
                "RNN", "The RNN cell should have a `state_size` attribute (single integer or list "
                "of integers, one integer per RNN state)", repr(cell),
            )  # fmt: skip
        super().__init__(**kwargs)
        self.zero_output_for_mask = zero_output_for_mask
        self.cell = cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.supports_masking = True
        self.states: Any = None
        size: Any = cell.state_size
        if not isinstance(size, int | list | tuple):
            raise errors.invalid(
                "RNN", "state_size must be an integer, or a list/tuple of integers (one for each "
                "state tensor)", repr(size),
            )  # fmt: skip
        self.single_state = isinstance(size, int)
        self.state_size = [size] if isinstance(size, int) else list(size)

    # -- shapes and states -----------------------------------------------------------------------

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Builds the cell, and the state variables of a stateful layer."""
        step_shape = (sequences_shape[0], *sequences_shape[2:])
        if isinstance(self.cell, Layer) and not self.cell.built:
            self.cell.build(step_shape)
        if self.stateful:
            if self.states is not None:
                self.reset_state()
            else:
                self._make_states(sequences_shape)

    def _make_states(self, sequences_shape: Any) -> None:
        if sequences_shape[0] is None:
            raise errors.invalid(
                self.name, "When using `stateful=True` in a RNN, the batch size must be static",
                f"dynamic batch size: sequence.shape={tuple(sequences_shape)}",
            )  # fmt: skip

        with context.init_scope():
            first = self.get_initial_state(sequences_shape[0])
        with call_context.layer_scope(self):
            self.states = nest.map_structure(
                lambda x: LayerVariable(
                    x, trainable=False, name="rnn_state", dtype=self.variable_dtype
                ),
                first,
            )

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """Returns the states before the first step: the cell's, or zeros."""
        found = getattr(self.cell, "get_initial_state", None)
        if found is None:
            dtype = getattr(self.cell, "compute_dtype", self.compute_dtype)
            return [array.zeros([batch_size, size], dtype) for size in self.state_size]
        states = found(batch_size=batch_size)
        return list(states) if isinstance(states, list | tuple) else [states]

    def reset_state(self) -> None:
        """Sets the states of a stateful layer to zero."""
        for variable in nest.flatten(self.states) if self.states is not None else ():
            variable.assign(array.zeros_like(variable))

    def reset_states(self) -> None:
        """The same as `reset_state`."""
        self.reset_state()

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Returns the shape of the output, and of the states with `return_state`."""
        batch, length = sequences_shape[:2]
        size = getattr(self.cell, "output_size", None)
        size = self.state_size[0] if size is None else size
        if not isinstance(size, int):
            raise errors.invalid(self.name, "output_size must be an integer", repr(size))
        output = (batch, length, size) if self.return_sequences else (batch, size)
        if not self.return_state:
            return output
        return output, *(
            (batch, s) if isinstance(s, int) else [(batch, one) for one in s]
            for s in self.state_size
        )

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Returns the mask of the outputs: that of the inputs with `return_sequences`."""
        output_mask = nest.flatten(mask)[0] if self.return_sequences else None
        return [output_mask, *(None for _ in self.state_size)] if self.return_state else output_mask

    # -- computation -----------------------------------------------------------------------------

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None,
             training: Any = False) -> Any:  # fmt: skip
        """Returns the output, and the last states with `return_state`."""
        if self.unroll and sequences.shape[1] is None:
            raise ValueError(_UNROLL)
        states = self._first_states(sequences, initial_state)
        from_zero = initial_state is None and not self.stateful and _starts_from_zero(self.cell)
        with dropout_masks(self.cell, sequences, states, training):
            last, outputs, states = self._run(sequences, states, mask, training, from_zero)
        states = nest.map_structure(lambda t: math.cast(t, self.compute_dtype), states)
        if self.stateful:
            for variable, state in zip(nest.flatten(self.states), nest.flatten(states)):
                variable.assign(state)
        output = math.cast(outputs if self.return_sequences else last, self.compute_dtype)
        return (output, *states) if self.return_state else output

    def _first_states(self, sequences: Any, initial_state: Any) -> list[Any]:
        if self.stateful:
            expected, found = nest.flatten(self.states)[0].shape[0], sequences.shape[0]
            if found not in (None, expected):
                raise errors.invalid(
                    self.name, "If an RNN is stateful, the batch size of the input sequences must "
                    "be the same as the batch size of the initial state", f"{found}, not {expected}"
                )  # fmt: skip
        if initial_state is None:
            initial_state = (
                self.states if self.stateful else self.get_initial_state(dims.size(sequences, 0))
            )
        if not isinstance(initial_state, list | tuple):
            initial_state = [initial_state]
        if len(initial_state) != len(self.state_size):
            raise errors.invalid(
                self.name, f"{len(self.state_size)} initial states are needed",
                str(len(initial_state)),
            )  # fmt: skip
        cells = self.cell.cells if isinstance(self.cell, StackedRNNCells) else None
        return [
            _cast(state, getattr(cells[i] if cells else self.cell, "compute_dtype", None))
            for i, state in enumerate(initial_state)
        ]

    def _run(self, sequences: Any, states: Any, mask: Any, training: Any,
             starts_from_zero: bool) -> tuple[Any, Any, Any]:  # fmt: skip
        mask = nest.flatten(mask)[0]
        if mask is not None:
            mask = time_major(math.cast(mask, "bool"))
        rows, step = _prepared(self.cell, time_major(sequences), training)
        loop = Loop(
            self.go_backwards, self.unroll, self.zero_output_for_mask, self.return_sequences,
            _output_state(self.cell), starts_from_zero,
        )  # fmt: skip
        last, outputs, states = loop.run(step, rows, states, mask)
        return last, None if outputs is None else time_major(outputs), states

    # -- configuration ---------------------------------------------------------------------------

    def _loop_config(self) -> dict[str, Any]:
        return described(
            self, "return_sequences", "return_state", "go_backwards", "stateful", "unroll",
            "zero_output_for_mask",
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        cell = serialization.serialize_keras_object(self.cell)
        return super().get_config() | self._loop_config() | {"cell": cell}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns a layer made from `get_config()`."""
        config = dict(config)
        if "cell" in config:
            config["cell"] = serialization.deserialize_keras_object(config["cell"], custom_objects)
        return super().from_config(config)


# -- cells in the loop -----------------------------------------------------------------------------


def _prepared(cell: Any, rows: Any, training: Any) -> tuple[Any, Any]:
    """Returns what the steps read, and (row, states) -> (output, new states).

    The inputs' part of the gates is computed here, for all steps at once, where the cell can.
    """
    first = cell.cells[0] if type(cell) is StackedRNNCells else cell
    if not (isinstance(first, GatedCell) and first.splits and first.activity_regularizer is None):
        arguments = {"training": training} if takes(cell, "training") else {}

        def step(row: Any, states: Any) -> Any:
            output, new = cell(row, states, **arguments)
            return output, _like(new, states)

        return rows, step

    with own_dtype(first):
        rows = first.project(rows, training)

    def advance(row: Any, states: Any) -> Any:
        with own_dtype(first):
            output, new = first.advance(row, states if first is cell else _listed(states[0]),
                                        training)  # fmt: skip
        if first is cell:
            return output, new
        output, others = cell.through(cell.cells[1:], output, states[1:], training)
        return output, _like([new, *others], states)

    return rows, advance


def _cast(state: Any, dtype: Any) -> Any:
    """Returns a state (or the states of a stacked cell) in the dtype that the cell returns."""

    def cast(x: Any) -> Any:
        x = convert_to_tensor(x)
        return x if dtype is None else math.cast(x, dtype)

    return nest.map_structure(cast, state)


def own_dtype(cell: Any) -> Any:
    """Returns the scope in which a cell reads its weights in its compute dtype."""
    return autocast_scope(cell.compute_dtype if cell.autocast else None)


def _listed(states: Any) -> list[Any]:
    return list(states) if isinstance(states, list | tuple) else [states]


def _like(new: Any, old: Any) -> Any:
    """Returns new states in the structure of the old ones; a single one may come bare."""
    leaves = nest.flatten(new)
    if len(leaves) != len(nest.flatten(old)):
        raise errors.invalid(
            "RNN", f"the cell must return {len(nest.flatten(old))} states", str(len(leaves))
        )
    return nest.pack_sequence_as(old, leaves)


def _output_state(cell: Any) -> int | None:
    """Returns which of the flattened states a cell's output is, None if that is not known."""
    if type(cell) is StackedRNNCells:
        last = _output_state(cell.cells[-1])
        before = sum(len(_listed(c.state_size)) for c in cell.cells[:-1])
        return None if last is None else before + last
    known = isinstance(cell, GatedCell) and cell.splits and cell.activity_regularizer is None
    return 0 if known else None


def _starts_from_zero(cell: Any) -> bool:
    cells = cell.cells if type(cell) is StackedRNNCells else [cell]
    return all(
        getattr(type(one), "get_initial_state", None) is GatedCell.get_initial_state
        for one in cells
    )


@contextlib.contextmanager
def dropout_masks(cell: Any, sequences: Any, states: Any, training: Any) -> Iterator[None]:
    """Draws the masks of the cells before the loop, and forgets them behind it."""
    cells = [c for c in getattr(cell, "cells", [cell]) if isinstance(c, DropoutRNNCell)]
    _forget(cells)
    try:
        if training:
            _draw(cell, sequences[:, 0], states)
        yield
    finally:
        _forget(cells)


def _draw(cell: Any, step: Any, states: Any) -> None:
    if isinstance(cell, StackedRNNCells):
        for one, state in zip(cell.cells, states):
            _draw(one, step, _listed(state))
            step = nest.flatten(state)[0]  # of the shape of the cell's output
    elif isinstance(cell, DropoutRNNCell):
        cell.get_dropout_mask(step)
        cell.get_recurrent_dropout_mask(nest.flatten(states)[0])


def _forget(cells: Any) -> None:
    for cell in cells:
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()

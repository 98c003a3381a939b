"""SimpleRNN: output = activation(x @ kernel + output before @ recurrent_kernel + bias)."""

from __future__ import annotations

from typing import Any

from distflow.keras.layers.rnn.cell import GatedCell, settings_of
from distflow.keras.layers.rnn.cell_rnn import CellRNN


class SimpleRNNCell(GatedCell):
    """A step of SimpleRNN.

    Args:
      units: size of the output, which is the state, too.
      dropout, recurrent_dropout: rates for the inputs and for the state.
    """

    def __init__(self, units: int, activation: Any = "tanh", use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
                 bias_regularizer: Any = None, kernel_constraint: Any = None,
                 recurrent_constraint: Any = None, bias_constraint: Any = None,
                 dropout: float = 0.0, recurrent_dropout: float = 0.0, seed: Any = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(units, settings_of(locals()), **kwargs)

    def call(self, sequence: Any, states: Any, training: Any = False) -> Any:
        """Returns (output, new states) of one step [batch, features]."""
        return super().call(sequence, states, training)

    def advance(self, projected: Any, states: Any, training: Any = False) -> Any:
        """Returns (output, [output]), given x @ kernel + bias."""
        output = self.activation(projected + self._recurrent(states[0], training))
        return output, [output]


class SimpleRNN(CellRNN):
    """The fully connected recurrent layer: each output is fed into the next step."""

    _cell = SimpleRNNCell
    _cell_name = "simple_rnn_cell"

    def __init__(self, units: int, activation: Any = "tanh", use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
                 bias_regularizer: Any = None, activity_regularizer: Any = None,
                 kernel_constraint: Any = None, recurrent_constraint: Any = None,
                 bias_constraint: Any = None, dropout: float = 0.0,
                 recurrent_dropout: float = 0.0, return_sequences: bool = False,
                 return_state: bool = False, go_backwards: bool = False, stateful: bool = False,
                 unroll: bool = False, seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(units, settings_of(locals()), **kwargs)

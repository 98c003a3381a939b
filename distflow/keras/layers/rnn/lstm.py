"""LSTM: long short-term memory.

Source: Hochreiter & Schmidhuber 1997; the forget gate of Gers, Schmidhuber & Cummins 2000.
"""

from __future__ import annotations

from typing import Any

from distflow.keras.layers.rnn.cell import GatedCell, settings_of
from distflow.keras.layers.rnn.cell_rnn import GatedRNN, of_cell
from distflow.ops import array


class LSTMCell(GatedCell):
    """A step of LSTM; its states are [h, c], its gates stand in the order i, f, c, o.

    c = f * c before + i * activation(...); h = o * activation(c), each gate being
    recurrent_activation(x @ kernel + h before @ recurrent_kernel + bias).

    Args:
      units: size of h and c.
      unit_forget_bias: the bias of the forget gate starts from ones.
      dropout, recurrent_dropout: rates for the inputs and for h.
    """

    num_gates = 4
    # Where the gates stand side by side.
    _gate_axis = -1

    def __init__(self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid",
                 use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 unit_forget_bias: bool = True, kernel_regularizer: Any = None,
                 recurrent_regularizer: Any = None, bias_regularizer: Any = None,
                 kernel_constraint: Any = None, recurrent_constraint: Any = None,
                 bias_constraint: Any = None, dropout: float = 0.0,
                 recurrent_dropout: float = 0.0, seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(units, settings_of(locals()), **kwargs)
        self.unit_forget_bias = unit_forget_bias
        self.state_size = [units, units]

    def _initializer(self, kind: str) -> Any:
        if kind != "bias" or not self.unit_forget_bias:
            return super()._initializer(kind)

        def bias(shape: Any, dtype: Any = None) -> Any:
            n = self.units
            parts = [
                self.bias_initializer((n,), dtype=dtype), array.ones((n,), dtype),
                self.bias_initializer((2 * n,), dtype=dtype),
            ]  # fmt: skip
            return array.concat(parts, 0)

        return bias

    def advance(self, projected: Any, states: Any, training: Any = False) -> Any:
        """Returns (h, [h, c]), given x @ kernel + bias."""
        h, c = states
        z = projected + self._recurrent(h, training)
        i, f, g, o = array.split(z, 4, axis=self._gate_axis)
        gate = self.recurrent_activation
        c = gate(f) * c + gate(i) * self.activation(g)
        h = gate(o) * self.activation(c)
        return h, [h, c]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal cell."""
        return super().get_config() | {"unit_forget_bias": self.unit_forget_bias}


class LSTM(GatedRNN):
    """Long short-term memory over sequences [batch, time, features]."""

    _cell = LSTMCell
    _cell_name = "lstm_cell"

    def __init__(self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid",
                 use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 unit_forget_bias: bool = True, kernel_regularizer: Any = None,
                 recurrent_regularizer: Any = None, bias_regularizer: Any = None,
                 activity_regularizer: Any = None, kernel_constraint: Any = None,
                 recurrent_constraint: Any = None, bias_constraint: Any = None,
                 dropout: float = 0.0, recurrent_dropout: float = 0.0, seed: Any = None,
                 return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
                 use_cudnn: Any = "auto", **kwargs: Any):  # fmt: skip
        super().__init__(units, settings_of(locals()), **kwargs)

    unit_forget_bias = of_cell("unit_forget_bias")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"unit_forget_bias": self.unit_forget_bias}

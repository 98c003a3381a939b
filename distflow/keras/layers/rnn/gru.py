"""GRU: gated recurrent units.

Source: Cho et al. 2014, arXiv:1406.1078 (reset before the product), and its first version v1
(reset behind it, as in cuDNN).
"""

from __future__ import annotations

from typing import Any

from distflow.keras.layers.rnn.cell import GatedCell, settings_of
from distflow.keras.layers.rnn.cell_rnn import GatedRNN, of_cell
from distflow.ops import array
from distflow.ops.matmul import matmul


class GRUCell(GatedCell):
    """A step of GRU; its gates stand in the order z, r, h.

    h = z * h before + (1 - z) * activation(candidate).

    Args:
      units: size of h.
      reset_after: r multiplies the product with the recurrent kernel (then the bias has two rows,
        one for each product), not the state before it.
      dropout, recurrent_dropout: rates for the inputs and for h.
    """

    num_gates = 3

    def __init__(self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid",
                 use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
                 bias_regularizer: Any = None, kernel_constraint: Any = None,
                 recurrent_constraint: Any = None, bias_constraint: Any = None,
                 dropout: float = 0.0, recurrent_dropout: float = 0.0, reset_after: bool = True,
                 seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(units, settings_of(locals()), **kwargs)
        self.reset_after = reset_after

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def _input_bias(self) -> Any:
        return self.bias[0] if self.reset_after else self.bias

    def advance(self, projected: Any, states: Any, training: Any = False) -> Any:
        """Returns (h, [h]), given x @ kernel + the inputs' bias."""
        h = states[0]
        gate = self.recurrent_activation
        x_z, x_r, x_h = array.split(projected, 3, axis=-1)
        if self.reset_after:
            inner = self._recurrent(h, training)
            if self.bias is not None:
                inner = inner + self.bias[1]
            of_z, of_r, of_h = array.split(inner, 3, axis=-1)
            z, r = gate(x_z + of_z), gate(x_r + of_r)
            candidate = self.activation(x_h + r * of_h)
        else:
            of_z, of_r, reset = self._before(h, training)
            z, r = gate(x_z + of_z), gate(x_r + of_r)
            candidate = self.activation(x_h + reset(r))
        h = z * h + (1 - z) * candidate
        return h, [h]

    def _before(self, h: Any, training: Any) -> tuple[Any, Any, Any]:
        """Returns the state's parts of z and r, and how that of the candidate follows from r."""
        kernel, n = self.recurrent_kernel, 2 * self.units
        if not self._drops(training, "recurrent_dropout"):
            of_z, of_r = array.split(matmul(h, kernel[:, :n]), 2, axis=-1)
            return of_z, of_r, lambda r: matmul(r * h, kernel[:, n:])
        of_z, of_r, of_h = (h * mask for mask in self.get_recurrent_dropout_mask(h))
        k_z, k_r, k_h = array.split(kernel, 3, axis=1)
        return matmul(of_z, k_z), matmul(of_r, k_r), lambda r: matmul(r * of_h, k_h)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal cell."""
        return super().get_config() | {"reset_after": self.reset_after}


class GRU(GatedRNN):
    """Gated recurrent units over sequences [batch, time, features]."""

    _cell = GRUCell
    _cell_name = "gru_cell"

    def __init__(self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid",
                 use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
                 recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
                 bias_regularizer: Any = None, activity_regularizer: Any = None,
                 kernel_constraint: Any = None, recurrent_constraint: Any = None,
                 bias_constraint: Any = None, dropout: float = 0.0,
                 recurrent_dropout: float = 0.0, seed: Any = None,
                 return_sequences: bool = False, return_state: bool = False,
                 go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
                 reset_after: bool = True, use_cudnn: Any = "auto", **kwargs: Any):  # fmt: skip
        super().__init__(units, settings_of(locals()), **kwargs)

    reset_after = of_cell("reset_after")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"reset_after": self.reset_after}

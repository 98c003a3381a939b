"""What SimpleRNNCell, LSTMCell and GRUCell share: arguments, weights, and a step in two halves.

The product of the inputs with the kernel does not depend on the state, so the layers compute it
for all steps at once, before the loop (`project`); the loop only does the rest (`advance`).
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import activations, constraints, initializers, random, regularizers
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described, positive
from distflow.keras.layers.rnn.dropout_cell import DropoutRNNCell
from distflow.ops import array, math
from distflow.ops.matmul import matmul, tensordot

# The arguments that describe weights, in the order of configs.
WEIGHTS = (
    "kernel_initializer", "recurrent_initializer", "bias_initializer", "kernel_regularizer",
    "recurrent_regularizer", "bias_regularizer", "kernel_constraint", "recurrent_constraint",
    "bias_constraint",
)  # fmt: skip
_LOOKUPS = {
    "initializer": initializers.get,
    "regularizer": regularizers.get,
    "constraint": constraints.get,
}


class GatedCell(DropoutRNNCell, Layer):
    """A cell whose weights are `kernel`, `recurrent_kernel` and `bias`, gates side by side.

    A subclass sets `num_gates` and has `advance`; one that has a `call` of its own is always
    called step by step.
    """

    num_gates = 1
    # Whether `call` is `project`, then `advance`.
    splits = True
    # Dimensions of a step's inputs.
    _step_rank = 2

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "call" in cls.__dict__ and "advance" not in cls.__dict__:
            cls.splits = False

    def __init__(self, units: int, settings: dict[str, Any], **kwargs: Any):
        positive(type(self).__name__, "units", units)
        implementation = kwargs.pop("implementation", 2)
        super().__init__(**kwargs)
        self.implementation = implementation
        self.units = units
        self.activation = activations.get(settings["activation"])
        if "recurrent_activation" in settings:
            self.recurrent_activation = activations.get(settings["recurrent_activation"])
        self.use_bias = settings["use_bias"]
        for name in WEIGHTS:
            setattr(self, name, _LOOKUPS[name.rsplit("_", 1)[-1]](settings[name]))
        self.dropout = min(1.0, max(0.0, settings["dropout"]))
        self.recurrent_dropout = min(1.0, max(0.0, settings["recurrent_dropout"]))
        if self.num_gates > 1:
            if self.recurrent_dropout:
                self.implementation = 1
            if self.implementation == 1:
                self.dropout_mask_count = self.num_gates
        self.seed = settings["seed"]
        self.seed_generator = random.SeedGenerator(self.seed)
        self.state_size: Any = units
        self.output_size = units

    def build(self, input_shape: Any) -> None:
        """Makes the weights."""
        if input_shape[-1] is None:
            raise errors.invalid(
                type(self).__name__, "the last dimension of the inputs must be known",
                f"input shape {tuple(input_shape)}",
            )  # fmt: skip
        width = self.num_gates * self.units
        self.kernel = self._weight("kernel", (int(input_shape[-1]), width))
        self.recurrent_kernel = self._weight("recurrent_kernel", (self.units, width))
        self.bias: Any = self._weight("bias", self._bias_shape()) if self.use_bias else None

    def _weight(self, name: str, shape: tuple[int, ...]) -> Any:
        kind = name.split("_")[0]
        return self.add_weight(
            name=name, shape=shape, initializer=self._initializer(kind),
            regularizer=getattr(self, f"{kind}_regularizer"),
            constraint=getattr(self, f"{kind}_constraint"),
        )  # fmt: skip

    def _initializer(self, kind: str) -> Any:
        return getattr(self, f"{kind}_initializer")

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.num_gates * self.units,)

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Returns states of zeros [batch_size, units]."""
        count = len(self.state_size) if isinstance(self.state_size, list) else 1
        return [array.zeros([batch_size, self.units], self.compute_dtype) for _ in range(count)]

    # -- one step ------------------------------------------------------------------------------

    def call(self, inputs: Any, states: Any, training: Any = False) -> Any:
        """Returns (output, new states) of one step.

        Args:
          inputs: [batch, features].
          states: list of states [batch, units], or the only one itself.
        """
        several = isinstance(states, list | tuple)
        projected = self.project(inputs, training)
        output, new = self.advance(projected, states if several else [states], training)
        return output, new if several else new[0]

    def project(self, inputs: Any, training: Any = False) -> Any:
        """Returns the inputs' part of all gates, [..., gates * units], for any leading sizes."""
        x = math.cast(inputs, self.compute_dtype)
        masks = self._input_masks(x, training)
        if isinstance(masks, list):
            kernels = array.split(self.kernel, self.num_gates, axis=1)
            parts = [tensordot(x * m, k, 1) for m, k in zip(masks, kernels)]
            projected = array.concat(parts, -1)
        else:
            projected = tensordot(x if masks is None else x * masks, self.kernel, 1)
        return projected if self.bias is None else projected + self._input_bias()

    def _input_masks(self, x: Any, training: Any) -> Any:
        """Returns the masks for inputs with any leading dimensions before a step's."""
        if not self._drops(training, "dropout"):
            return None
        while x.ndim > self._step_rank:
            x = x[0]
        return self.get_dropout_mask(x)

    def _input_bias(self) -> Any:
        return self.bias

    def _drops(self, training: Any, which: str) -> bool:
        # At a rate of 1 LSTM and GRU cells leave dropout out.
        rate = getattr(self, which)
        return bool(training) and rate > 0 and (rate < 1 or self.num_gates == 1)

    def _recurrent(self, h: Any, training: Any) -> Any:
        """Returns h @ recurrent_kernel with the dropout of states."""
        if not self._drops(training, "recurrent_dropout"):
            return matmul(h, self.recurrent_kernel)
        masks = self.get_recurrent_dropout_mask(h)
        if not isinstance(masks, list):
            return matmul(h * masks, self.recurrent_kernel)
        kernels = array.split(self.recurrent_kernel, self.num_gates, axis=1)
        return array.concat([matmul(h * m, k) for m, k in zip(masks, kernels)], -1)

    def advance(self, projected: Any, states: Any, training: Any = False) -> Any:
        """Returns (output, list of new states), given the inputs' part of the gates."""
        raise NotImplementedError(f"{type(self).__name__} has no `advance`.")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal cell."""
        config = super().get_config() | {"units": self.units} | described_activations(self)
        config |= described(self, "use_bias", *WEIGHTS, "dropout", "recurrent_dropout")
        return config | {"seed": self.seed}


def settings_of(arguments: dict[str, Any], *others: str) -> dict[str, Any]:
    """Returns the arguments of a cell that a constructor got, from its `locals()`."""
    hidden = {"self", "units", "kwargs", "__class__", *others}
    return {name: value for name, value in arguments.items() if name not in hidden}


def described_activations(cell: Any) -> dict[str, Any]:
    """Returns the activations of a cell (or its layer) as they stand in its config."""
    names = [n for n in ("activation", "recurrent_activation") if hasattr(cell, n)]
    return {name: activations.serialize(getattr(cell, name)) for name in names}

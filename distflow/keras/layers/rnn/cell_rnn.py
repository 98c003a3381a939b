"""What SimpleRNN, LSTM and GRU share: an RNN over a cell that takes the layer's arguments."""

from __future__ import annotations

from typing import Any

from distflow.keras import regularizers
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.layers.arguments import described
from distflow.keras.layers.rnn.cell import WEIGHTS, described_activations
from distflow.keras.layers.rnn.rnn import RNN

# The arguments of the layers that are not the cell's.
LOOP = (
    "activity_regularizer", "return_sequences", "return_state", "go_backwards", "stateful",
    "unroll", "use_cudnn",
)  # fmt: skip


def of_cell(name: str) -> property:
    """Returns a property that is the cell's."""
    return property(lambda self: getattr(self.cell, name), doc=f"The cell's `{name}`.")


class CellRNN(RNN):
    """An RNN whose arguments are those of its cell, and those of the loop."""

    _cell: type
    _cell_name: str

    def __init__(self, units: int, settings: dict[str, Any], **kwargs: Any):
        cell_settings = {k: v for k, v in settings.items() if k not in LOOP}
        shared = {k: kwargs[k] for k in ("dtype", "trainable") if k in kwargs}
        cell = self._cell(
            units, **cell_settings, **shared, name=self._cell_name,
            implementation=kwargs.pop("implementation", 2),
        )  # fmt: skip
        loop = {k: v for k, v in settings.items() if k in LOOP and k != "use_cudnn"}
        super().__init__(cell, **loop, **kwargs)
        self.input_spec = InputSpec(ndim=3)

    units = of_cell("units")
    activation = of_cell("activation")
    use_bias = of_cell("use_bias")
    kernel_initializer = of_cell("kernel_initializer")
    recurrent_initializer = of_cell("recurrent_initializer")
    bias_initializer = of_cell("bias_initializer")
    kernel_regularizer = of_cell("kernel_regularizer")
    recurrent_regularizer = of_cell("recurrent_regularizer")
    bias_regularizer = of_cell("bias_regularizer")
    kernel_constraint = of_cell("kernel_constraint")
    recurrent_constraint = of_cell("recurrent_constraint")
    bias_constraint = of_cell("bias_constraint")
    dropout = of_cell("dropout")
    recurrent_dropout = of_cell("recurrent_dropout")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = {k: v for k, v in super().get_config().items() if k != "cell"}
        config |= self._size_config() | described_activations(self)
        config |= described(self, "use_bias", *WEIGHTS, "dropout", "recurrent_dropout")
        own = self.activity_regularizer
        return config | {"activity_regularizer": own and regularizers.serialize(own)}

    def _size_config(self) -> dict[str, Any]:
        return {"units": self.units}


class GatedRNN(CellRNN):
    """LSTM or GRU.

    `use_cudnn` is kept for Keras's sake; True is refused, as there is no such kernel.
    """

    def __init__(self, units: int, settings: dict[str, Any], **kwargs: Any):
        super().__init__(units, settings, **kwargs)
        self.use_cudnn = settings["use_cudnn"]
        if self.use_cudnn is True:
            raise ValueError(
                f"{type(self).__name__}: use_cudnn=True was specified, but there is no cuDNN here. "
                "Pass use_cudnn='auto'."
            )

    recurrent_activation = of_cell("recurrent_activation")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"seed": self.cell.seed}

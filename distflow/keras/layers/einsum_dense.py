"""EinsumDense: a dense layer whose product is any Einstein sum of inputs and kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from distflow.base import errors
from distflow.keras import activations, constraints, initializers, regularizers
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described, no_quantization
from distflow.keras.layers.lora import LoRA
from distflow.ops import math
from distflow.ops.matmul import einsum


class EinsumDense(LoRA, Layer):
    """activation(einsum(equation, x, kernel) + bias).

    Args:
      equation: two operands, such as "ab,bc->ac"; an ellipsis "..." at the same end of inputs and
        output stands for any dimensions.
      output_shape: of the output without the batch dimension and without the ellipsis; None for
        what the inputs decide.
      bias_axes: labels of the output that the bias has; None for no bias.
    """

    def __init__(self, equation: str, output_shape: Any, activation: Any = None,
                 bias_axes: str | None = None, kernel_initializer: Any = "glorot_uniform",
                 bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
                 bias_regularizer: Any = None, kernel_constraint: Any = None,
                 bias_constraint: Any = None, lora_rank: Any = None, lora_alpha: Any = None,
                 gptq_unpacked_column_size: Any = None, quantization_config: Any = None,
                 **kwargs: Any):  # fmt: skip
        no_quantization("EinsumDense", gptq_unpacked_column_size, quantization_config)
        super().__init__(**kwargs)
        self.equation = equation
        one = isinstance(output_shape, int) or output_shape is None
        self.partial_output_shape = (output_shape,) if one else tuple(output_shape)
        self.bias_axes = bias_axes
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self._set_lora(lora_rank, lora_alpha)

    @property
    def kernel(self) -> Any:
        """The kernel, with what LoRA has learned."""
        return self._with_lora()

    def build(self, input_shape: Any) -> None:
        """Makes kernel and bias."""
        found = analyse(self.equation, self.bias_axes, input_shape, self.partial_output_shape)
        self._kernel = self.add_weight(
            name="kernel", shape=found.kernel, initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )  # fmt: skip
        self.bias = None
        if found.bias is not None:
            self.bias = self.add_weight(
                name="bias", shape=found.bias, initializer=self.bias_initializer,
                regularizer=self.bias_regularizer, constraint=self.bias_constraint,
            )  # fmt: skip
        self.full_output_shape = found.output
        if self.lora_rank:
            self.built = True
            self.enable_lora(self.lora_rank, lora_alpha=self.lora_alpha)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Returns activation(einsum(equation, inputs, kernel) + bias)."""
        x = einsum(self.equation, math.cast(inputs, self.compute_dtype), self.kernel)
        if self.bias is not None:
            x = x + self.bias
        return self.activation(x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the output's shape."""
        shape = analyse(self.equation, self.bias_axes, input_shape, self.partial_output_shape)
        return shape.output

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config |= {"output_shape": self.partial_output_shape, "equation": self.equation}
        config |= {"activation": activations.serialize(self.activation)}
        config |= described(
            self, "bias_axes", "kernel_initializer", "bias_initializer", "kernel_regularizer",
            "bias_regularizer",
        )  # fmt: skip
        config |= {"activity_regularizer": config.get("activity_regularizer")}
        config |= described(self, "kernel_constraint", "bias_constraint")
        return config | {"quantization_config": None} | self._lora_config()


@dataclass(frozen=True)
class Shapes:
    """What an equation makes of an input shape."""

    kernel: tuple[int, ...]
    bias: tuple[int, ...] | None
    output: tuple[Any, ...]


def analyse(equation: str, bias_axes: str | None, input_shape: Any, partial: Any) -> Shapes:
    """Returns the shapes of kernel, bias and output.

    Raises:
      InvalidArgumentError: if the equation is of another form, or does not fit the shapes.
    """
    left, inputs, kernel, output = _parse(equation)
    elided = len(input_shape) - len(inputs) if left is not None else 0
    if elided < 0 or (left is None and len(input_shape) != len(inputs)):
        raise _wrong(equation, "a label for each dimension", f"input shape {tuple(input_shape)}")
    full: list[Any] = [input_shape[0], *partial]
    if left:
        full[1:1] = input_shape[1:elided]
    else:
        full += input_shape[len(input_shape) - elided :]
    named = full[elided:] if left else full[: len(full) - elided]
    if len(named) != len(output):
        raise _wrong(equation, f"{len(output)} output dimensions", f"output_shape={tuple(partial)}")
    given = list(input_shape[elided:] if left else input_shape[: len(input_shape) - elided])
    sizes = dict(zip(inputs, given))
    out = {}
    for label, size in zip(output, named):
        known = sizes.get(label)
        if label in sizes:
            if None not in (known, size) and known != size:
                raise _wrong(
                    equation, f"Input shape and output shape do not match at shared dimension "
                    f"'{label}'", f"input shape {tuple(input_shape)}, output shape {tuple(full)}",
                )  # fmt: skip
            size = known if size is None else size
        elif label not in kernel:
            raise _wrong(
                equation, f"Dimension '{label}' of the output must be one of the inputs or of the "
                "kernel", output,
            )  # fmt: skip
        out[label] = size
    resolved = [out[label] for label in output]
    whole = [*full[:elided], *resolved] if left else [*resolved, *full[len(resolved) :]]
    return Shapes(
        tuple(_kernel_size(equation, label, sizes, out, input_shape) for label in kernel),
        _bias_shape(equation, bias_axes, output, out, 0 if left else elided),
        tuple(whole),
    )


def _parse(equation: str) -> tuple[bool | None, str, str, str]:
    """Returns where the ellipsis is (True left, False right, None nowhere) and the labels."""
    match = re.fullmatch(
        r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?",
        equation.replace(" ", ""),
    )
    first, inputs, last, kernel, out_first, output, out_last = (
        match.groups() if match else [None] * 7
    )
    if not match or (first and last) or (bool(first), bool(last)) != (
        bool(out_first), bool(out_last),
    ):  # fmt: skip
        raise _wrong(
            equation, "Invalid einsum equation. Equations must be in the form [X],[Y]->[Z], "
            "...[X],[Y]->...[Z], or [X]...,[Y]->[Z]...", repr(equation),
        )  # fmt: skip
    return (True if first else False if last else None), str(inputs), str(kernel), str(output)


def _kernel_size(equation: str, label: str, sizes: Any, out: Any, input_shape: Any) -> int:
    if label not in sizes and label not in out:
        raise _wrong(
            equation, f"Weight dimension '{label}' did not have a match in either the input spec "
            "or the output spec; the weight must be fully specified", repr(equation),
        )  # fmt: skip
    size = sizes.get(label) if label in sizes else out[label]
    if size is None:
        raise _wrong(
            equation, f"the size of kernel dimension '{label}' must be known",
            f"input shape {tuple(input_shape)}",
        )  # fmt: skip
    return int(size)


def _bias_shape(equation: str, bias_axes: Any, output: str, out: Any, behind: int) -> Any:
    if not bias_axes:
        return None
    for label in bias_axes:
        if label not in output:
            raise _wrong(
                equation, f"Bias dimension '{label}' was requested, but is not part of the output "
                f"spec '{output}'", f"bias_axes={bias_axes!r}",
            )  # fmt: skip
    spread = output[min(output.find(label) for label in bias_axes) :]
    shape = tuple(out[label] if label in bias_axes else 1 for label in spread)
    return shape + (1,) * behind


def _wrong(equation: str, expected: str, received: str) -> Exception:
    return errors.invalid(f"EinsumDense {equation!r}", expected, received)

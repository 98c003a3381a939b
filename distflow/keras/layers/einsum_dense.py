"""EinsumDense: a dense layer whose product is any Einstein sum of inputs and kernel."""

from __future__ import annotations

import math as maths
import re
import string
from dataclasses import dataclass
from typing import Any

from distflow.base import errors
from distflow.keras import activations, constraints, initializers, regularizers
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described
from distflow.keras.layers.quantized import Quantized
from distflow.ops import array, math
from distflow.ops.matmul import einsum


class EinsumDense(Quantized, Layer):
    """activation(einsum(equation, x, kernel) + bias).

    Args:
      equation: two operands, such as "ab,bc->ac"; an ellipsis "..." at the same end of inputs and
        output stands for any dimensions.
      output_shape: of the output without the batch dimension and without the ellipsis; None for
        what the inputs decide.
      bias_axes: labels of the output that the bias has; None for no bias.
    """

    _quantizes = True

    def __init__(self, equation: str, output_shape: Any, activation: Any = None,
                 bias_axes: str | None = None, kernel_initializer: Any = "glorot_uniform",
                 bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
                 bias_regularizer: Any = None, kernel_constraint: Any = None,
                 bias_constraint: Any = None, lora_rank: Any = None, lora_alpha: Any = None,
                 gptq_unpacked_column_size: Any = None, quantization_config: Any = None,
                 **kwargs: Any):  # fmt: skip
        if gptq_unpacked_column_size is not None:
            raise errors.UnimplementedError(
                f"EinsumDense: GPTQ is not there: {gptq_unpacked_column_size}."
            )
        super().__init__(**kwargs)
        self._set_quantization(quantization_config)
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
        self._set_labels(len(input_shape))
        if self.quantization_mode is not None:
            self._add_integers(found.kernel)
        else:
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
        x = math.cast(inputs, self.compute_dtype)
        if self.quantization_mode is not None:
            x = self._by_integers(x)
        else:
            x = einsum(self.equation, x, self.kernel)
        if self.bias is not None:
            x = x + self.bias
        return self.activation(x)

    def _set_labels(self, rank: int) -> None:
        """Names the axes of inputs, kernel and output, also those that the ellipsis stands for."""
        left, inputs, self._kernel_labels, output = _parse(self.equation)
        free = [c for c in string.ascii_letters if c not in inputs + self._kernel_labels + output]
        more = "".join(free[: rank - len(inputs)])
        self._input_labels = more + inputs if left else inputs + more
        self._output_labels = more + output if left else output + more

    def _scaled_axes(self) -> tuple[int, ...]:
        kernel = self._kernel_labels
        return tuple(i for i, label in enumerate(kernel) if label not in self._output_labels)

    def _scale_of(self, kept: Any) -> Any:
        """Scales with the output's axes, of size 1 where the kernel has none."""
        return _like_output(kept, self._kernel_labels, self._output_labels)

    def _spread_scale(self, scale: Any) -> Any:
        """Scales with the kernel's axes."""
        kernel, output = self._kernel_labels, self._output_labels
        shared = [label for label in output if label in kernel]
        flat = array.reshape(scale, [n for n, c in zip(scale.shape, output) if c in kernel])
        order = [shared.index(label) for label in kernel if label in shared]
        return super()._spread_scale(array.transpose(flat, order))

    def _by_integers(self, x: Any) -> Any:
        inputs, kernel, output = self._input_labels, self._kernel_labels, self._output_labels
        axes = [i for i, label in enumerate(inputs) if label not in output]
        terms = maths.prod(int(self._kernel.shape[i]) for i in self._scaled_axes())
        y = self._integer_product(
            x, lambda x, w: einsum(f"{inputs},{kernel}->{output}", x, w),
            lambda g, w: einsum(f"{output},{kernel}->{inputs}", g, w), axes,
            lambda scale: _like_output(scale, inputs, output), terms,
        )  # fmt: skip
        return y + einsum(self.equation, x, self._learned()) if self.lora_enabled else y

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
        return config | self._described_quantization() | self._lora_config()


def _like_output(scale: Any, labels: str, output: str) -> Any:
    """Turns axes into the output's order; those that are summed (of size 1) are gone."""
    kept = [label for label in output if label in labels]
    gone = [i for i, label in enumerate(labels) if label not in output]
    left = [label for label in labels if label in output]
    scale = array.transpose(array.squeeze(scale, gone), [left.index(label) for label in kept])
    for at, label in enumerate(output):
        if label not in labels:
            scale = array.expand_dims(scale, at)
    return scale


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

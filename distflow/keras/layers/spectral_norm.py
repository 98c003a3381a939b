"""SpectralNormalization: keeps the largest singular value of a layer's kernel at 1."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import initializers
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.layers.wrapper import Wrapper
from distflow.ops import array
from distflow.ops.matmul import matmul
from distflow.ops.normalization import l2_normalize


class SpectralNormalization(Wrapper):
    """The layer inside; each training step divides its kernel by the largest singular value.

    Args:
      layer: a layer with a `kernel` or `embeddings`.
      power_iterations: steps of the power iteration in each training step; its vector is kept.

    Source: Miyato et al. 2018, arXiv:1802.05957.
    """

    def __init__(self, layer: Any, power_iterations: int = 1, **kwargs: Any):
        super().__init__(layer, **kwargs)
        if power_iterations <= 0:
            raise errors.invalid(
                "SpectralNormalization", "`power_iterations` should be greater than zero",
                f"power_iterations={power_iterations}",
            )  # fmt: skip
        self.power_iterations = power_iterations

    def build(self, input_shape: Any = None) -> None:
        """Builds the layer inside and makes the vector of the power iteration."""
        super().build(input_shape)
        self.input_spec = InputSpec(shape=[None, *input_shape[1:]])
        # The variable itself: `kernel` may be a property that adds to it.
        found = [n for n in ("_kernel", "kernel", "_embeddings") if n in vars(self.layer)]
        if not found:
            raise errors.invalid(
                "SpectralNormalization",
                "the layer must have an attribute 'kernel' or 'embeddings'", repr(self.layer),
            )  # fmt: skip
        self.kernel = getattr(self.layer, found[0])
        self.vector_u = self.add_weight(
            shape=(1, self.kernel.shape[-1]),
            initializer=initializers.TruncatedNormal(stddev=0.02), name="vector_u",
            trainable=False, dtype=self.kernel.dtype,
        )  # fmt: skip

    def call(self, inputs: Any, training: Any = False) -> Any:
        """Returns the layer's outputs; in training its kernel is normalised first."""
        if training:
            u, kernel = self.normalized_weights()
            self.vector_u.assign(u)
            self.kernel.assign(kernel)
        return self.layer(inputs)

    def normalized_weights(self) -> tuple[Any, Any]:
        """Returns the next vector, and the kernel divided by its largest singular value."""
        kernel = self.kernel.value()
        matrix = array.reshape(kernel, [-1, kernel.shape[-1]])
        u = self.vector_u.value()
        for _ in range(self.power_iterations):
            v = l2_normalize(matmul(u, matrix, transpose_b=True), axis=None)
            u = l2_normalize(matmul(v, matrix), axis=None)
        sigma = matmul(matmul(v, matrix), u, transpose_b=True)
        return u, array.reshape(matrix / sigma, kernel.shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the layer's outputs."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"power_iterations": self.power_iterations}

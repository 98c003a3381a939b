"""ReversibleEmbedding: a table that turns ids to rows, and rows back to scores of all ids."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import dtype_policy
from distflow.keras.layers.core import Embedding
from distflow.ops import array, math
from distflow.ops.matmul import matmul


class ReversibleEmbedding(Embedding):
    """Rows of a table by id; with `reverse=True`, scores of all ids for rows.

    Args:
      tie_weights: whether both ways use one table.
      reverse_dtype: dtype of the way back; default the compute dtype.
      logit_soft_cap: scores become cap * tanh(scores / cap); None for no cap.

    Source: Press & Wolf 2016, arXiv:1608.05859.
    """

    def __init__(self, input_dim: int, output_dim: int, tie_weights: bool = True,
                 embeddings_initializer: Any = "uniform", embeddings_regularizer: Any = None,
                 embeddings_constraint: Any = None, mask_zero: bool = False,
                 reverse_dtype: Any = None, logit_soft_cap: float | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(input_dim, output_dim, embeddings_initializer, embeddings_regularizer,
                         embeddings_constraint, mask_zero, **kwargs)  # fmt: skip
        if logit_soft_cap is not None and logit_soft_cap <= 0:
            raise errors.invalid(
                "ReversibleEmbedding", "`logit_soft_cap` must be positive",
                f"logit_soft_cap={logit_soft_cap}",
            )  # fmt: skip
        self.tie_weights = tie_weights
        self.reverse_dtype = reverse_dtype
        self.logit_soft_cap = logit_soft_cap

    def build(self, input_shape: Any = None) -> None:
        """Makes the table, and the one of the way back unless they are tied."""
        super().build(input_shape)
        if not self.tie_weights:
            self.reverse_embeddings = self.add_weight(
                name="reverse_embeddings", shape=(self.output_dim, self.input_dim),
                initializer=self.embeddings_initializer.clone(),
            )  # fmt: skip

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        """Returns the rows of ids, or with `reverse` scores [..., input_dim] of rows."""
        if not reverse:
            return super().call(inputs)
        if self.tie_weights:
            table = array.transpose(self.embeddings, [1, 0])
        else:
            table = self.reverse_embeddings
        dtype = dtype_policy.get(self.reverse_dtype or self.compute_dtype).compute_dtype
        scores = matmul(math.cast(inputs, dtype), math.cast(table, dtype))
        if self.logit_soft_cap is not None:
            scores = math.tanh(scores / self.logit_soft_cap) * self.logit_soft_cap
        return scores

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what `call` gives, which depends on `reverse`."""
        return self._traced_specs(*args, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns where ids are not padding; rows have no such ids."""
        return None if inputs.dtype.is_floating else super().compute_mask(inputs, mask)

    def compute_output_shape(self, input_shape: Any, reverse: bool = False) -> Any:
        """Returns the ids' shape with `output_dim` behind it, or rows' with `input_dim`."""
        if reverse:
            return (*input_shape[:-1], self.input_dim)
        return super().compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "tie_weights": self.tie_weights, "reverse_dtype": self.reverse_dtype,
            "logit_soft_cap": self.logit_soft_cap,
        }  # fmt: skip

"""GroupQueryAttention: groups of query heads share their keys and values."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras.layers.activation import Softmax
from distflow.keras.layers.arguments import positive
from distflow.keras.layers.multi_head_attention import _WEIGHTS, ProjectedAttention
from distflow.keras.layers.regularization import Dropout
from distflow.ops import array, math
from distflow.ops.repeat import repeat


class GroupQueryAttention(ProjectedAttention):
    """Multi-head attention in which num_query_heads / num_key_value_heads heads share a key.

    Args:
      head_dim: size of each head.
      num_query_heads: number of query heads, a multiple of num_key_value_heads.
      num_key_value_heads: number of heads of keys and values.

    Called as MultiHeadAttention is.

    Source: Ainslie et al. 2023, arXiv:2305.13245.
    """

    _inner_name = "GroupedQueryAttention"
    # Keras's class shows its projections under no other names, so files hold these.
    _not_saved = frozenset({"query_dense", "key_dense", "value_dense", "output_dense"})

    def __init__(self, head_dim: int, num_query_heads: int, num_key_value_heads: int,
                 dropout: float = 0.0, use_bias: bool = True, sliding_window: int | None = None,
                 flash_attention: bool | None = None, kernel_initializer: Any = "glorot_uniform",
                 bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
                 bias_regularizer: Any = None, activity_regularizer: Any = None,
                 kernel_constraint: Any = None, bias_constraint: Any = None,
                 use_gate: bool = False, seed: Any = None, **kwargs: Any):  # fmt: skip
        given = locals()
        weights = {name: given[name] for name in _WEIGHTS}
        super().__init__(dropout, use_bias, sliding_window, flash_attention, use_gate, seed,
                         weights, **kwargs)  # fmt: skip
        where = "GroupQueryAttention"
        self.head_dim = positive(where, "head_dim", head_dim)
        self.num_query_heads = positive(where, "num_query_heads", num_query_heads)
        self.num_key_value_heads = positive(where, "num_key_value_heads", num_key_value_heads)
        if num_query_heads % num_key_value_heads:
            raise errors.invalid(
                where, "`num_query_heads` must be divisible by `num_key_value_heads`",
                f"num_query_heads={num_query_heads}, num_key_value_heads={num_key_value_heads}",
            )  # fmt: skip
        self.num_repeats = num_query_heads // num_key_value_heads
        self.use_bias = use_bias
        self.dropout = dropout

    def build(  # type: ignore[override]
        self, query_shape: Any, value_shape: Any, key_shape: Any = None
    ) -> None:
        """Makes the projections."""
        key_shape = value_shape if key_shape is None else key_shape
        for name, shape in (("query", query_shape), ("value", value_shape), ("key", key_shape)):
            if len(shape) != 3:
                raise errors.invalid(
                    "GroupQueryAttention", f"`{name}` must have rank 3", f"shape {tuple(shape)}"
                )
        few = (None, self.num_key_value_heads, self.head_dim)
        many = (None, self.num_query_heads, self.head_dim)
        into, bias = "bqm,muh->bquh", "uh"
        self._query_dense = self._projection("query", into, many, bias, query_shape)
        self._key_dense = self._projection("key", into, few, bias, key_shape)
        if self._use_gate:
            self._gate_dense = self._projection("gate", into, many, bias, query_shape)
        self._value_dense = self._projection("value", into, few, bias, value_shape)
        self._output_dense = self._projection(
            "attention_output", "bquh,uhm->bqm", (None, query_shape[-1]), "m",
            (*query_shape[:-1], self.num_query_heads, self.head_dim),
        )  # fmt: skip
        self._softmax = Softmax(axis=-1, dtype=self.dtype_policy)
        self._dropout_layer = Dropout(self._dropout, seed=self.seed, dtype=self.dtype_policy)

    def call(self, query: Any, value: Any, key: Any = None, query_mask: Any = None,
             value_mask: Any = None, key_mask: Any = None, attention_mask: Any = None,
             return_attention_scores: bool = False, training: Any = None,
             use_causal_mask: bool = False) -> Any:  # fmt: skip
        """Returns [batch, queries, features], and the weights of all heads if asked for."""
        mask = self._mask(
            query, value, query_mask, value_mask, key_mask, attention_mask, use_causal_mask
        )
        q = self._query_dense(query) * (self.head_dim**-0.5)
        k = repeat(self._key_dense(value if key is None else key), self.num_repeats, axis=2)
        v = repeat(self._value_dense(value), self.num_repeats, axis=2)
        if mask is not None and mask.ndim == 3:
            mask = array.expand_dims(mask, 1)
        heads, weights = self._read(
            ("bkuh,bquh->buqk", "buqk,bkuh->bquh"), q, k, v, mask, training,
            return_attention_scores,
        )  # fmt: skip
        if self._use_gate:
            heads = heads * math.sigmoid(self._gate_dense(query))
        result = self._output_dense(heads)
        return (result, weights) if return_attention_scores else result

    def compute_output_shape(self, query_shape: Any, value_shape: Any,
                             key_shape: Any = None) -> Any:  # fmt: skip
        """Returns the query's shape."""
        return tuple(query_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config |= {
            "head_dim": self.head_dim, "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads, "use_bias": self._use_bias,
            "use_gate": self._use_gate, "sliding_window": self._sliding_window,
            "dropout": self._dropout,
        }  # fmt: skip
        return config | self._weights_config() | {"seed": self.seed}

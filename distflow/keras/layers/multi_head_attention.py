"""MultiHeadAttention: several attentions side by side on projections of query, key and value."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.keras import constraints, initializers, random, regularizers
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.activation import Softmax
from distflow.keras.layers.arguments import described, positive
from distflow.keras.layers.attention import causal_mask, window_mask
from distflow.keras.layers.einsum_dense import EinsumDense
from distflow.keras.layers.regularization import Dropout
from distflow.keras.query_blocks import block_rows, over_queries
from distflow.ops import array, dims, math
from distflow.ops.indexing import where
from distflow.ops.matmul import einsum
from distflow.random.keys import fold_in

_WEIGHTS = (
    "kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer",
    "activity_regularizer", "kernel_constraint", "bias_constraint",
)  # fmt: skip


class ProjectedAttention(Layer):
    """What MultiHeadAttention and GroupQueryAttention share: projections, masks, dropout.

    Args:
      dropout: part of the weights that is 0 in training.
      use_bias: whether projections have biases.
      sliding_window: a query sees only keys at less than this distance; None for all.
      flash_attention: compute the scores in blocks of queries, and again in the backward pass,
        so that they are never stored whole; None: where the sequence is long.
      use_gate: multiply what is read by the sigmoid of one more projection of the query.
      seed: of the dropout.
    """

    def __init__(self, dropout: float, use_bias: bool, sliding_window: int | None,
                 flash_attention: bool | None, use_gate: bool, seed: Any, weights: dict[str, Any],
                 **kwargs: Any):  # fmt: skip
        super().__init__(activity_regularizer=weights.pop("activity_regularizer"), **kwargs)
        where = type(self).__name__
        if flash_attention and dropout:
            raise errors.invalid(
                where, "`dropout` must be 0 with flash_attention=True", f"dropout={dropout}"
            )
        if not 0 <= dropout <= 1:
            raise errors.invalid(where, "`dropout` must be between 0 and 1", f"dropout={dropout}")
        if sliding_window is not None and (
            not isinstance(sliding_window, int) or sliding_window < 1
        ):
            raise errors.invalid(
                where, "`sliding_window` must be a positive integer",
                f"sliding_window={sliding_window}",
            )  # fmt: skip
        self.supports_masking = True
        self._dropout = dropout
        self._use_bias = use_bias
        self._use_gate = use_gate
        self._sliding_window = sliding_window
        self._in_blocks = flash_attention
        self.seed = seed
        self._kernel_initializer = initializers.get(weights["kernel_initializer"])
        self._bias_initializer = initializers.get(weights["bias_initializer"])
        self._kernel_regularizer = regularizers.get(weights["kernel_regularizer"])
        self._bias_regularizer = regularizers.get(weights["bias_regularizer"])
        self._kernel_constraint = constraints.get(weights["kernel_constraint"])
        self._bias_constraint = constraints.get(weights["bias_constraint"])

    def _projection(self, name: str, equation: str, shape: Any, bias_axes: str,
                    input_shape: Any) -> EinsumDense:  # fmt: skip
        """Returns a built projection."""
        layer = EinsumDense(
            equation, shape, bias_axes=bias_axes if self._use_bias else None, name=name,
            kernel_initializer=self._kernel_initializer.clone(),
            bias_initializer=self._bias_initializer.clone(),
            kernel_regularizer=self._kernel_regularizer, bias_regularizer=self._bias_regularizer,
            kernel_constraint=self._kernel_constraint, bias_constraint=self._bias_constraint,
            dtype=self.dtype_policy,
        )  # fmt: skip
        layer.build(input_shape)
        # The masks are this layer's business: no warning that the projection drops one.
        layer.supports_masking = True
        return layer

    @property
    def query_dense(self) -> Any:
        """The projection of the query."""
        return self._query_dense

    @property
    def key_dense(self) -> Any:
        """The projection of the key."""
        return self._key_dense

    @property
    def value_dense(self) -> Any:
        """The projection of the value."""
        return self._value_dense

    @property
    def output_dense(self) -> Any:
        """The projection of what the heads have read."""
        return self._output_dense

    def _mask(self, query: Any, value: Any, query_mask: Any, value_mask: Any, key_mask: Any,
              attention_mask: Any, causal: bool) -> Any:  # fmt: skip
        """Returns bool [batch, queries, keys] of what may be seen, or None for all of it."""
        found = []
        if query_mask is not None:
            found.append(array.expand_dims(query_mask, -1))
        found += [array.expand_dims(m, -2) for m in (value_mask, key_mask) if m is not None]
        sizes = dims.size(query, 1), dims.size(value, 1)
        if causal:
            found.append(causal_mask(*sizes))
        if self._sliding_window is not None:
            found.append(window_mask(*sizes, self._sliding_window))
        if attention_mask is not None:
            found.append(math.cast(attention_mask, "bool"))
        result = None
        for mask in found:
            mask = math.cast(mask, "bool")
            result = mask if result is None else math.logical_and(result, mask)
        return result

    def _read(self, equations: tuple[str, str], q: Any, k: Any, v: Any, mask: Any, training: Any,
              wants_weights: bool) -> tuple[Any, Any]:  # fmt: skip
        """Returns what the heads read of the values, and the weights if they are wanted.

        Args:
          equations: key, query -> scores, whose last axis is the keys'; scores, value -> heads.
          q, k, v: [batch, length, heads, size], or with other axes of a length between.
          mask: bool like the scores, or None.
        """
        scored, combined = equations
        dropping = bool(self._dropout) and training
        plain = q.ndim == 4 and not self._dropout and not wants_weights
        beside = () if mask is None else (mask,)
        rows = None
        if q.ndim == 4 and not wants_weights:
            rows = block_rows(q.shape[1], k.shape[1], self._in_blocks)
        if rows is None:
            weights = self._attend(einsum(scored, k, q), mask, plain)
            dropped = self._dropout_layer(weights, training=training) if self._dropout else weights
            return einsum(combined, dropped, v), weights
        key = random.key_of(self._dropout_layer.seed_generator) if dropping else None

        def attend(q: Any, k: Any, v: Any, *beside: Any, block: int) -> Any:
            weights = self._attend(einsum(scored, k, q), beside[0] if beside else None, plain)
            if key is not None:
                weights = random.dropout_by_key(
                    weights, self._dropout, random.shape_of(weights), fold_in(key, block)
                )
            return einsum(combined, weights, v)

        return over_queries(attend, q, k, v, *beside, rows=rows), None

    def _attend(self, scores: Any, mask: Any, plain: bool) -> Any:
        """Returns the weights of the keys.

        A query that may see nothing reads 0; but where `plain` says that neither dropout nor the
        weights are asked for, it reads the mean of all values, as in Keras, which then takes
        another way to compute the same.
        """
        if mask is None or not plain:
            return self._softmax(scores, mask=mask)
        lowest = np.asarray(-0.7 * scores.dtype.max, scores.dtype.numpy)
        return self._softmax(where(mask, scores, lowest))

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what `call` gives, which depends on `return_attention_scores`."""
        return self._traced_specs(*args, **kwargs)

    def _weights_config(self) -> dict[str, Any]:
        names = [n for n in _WEIGHTS if n != "activity_regularizer"]
        found = described(self, *(f"_{name}" for name in names))
        found = {name[1:]: value for name, value in found.items()}
        found["activity_regularizer"] = described(self, "activity_regularizer")[
            "activity_regularizer"
        ]
        return {name: found[name] for name in _WEIGHTS}


class MultiHeadAttention(ProjectedAttention):
    """softmax(query @ key / sqrt(key_dim)) @ value for each head, projected in and out.

    Args:
      num_heads: number of heads.
      key_dim: size of each head's queries and keys.
      value_dim: size of each head's values; default key_dim.
      output_shape: size or sizes of the output's features; default the query's.
      attention_axes: axes over which queries see keys; default all but batch, heads and features.

    Called as layer(query, value, key=None, attention_mask=..., use_causal_mask=...):
    [batch, queries, features], [batch, keys, features]; attention_mask bool
    [batch, queries, keys], true for what may be seen.

    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, num_heads: int, key_dim: int, value_dim: int | None = None,
                 dropout: float = 0.0, use_bias: bool = True, output_shape: Any = None,
                 attention_axes: Any = None, sliding_window: int | None = None,
                 flash_attention: bool | None = None, kernel_initializer: Any = "glorot_uniform",
                 bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
                 bias_regularizer: Any = None, activity_regularizer: Any = None,
                 kernel_constraint: Any = None, bias_constraint: Any = None,
                 use_gate: bool = False, seed: Any = None, **kwargs: Any):  # fmt: skip
        given = locals()
        weights = {name: given[name] for name in _WEIGHTS}
        super().__init__(dropout, use_bias, sliding_window, flash_attention, use_gate, seed,
                         weights, **kwargs)  # fmt: skip
        self._num_heads = positive("MultiHeadAttention", "num_heads", num_heads)
        self._key_dim = positive("MultiHeadAttention", "key_dim", key_dim)
        self._value_dim = positive("MultiHeadAttention", "value_dim", value_dim or key_dim)
        self._output_shape = _as_tuple("output_shape", output_shape)
        self._attention_axes = _as_tuple("attention_axes", attention_axes)

    @property
    def num_heads(self) -> int:
        """Number of heads."""
        return self._num_heads

    @property
    def key_dim(self) -> int:
        """Size of each head's queries and keys."""
        return self._key_dim

    @property
    def value_dim(self) -> int:
        """Size of each head's values."""
        return self._value_dim

    @property
    def dropout(self) -> float:
        """Part of the weights that is 0 in training."""
        return self._dropout

    @property
    def use_bias(self) -> bool:
        """Whether projections have biases."""
        return self._use_bias

    def build(  # type: ignore[override]
        self, query_shape: Any, value_shape: Any, key_shape: Any = None
    ) -> None:
        """Makes the projections."""
        key_shape = value_shape if key_shape is None else key_shape
        if value_shape[1:-1] != key_shape[1:-1]:
            raise errors.invalid(
                "MultiHeadAttention", "All dimensions of `value` and `key`, except the last one, "
                "must be equal", f"value_shape={tuple(value_shape)}, key_shape={tuple(key_shape)}",
            )  # fmt: skip
        if len(query_shape) != len(value_shape):
            raise errors.invalid(
                "MultiHeadAttention", "`query` and `value` must have the same rank",
                f"query_shape={tuple(query_shape)}, value_shape={tuple(value_shape)}",
            )  # fmt: skip
        rank = len(query_shape)
        into = _into_heads(rank)
        free = [None] * (rank - 2)
        for name, shape, size in (
            ("query", query_shape, self._key_dim), ("key", key_shape, self._key_dim),
            ("gate", query_shape, self._value_dim), ("value", value_shape, self._value_dim),
        ):  # fmt: skip
            if name == "gate" and not self._use_gate:
                continue
            layer = self._projection(name, *_sized(into, [*free, self._num_heads, size]), shape)
            setattr(self, f"_{name}_dense", layer)
        heads_shape = (*query_shape[:-1], self._num_heads, self._value_dim)
        sizes = self._output_shape or (query_shape[-1],)
        self._output_dense = self._projection(
            "attention_output", *_sized(_out_of_heads(rank, len(sizes)), [*free, *sizes]),
            heads_shape,
        )  # fmt: skip
        axes = self._attention_axes or tuple(range(1, rank - 1))
        self._axes = tuple(shapes.axis("MultiHeadAttention", a, rank) for a in axes)
        self._dot_product, self._combine, scores_rank = _attention(rank + 1, self._axes)
        self._scores_rank = scores_rank
        self._softmax = Softmax(
            axis=tuple(range(scores_rank - len(self._axes), scores_rank)), dtype=self.dtype_policy
        )
        self._dropout_layer = Dropout(self._dropout, seed=self.seed, dtype=self.dtype_policy)

    def call(self, query: Any, value: Any, key: Any = None, query_mask: Any = None,
             value_mask: Any = None, key_mask: Any = None, attention_mask: Any = None,
             return_attention_scores: bool = False, training: Any = None,
             use_causal_mask: bool = False) -> Any:  # fmt: skip
        """Returns [batch, queries, features], and the weights of all heads if asked for."""
        # As in Keras the query's mask goes on to the output, but hides nothing here.
        mask = self._mask(query, value, None, value_mask, key_mask, attention_mask, use_causal_mask)
        gate = self._gate_dense(query) if self._use_gate else None
        q = self._query_dense(query)
        k = self._key_dense(value if key is None else key)
        v = self._value_dense(value)
        q = q * (self._key_dim**-0.5)
        if mask is not None:
            for _ in range(self._scores_rank - mask.ndim):
                mask = array.expand_dims(mask, -len(self._axes) * 2 - 1)
        heads, weights = self._read(
            (self._dot_product, self._combine), q, k, v, mask, training, return_attention_scores
        )
        if gate is not None:
            heads = heads * math.sigmoid(gate)
        result = self._output_dense(heads)
        return (result, weights) if return_attention_scores else result

    def compute_output_shape(self, query_shape: Any, value_shape: Any,
                             key_shape: Any = None) -> Any:  # fmt: skip
        """Returns the query's shape with the output's features."""
        return (*query_shape[:-1], *(self._output_shape or (query_shape[-1],)))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config |= {
            "num_heads": self._num_heads, "key_dim": self._key_dim, "value_dim": self._value_dim,
            "dropout": self._dropout, "use_bias": self._use_bias, "use_gate": self._use_gate,
            "output_shape": self._output_shape, "attention_axes": self._attention_axes,
            "sliding_window": self._sliding_window,
        }  # fmt: skip
        return config | self._weights_config() | {"seed": self.seed}


def _as_tuple(name: str, value: Any) -> Any:
    values = (value,) if isinstance(value, int) else value
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(isinstance(v, int) for v in values):
        raise errors.invalid(
            "MultiHeadAttention", f"`{name}` must be an int or a tuple of ints", f"{name}={value!r}"
        )
    return tuple(values)


_LETTERS = string.ascii_letters


def _into_heads(rank: int) -> tuple[str, str]:
    """Returns the equation [..., features] -> [..., heads, size], and its bias's labels."""
    free, features, heads = _LETTERS[: rank - 1], _LETTERS[rank - 1], _LETTERS[rank : rank + 2]
    return f"{free}{features},{features}{heads}->{free}{heads}", heads


def _out_of_heads(rank: int, num_outputs: int) -> tuple[str, str]:
    """Returns the equation [..., heads, size] -> [..., features], and its bias's labels."""
    free, heads = _LETTERS[: rank - 1], _LETTERS[rank - 1 : rank + 1]
    outputs = _LETTERS[rank + 1 : rank + 1 + num_outputs]
    return f"{free}{heads},{heads}{outputs}->{free}{outputs}", outputs


def _sized(equation: tuple[str, str], sizes: list[Any]) -> tuple[str, list[Any], str]:
    return equation[0], sizes, equation[1]


def _attention(rank: int, axes: tuple[int, ...]) -> tuple[str, str, int]:
    """Returns the equations key, query -> scores and scores, value -> heads, and scores' rank."""
    query = _LETTERS[:rank]
    key, used = "", rank
    for axis in range(rank):
        if axis in axes:
            key, used = key + _LETTERS[used], used + 1
        else:
            key += query[axis]
    batch = "".join(query[i] for i in range(rank - 1) if i not in axes)
    scores = batch + "".join(query[i] for i in axes) + "".join(key[i] for i in axes)
    # The value's features have the label of the query's, whose size may differ.
    return f"{key},{query}->{scores}", f"{scores},{key}->{query}", len(scores)

"""Attention and AdditiveAttention: each query reads a mean of the values, weighted by the keys."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.keras import random
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described
from distflow.ops import array, dims, math
from distflow.ops.activations import softmax
from distflow.ops.matmul import matmul
from distflow.ops.reduce import reduce_sum


class Attention(Layer):
    """softmax(scores(query, key)) @ value, by Luong's dot products.

    Args:
      use_scale: learn a factor of the scores.
      score_mode: "dot", or "concat": a factor times the sum of tanh(query + key).
      dropout: part of the weights that is 0 in training.
      seed: of the dropout.

    Called on [query, value] or [query, value, key]: [batch, queries, features] and
    [batch, keys, features]; without keys the values are the keys. `mask` is a list of the query's
    and the value's mask: masked queries give 0, masked values get no weight. `use_causal_mask`
    hides the values behind each query's position.

    Source: Luong, Pham & Manning 2015, arXiv:1508.04025.
    """

    def __init__(self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0,
                 seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise errors.invalid(
                type(self).__name__, "score_mode must be 'dot' or 'concat'",
                f"score_mode={score_mode!r}",
            )  # fmt: skip
        self.use_scale = use_scale
        self.score_mode = score_mode
        self.dropout = dropout
        self.seed = seed
        if dropout > 0:
            self.seed_generator = random.SeedGenerator(seed)
        self.supports_masking = True
        self.scale: Any = None
        self.concat_score_weight: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes the factors of the scores."""
        self._check_inputs(input_shape)
        if self.use_scale:
            self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight(
                name="concat_score_weight", shape=(), initializer="ones"
            )

    def call(self, inputs: Any, mask: Any = None, training: Any = False,
             return_attention_scores: bool = False,
             use_causal_mask: bool = False) -> Any:  # fmt: skip
        """Returns [batch, queries, features], and the weights if they are asked for."""
        self._check_inputs(inputs, mask)
        query, value = inputs[0], inputs[1]
        key = inputs[2] if len(inputs) > 2 else value
        of_query = mask[0] if mask else None
        of_value = mask[1] if mask else None
        scores = self._scores(query, key)
        allowed = self._allowed(scores, of_value, use_causal_mask)
        if allowed is not None:
            # A large number, not infinity: a row without any entry keeps finite weights.
            large = 65504.0 if scores.dtype is dtypes.float16 else 1e9
            hidden = math.cast(math.logical_not(allowed), scores.dtype)
            scores = scores - hidden * np.asarray(large, scores.dtype.numpy)
        weights = softmax(scores, axis=-1)
        if training and self.dropout > 0:
            weights = random.dropout(weights, self.dropout, None, self.seed_generator)
        result = matmul(weights, value)
        if of_query is not None:
            result = result * math.cast(array.expand_dims(of_query, -1), result.dtype)
        return (result, weights) if return_attention_scores else result

    def _scores(self, query: Any, key: Any) -> Any:
        """Returns [batch, queries, keys]."""
        if self.score_mode == "dot":
            scores = matmul(query, key, transpose_b=True)
            return scores if self.scale is None else scores * self.scale
        both = array.expand_dims(query, -2) + array.expand_dims(key, -3)
        if self.scale is not None:
            both = both * self.scale
        return self.concat_score_weight * reduce_sum(math.tanh(both), -1)

    def _allowed(self, scores: Any, of_value: Any, causal: bool) -> Any:
        allowed = None if of_value is None else array.expand_dims(of_value, -2)
        if causal:
            past = causal_mask(dims.size(scores, 1), dims.size(scores, 2))
            allowed = past if allowed is None else math.logical_and(allowed, past)
        return allowed

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns the query's mask."""
        self._check_inputs(inputs, mask)
        return mask[0] if mask else None

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what `call` gives, which depends on `return_attention_scores`."""
        return self._traced_specs(*args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the query's shape with the value's features."""
        self._check_inputs(input_shape)
        return (*input_shape[0][:-1], input_shape[1][-1])

    def _check_inputs(self, inputs: Any, mask: Any = None) -> None:
        where = type(self).__name__
        if not isinstance(inputs, list) or len(inputs) not in (2, 3):
            raise errors.invalid(
                where, f"{where} layer must be called on a list of inputs, namely [query, value] "
                "or [query, value, key]", f"{inputs!r:.200}",
            )  # fmt: skip
        if mask is not None and (not isinstance(mask, list) or len(mask) not in (2, 3)):
            raise errors.invalid(
                where, f"{where} layer mask must be a list [query_mask, value_mask]",
                f"{mask!r:.200}",
            )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "use_scale", "score_mode", "dropout", "seed")


class AdditiveAttention(Attention):
    """softmax(sum(scale * tanh(query + key))) @ value, by Bahdanau's additive scores.

    Args:
      use_scale: learn a factor for each feature.
      dropout: part of the weights that is 0 in training.

    Source: Bahdanau, Cho & Bengio 2014, arXiv:1409.0473.
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any):
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Makes the factors of the features."""
        self._check_inputs(input_shape)
        if self.use_scale:
            self.scale = self.add_weight(
                name="scale", shape=(input_shape[0][-1],), initializer="glorot_uniform"
            )

    def _scores(self, query: Any, key: Any) -> Any:
        both = math.tanh(array.expand_dims(query, -2) + array.expand_dims(key, -3))
        return reduce_sum(both if self.scale is None else both * self.scale, -1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        del config["score_mode"]
        return config


def causal_mask(queries: Any, keys: Any) -> Any:
    """Returns bool [1, queries, keys]: true where the key is not behind the query."""
    rows, columns = positions(queries, keys)
    return math.greater_equal(rows, columns)


def window_mask(queries: Any, keys: Any, width: int) -> Any:
    """Returns bool [1, queries, keys]: true where the key is less than `width` away."""
    rows, columns = positions(queries, keys)
    return math.less(math.abs(math.subtract(rows, columns)), width)


def positions(queries: Any, keys: Any) -> tuple[Any, Any]:
    """Returns the positions [1, queries, 1] of the queries and [1, 1, keys] of the keys."""
    rows, columns = math.range(queries), math.range(keys)
    return array.reshape(rows, [1, -1, 1]), array.reshape(columns, [1, 1, -1])

"""DenseFeatures: feature columns as a layer from a dict of features to one matrix."""

from __future__ import annotations

from typing import Any

from distflow.base import shapes
from distflow.core.tensor import Tensor
from distflow.feature_column import serialization
from distflow.feature_column.dense import WEIGHTS, EmbeddingColumn
from distflow.feature_column.transform import dense_tensor, ordered_columns
from distflow.keras.engine.layer import Layer


class DenseFeatures(Layer):
    """Dense columns side by side, in the order of their names.

    Args:
      feature_columns: dense columns: numeric, bucketized, indicator, embedding.
      trainable: whether embedding tables are trained.
      name: name of the layer.

    Input: a dict of tensors by feature name, [batch] or [batch, ...]; names that no column reads
    are ignored. Output: float32 [batch, sum of the columns' widths].
    """

    def __init__(
        self, feature_columns: Any, trainable: bool = True, name: str | None = None, **kwargs: Any
    ):
        super().__init__(name=name, trainable=trainable, **kwargs)
        self._columns = ordered_columns(feature_columns)
        self._tables: dict[str, Any] = {}

    @property
    def feature_columns(self) -> list[Any]:
        """The columns in the order of the output."""
        return list(self._columns)

    def build(self, input_shape: Any) -> None:
        """Makes a table for every embedding column, named "layer/column/embedding_weights"."""
        for column in self._columns:
            if isinstance(column, EmbeddingColumn):
                self._tables[column.name] = self.add_weight(
                    shape=column.weights_shape,
                    initializer=column.initial_weights,
                    trainable=column.trainable,
                    name=f"{column.name}/{WEIGHTS}",
                )

    def call(self, features: Any) -> Tensor:
        """Returns the columns' numbers for a batch."""
        weights = {name: {WEIGHTS: table} for name, table in self._tables.items()}
        return dense_tensor(self._columns, features, weights)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns (batch, sum of the widths)."""
        first = next(iter(input_shape.values())) if isinstance(input_shape, dict) else input_shape
        return shapes.TensorShape((first[0], sum(column.width for column in self._columns)))

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs; columns with functions cannot be described."""
        columns = [serialization.serialize(column) for column in self._columns]
        return {**super().get_config(), "feature_columns": columns}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DenseFeatures:
        """Returns the layer that `get_config` described."""
        columns = [serialization.deserialize(column) for column in config["feature_columns"]]
        return cls(**{**config, "feature_columns": columns})

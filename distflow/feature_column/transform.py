"""From a batch of features to one matrix: what DenseFeatures computes, without a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distflow.base import errors
from distflow.core.tensor import Tensor
from distflow.feature_column.column import DenseColumn, FeatureColumn, Features
from distflow.ops.shaping import concat


def ordered_columns(feature_columns: Any) -> list[DenseColumn]:
    """Returns dense columns sorted by name.

    Raises:
      InvalidArgumentError: for no columns, columns that are not dense, or a name that comes twice.
    """
    given = [feature_columns] if isinstance(feature_columns, FeatureColumn) else feature_columns
    columns = list(given)
    if not columns:
        raise errors.invalid("feature_columns", "at least one column", "none")
    for column in columns:
        if isinstance(column, DenseColumn):
            continue
        hint = ""
        if isinstance(column, FeatureColumn):
            hint = "Wrap a categorical column in indicator_column or embedding_column."
        raise errors.invalid("feature_columns", "dense columns", f"{column!r:.120}", hint)
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise errors.invalid("feature_columns", "every name must come once", str(twice))
    return sorted(columns, key=lambda column: column.name)


def dense_tensor(
    columns: list[DenseColumn],
    features: Mapping[str, Any],
    weights: Mapping[str, Mapping[str, Any]],
) -> Tensor:
    """Returns the columns' numbers side by side, float32 [batch, sum of widths].

    Args:
      columns: in the order of the result.
      features: tensors by name, [batch] or [batch, ...].
      weights: column name -> name -> variable.
    """
    batch = Features(features)
    parts = [column.dense(batch, weights.get(column.name, {})) for column in columns]
    return parts[0] if len(parts) == 1 else concat(parts, -1)

"""Columns as plain data and back: {"class_name": ..., "config": {...}}, for saved models."""

from __future__ import annotations

import dataclasses
from typing import Any

from distflow.base import dtypes, errors
from distflow.feature_column.categorical import (
    HashedCategoricalColumn,
    IdentityCategoricalColumn,
    VocabularyListCategoricalColumn,
)
from distflow.feature_column.column import FeatureColumn
from distflow.feature_column.crossed import CrossedColumn
from distflow.feature_column.dense import EmbeddingColumn, IndicatorColumn
from distflow.feature_column.numeric import BucketizedColumn, NumericColumn

CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        NumericColumn,
        BucketizedColumn,
        VocabularyListCategoricalColumn,
        IdentityCategoricalColumn,
        HashedCategoricalColumn,
        CrossedColumn,
        IndicatorColumn,
        EmbeddingColumn,
    )
}


def serialize(column: FeatureColumn) -> dict[str, Any]:
    """Returns a column as JSON's types.

    Raises:
      InvalidArgumentError: if it holds a function (normalizer_fn, initializer).
    """
    config = {
        field.name: _plain(column, field.name, getattr(column, field.name))
        for field in dataclasses.fields(column)  # type: ignore[arg-type]
    }
    return {"class_name": type(column).__name__, "config": config}


def deserialize(data: dict[str, Any]) -> FeatureColumn:
    """Returns the column that `serialize` described."""
    name = data.get("class_name")
    if name not in CLASSES:
        raise errors.invalid(
            "feature_column.deserialize", f"a class among {sorted(CLASSES)}", repr(name)
        )
    return CLASSES[name](**{key: _value(key, v) for key, v in data["config"].items()})


def _plain(column: Any, name: str, value: Any) -> Any:
    if isinstance(value, FeatureColumn):
        return serialize(value)
    if isinstance(value, dtypes.DType):
        return value.name
    if isinstance(value, tuple):
        return [_plain(column, name, v) for v in value]
    if callable(value):
        raise errors.invalid(
            f"column {column.name!r}", "a column that is saved must hold no function",
            f"{name}={value!r:.80}", "Rebuild the model in code and use load_weights.",
        )  # fmt: skip
    return value


def _value(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return deserialize(value)
    if isinstance(value, list):
        return tuple(_value(name, v) for v in value)
    return dtypes.as_dtype(value) if name == "dtype" else value

"""feature_column: how the columns of a table become numbers for a model."""

from distflow.feature_column.categorical import (
    categorical_column_with_hash_bucket,
    categorical_column_with_identity,
    categorical_column_with_vocabulary_file,
    categorical_column_with_vocabulary_list,
)
from distflow.feature_column.crossed import crossed_column
from distflow.feature_column.dense import embedding_column, indicator_column
from distflow.feature_column.numeric import bucketized_column, numeric_column

__all__ = [
    "bucketized_column",
    "categorical_column_with_hash_bucket",
    "categorical_column_with_identity",
    "categorical_column_with_vocabulary_file",
    "categorical_column_with_vocabulary_list",
    "crossed_column",
    "embedding_column",
    "indicator_column",
    "numeric_column",
]

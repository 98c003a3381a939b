"""feature_column: how the columns of a table become numbers for a model."""

from distflow.base import missing
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

__getattr__ = missing.lookup(
    "tf.feature_column",
    __name__,
    """
    make_parse_example_spec sequence_categorical_column_with_hash_bucket
    sequence_categorical_column_with_identity sequence_categorical_column_with_vocabulary_file
    sequence_categorical_column_with_vocabulary_list sequence_numeric_column shared_embeddings
    weighted_categorical_column
    """,
)

import numpy as np
import pytest

from distflow.feature_column.column import MISSING, Features
from distflow.ops import operators  # noqa: F401 (attaches + and [] to tensors)


@pytest.fixture
def dense():
    """The numbers of a dense column as nested lists."""

    def compute(column, features, weights=None):
        return column.dense(Features(features), weights or {}).numpy().tolist()

    return compute


@pytest.fixture
def ids():
    """The ids of a categorical column, row by row, without those that are missing."""

    def compute(column, features):
        found = column.ids(Features(features)).numpy()
        assert found.dtype == np.int64
        return [[i for i in row if i != MISSING] for row in found.tolist()]

    return compute

import pytest

from distflow.ops import operators  # noqa: F401 (attaches + and [] to tensors)


@pytest.fixture
def values():
    """The elements of a data set as plain Python values."""

    def plain(leaf):
        if isinstance(leaf, tuple):
            return tuple(plain(v) for v in leaf)
        if isinstance(leaf, dict):
            return {k: plain(v) for k, v in leaf.items()}
        return leaf.tolist() if hasattr(leaf, "tolist") else leaf

    return lambda dataset: [plain(e) for e in dataset.as_numpy_iterator()]

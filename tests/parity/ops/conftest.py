"""The other side of the comparison: Keras 3 on TensorFlow."""

import os
import warnings

import pytest


@pytest.fixture(scope="session")
def theirs():
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras", reason="needs Keras 3: pip install distflow[parity]")

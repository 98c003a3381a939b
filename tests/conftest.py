"""Fixtures for all tests."""

import importlib.util

import pytest

from distflow.base import flags


@pytest.fixture(params=["numpy", "cpu"])
def executor(request):
    """The name of an executor, which compiles what the test compiles."""
    if request.param == "cpu" and importlib.util.find_spec("llvmlite") is None:
        pytest.skip("the cpu executor needs llvmlite")
    with flags.override(DISTFLOW_EXECUTOR=request.param):
        yield request.param

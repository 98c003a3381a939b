"""Machine code of tests is kept in a folder of their own, for child processes as well."""

import os

import pytest

from distflow.base import flags


@pytest.fixture(scope="session", autouse=True)
def cache_of_tests(tmp_path_factory):
    before = os.environ.get("DISTFLOW_CACHE_DIR")
    os.environ["DISTFLOW_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("DISTFLOW_CACHE_DIR")
    if before is not None:
        os.environ["DISTFLOW_CACHE_DIR"] = before


@pytest.fixture
def cpu_executor():
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        yield

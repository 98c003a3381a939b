"""Fixtures for all tests."""

import importlib.util
import signal

import pytest
from hypothesis import settings

from distflow.base import flags, log

# Shells start what runs in the background with SIGINT ignored, which programs that tests start and
# interrupt would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no failure, and what fails must fail again.
# --hypothesis-profile=default tries other examples each time.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

# Its first use sets the level, which would undo that of a test.
log.get_logger()


@pytest.fixture(params=["numpy", "cpu"])
def executor(request):
    """The name of an executor, which compiles what the test compiles."""
    if request.param == "cpu" and importlib.util.find_spec("llvmlite") is None:
        pytest.skip("the cpu executor needs llvmlite")
    with flags.override(DISTFLOW_EXECUTOR=request.param):
        yield request.param

"""The switch that makes functions run as plain Python (`tf.config.run_functions_eagerly`)."""

from __future__ import annotations

from distflow.base import errors
from distflow.core import context

_run_eagerly = False


def run_functions_eagerly(run_eagerly: bool) -> None:
    """Lets every `tf.function` run its Python code at each call, to debug it (True), or not."""
    global _run_eagerly
    if not isinstance(run_eagerly, bool):
        raise errors.invalid("run_functions_eagerly", "True or False", repr(run_eagerly))
    _run_eagerly = run_eagerly


def functions_run_eagerly() -> bool:
    """Whether functions run as plain Python."""
    return _run_eagerly


def inside_function() -> bool:
    """Whether this thread is tracing a function."""
    return not context.executing_eagerly()

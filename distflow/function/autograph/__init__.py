"""AutoGraph: Python control flow on tensors becomes graph control flow."""

from __future__ import annotations

import importlib
from typing import Any

from distflow.function.autograph.transform import (
    convert_user_code,
    converted,
    do_not_convert,
    to_code,
    to_graph,
)

__all__ = [
    "convert_user_code",
    "converted",
    "do_not_convert",
    "set_loop_options",
    "to_code",
    "to_graph",
]


def __getattr__(name: str) -> Any:
    # The directive is found in user code by identity, so it must be the package's own object.
    if name == "set_loop_options":
        return importlib.import_module("malt.lang.directives").set_loop_options
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""tf.experimental: sharing memory by DLPack, and the Optional of iterators."""

from __future__ import annotations

import importlib
from typing import Any

from distflow._missing import lookup
from distflow.ops import dlpack as dlpack

__all__ = ["Optional"]  # noqa: F822 - by __getattr__

_missing = lookup("experimental")


def __getattr__(name: str) -> Any:
    # Loaded when asked for, as all of tf.data is.
    if name == "Optional":
        return importlib.import_module("distflow.data.optional").Optional
    return _missing(name)

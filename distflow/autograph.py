"""tf.autograph: Python control flow on tensors becomes graph control flow."""

from __future__ import annotations

import types
from typing import Any

from distflow.function import autograph as _autograph
from distflow.function.autograph import do_not_convert as _do_not_convert
from distflow.function.autograph import to_code, to_graph

__all__ = ["experimental", "to_code", "to_graph"]


class _Experimental(types.ModuleType):
    """The names of `tf.autograph.experimental`; directives are recognised in modules only."""

    do_not_convert = staticmethod(_do_not_convert)

    @property
    def set_loop_options(self) -> Any:
        """The directive for the loop around it; its package loads on first use."""
        return _autograph.set_loop_options


experimental = _Experimental(f"{__name__}.experimental")

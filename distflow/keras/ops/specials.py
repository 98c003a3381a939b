"""Functions of `keras.ops` that are in none of its parts."""

from __future__ import annotations

from distflow.keras.ops.arrangement import (
    unstack,
)
from distflow.keras.ops.decompositions import (
    logdet,
)
from distflow.keras.ops.elementwise import (
    erf,
    erfc,
    erfinv,
    rsqrt,
    view_as_complex,
    view_as_real,
)
from distflow.keras.ops.reductions import (
    logsumexp,
)
from distflow.keras.ops.selection import (
    in_top_k,
    top_k,
)

__all__ = [
    "erf", "erfc", "erfinv", "in_top_k", "logdet", "logsumexp", "rsqrt", "top_k", "unstack",
    "view_as_complex", "view_as_real",
]  # fmt: skip

"""Rows of a table by id."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops.clip import clip_by_norm
from distflow.ops.prims import indexing
from distflow.ops.shaping import concat


def embedding_lookup(params: Any, ids: Any, max_norm: Any = None, name: Any = None) -> Tensor:
    """Returns the rows of `params` that the ids name.

    Args:
      params: [rows, ...], or a list of tensors whose rows follow one another.
      ids: int tensor; each in [0, rows).
      max_norm: rows with a larger l2 norm are scaled down to it.

    Raises:
      InvalidArgumentError: when it runs, for an id out of range.
    """
    if isinstance(params, list | tuple):
        if not params:
            raise errors.invalid("embedding_lookup", "params must not be empty", "[]")
        table = convert_to_tensor(params[0]) if len(params) == 1 else concat(params, 0)
    else:
        table = convert_to_tensor(params)
    ids = convert_to_tensor(ids)
    rows = indexing.gather(table, ids, axis=0, role="embedding_lookup: ids")
    if max_norm is None:
        return rows
    return clip_by_norm(rows, max_norm, list(range(ids.ndim, rows.ndim)))

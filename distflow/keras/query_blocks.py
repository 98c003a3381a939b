"""Attention in blocks of queries: the scores of a long sequence are never stored whole.

A block's scores are computed, used and forgotten, and computed again in the backward pass (Rabe &
Staats 2021, arXiv:2112.05682; Dao et al. 2022, arXiv:2205.14135, without their blocks of keys).
How queries are cut depends on the lengths alone, so the bits do not depend on the batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from distflow.autodiff import recompute_grad
from distflow.keras import settings
from distflow.ops import shaping

# Scores of one head from which a sequence is long, and how many a block has, about. A block of
# this size stays in a core's cache; a program has at most so many blocks.
_LONG, _BLOCK, _MOST_BLOCKS, _UNIT = 1 << 20, 1 << 18, 32, 16


def block_rows(queries: int | None, keys: int | None, in_blocks: bool | None) -> int | None:
    """Returns how many queries a block has; None: all of them at once.

    Args:
      queries, keys: lengths; None where a trace does not know them.
      in_blocks: True: always; None: where the sequence is long, unless
        `keras.config.disable_flash_attention` was called; False: never.
    """
    if in_blocks is None:
        in_blocks = settings.is_flash_attention_enabled()
    if in_blocks is False or not queries or not keys:
        return None
    if in_blocks is None and queries * keys < _LONG:
        return None
    rows = max(_BLOCK // keys, -(-queries // _MOST_BLOCKS), 1)
    rows = -(-rows // _UNIT) * _UNIT
    return rows if rows < queries else None


def over_queries(
    attend: Callable[..., Any], query: Any, key: Any, value: Any, *scored: Any,
    rows: int | None = None,
) -> Any:  # fmt: skip
    """Returns attend(query, key, value, *scored, block=0), made of blocks of queries.

    Args:
      attend: gives [batch, queries, ...] for its queries. It must not draw random numbers but
        from a key of its own, by `block`: it runs twice.
      query: [batch, queries, ...].
      key, value: [batch, keys, ...].
      scored: what stands beside the scores, [..., queries or 1, keys]; a bool, or added.
      rows: from `block_rows`.
    """
    if rows is None:
        return attend(query, key, value, *scored, block=0)
    parts = []
    for block, start in enumerate(range(0, query.shape[1], rows)):
        stop = min(start + rows, query.shape[1])
        run = recompute_grad(functools.partial(attend, block=block))
        beside = [s if s.shape[-2] == 1 else s[..., start:stop, :] for s in scored]
        parts.append(run(query[:, start:stop], key, value, *beside))
    return shaping.concat(parts, 1)

"""Philox 4x32-10: random bits as a function of a key and a counter, nothing else.

Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3" (SC11),
section 4.3. Being counter-based, the same key gives the same numbers on every worker.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10


def rounds(counter: tuple[Any, Any, Any, Any], key: tuple[int, int]) -> tuple[Any, Any, Any, Any]:
    """Returns the four output words (uint32 values in uint64 arrays) for counters and one key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> _HALF) ^ c1 ^ np.uint64(k0),
            product1 & _LOW,
            (product0 >> _HALF) ^ c3 ^ np.uint64(k1),
            product0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def bits(key: Any, stream: Any, count: int) -> Any:
    """Returns `count` uint32 words: block i of the counter (i, stream) gives words 4i to 4i+3."""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    words = rounds(
        (
            blocks & _LOW,
            blocks >> _HALF,
            np.full_like(blocks, int(stream[0])),
            np.full_like(blocks, int(stream[1])),
        ),
        (int(key[0]), int(key[1])),
    )
    return np.stack(words, axis=-1).reshape(-1)[:count].astype(np.uint32)

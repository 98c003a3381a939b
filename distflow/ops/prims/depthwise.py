"""The gradient of a depthwise filter: a sum over all positions for each of its taps.

As one convolution of groups it would need the images between the channels, and have one channel a
product; as sums it reads images and gradients where they lie, channels side by side, and a
compiler makes one loop of all taps.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from distflow.base import dtypes, shapes
from distflow.core.primitive import named
from distflow.core.tensor import EagerTensor
from distflow.ops.prims import movement

# Larger windows than 7 x 7 are left to the convolution.
_MOST_TAPS = 49


def is_for(x: Any, w: Any, g: Any, pads: Any, lhs_dilation: Any, groups: int) -> bool:
    """Whether a filter has one input channel a group, few taps, and sizes that are known."""
    static = shapes.is_static((*x.shape[1:], *w.shape, *g.shape[1:]))
    return (
        static and groups > 1 and w.shape[-2] == 1 and all(d == 1 for d in lhs_dilation)
        and math.prod(w.shape[:-2]) <= _MOST_TAPS and 0 not in x.shape
        and min(itertools.chain(*pads), default=0) >= 0
        and x.dtype in (dtypes.float32, dtypes.float64)
    )  # fmt: skip


def filter_gradient(g: Any, x: Any, w: Any, strides: Any, pads: Any, dilation: Any) -> Any:
    """Returns the gradient of w, [*window, 1, groups * m].

    Args:
      g: [batch, *out, groups * m].
      x: [batch, *spatial, groups].
      pads: (low, high) of each spatial axis.
    """
    *window, _, wide = w.shape
    n, channels = len(window), x.shape[-1]
    edges = ((0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0))
    if any(map(any, pads)):
        x = movement.pad(x, EagerTensor(np.zeros((), x.dtype.numpy)), config=edges)
    several = wide // channels
    if several > 1:
        g = movement.reshape(g, shape=(-1, *g.shape[1:-1], channels, several))
    sums = []
    for tap in itertools.product(*map(range, window)):
        starts = [t * d for t, d in zip(tap, dilation)]
        stops = [a + (out - 1) * s + 1 for a, out, s in zip(starts, g.shape[1 : n + 1], strides)]
        seen = movement.slice_(
            x, starts=(0, *starts, 0), stops=(None, *stops, None), strides=(1, *strides, 1)
        )
        if several > 1:
            seen = movement.reshape(seen, shape=(-1, *g.shape[1 : n + 1], channels, 1))
        total = named("reduce_sum")(named("mul")(seen, g), axes=tuple(range(n + 1)))
        sums.append(movement.reshape(total, shape=(1, wide)))
    return movement.reshape(movement.concat(*sums, axis=0), shape=tuple(w.shape))

"""Which window positions the outputs of a convolution see: one axis at a time.

Zeros between the elements of a spread input (`lhs_dilation`) are skipped: outputs whose windows
see the same elements form a phase, which is a dense convolution of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distflow.compiler.cpu.task import Layout
from distflow.ops.prims import contraction


@dataclass(frozen=True)
class Phase:
    """Along one spatial axis, outputs that see the same window positions.

    Output `first + q * step` sees, at window position `tap + j * tap_step`, the input at
    `base + q * move + j * tap_move` (outside the input: padding).
    """

    first: int
    step: int
    count: int
    tap: int
    tap_step: int
    taps: int
    base: int
    move: int
    tap_move: int

    def reach(self) -> tuple[int, int]:
        """Returns the lowest and the highest input position that is seen."""
        return self.base, self.base + (self.count - 1) * self.move + (self.taps - 1) * self.tap_move


def phases(
    out: int, window: int, stride: int, low: int, lhs_dilation: int, rhs_dilation: int
) -> list[Phase]:
    """Returns the phases of one spatial axis; together they hold every output once."""
    step = lhs_dilation // math.gcd(stride, lhs_dilation)
    tap_step = lhs_dilation // math.gcd(rhs_dilation, lhs_dilation)
    result = []
    for first in range(min(step, out)):
        count = -(-(out - first) // step)
        start = first * stride - low
        hits = [k for k in range(min(tap_step, window))
                if (start + k * rhs_dilation) % lhs_dilation == 0]  # fmt: skip
        tap = hits[0] if hits else 0
        result.append(
            Phase(
                first, step, count, tap, tap_step,
                -(-(window - tap) // tap_step) if hits else 0,
                (start + tap * rhs_dilation) // lhs_dilation,
                step * stride // lhs_dilation,
                tap_step * rhs_dilation // lhs_dilation,
            )
        )  # fmt: skip
    return result


def margins(axis: Sequence[Phase], size: int) -> tuple[int, int]:
    """Returns how many zeros are seen before and behind an axis of the input."""
    reach = [phase.reach() for phase in axis if phase.taps]
    low = max([0, *(-lo for lo, _ in reach)])
    return low, max([0, *(hi - size + 1 for _, hi in reach)])


@dataclass(frozen=True)
class Convolution:
    """A conv of arrays with known layouts.

    Attributes:
      x, w: layouts of the input [batch, *spatial, in] and of the filter [*window, in, out].
      out: shape of the result.
      axes: the phases of each spatial axis.
      groups: of channels.
    """

    x: Layout
    w: Layout
    out: tuple[int, ...]
    axes: tuple[tuple[Phase, ...], ...]
    groups: int

    def margins(self) -> list[tuple[int, int]]:
        """Returns how many zeros are seen before and behind each spatial axis."""
        return [margins(axis, n) for axis, n in zip(self.axes, self.x.shape[1:])]

    def dense(self) -> list[tuple[Phase, ...]]:
        """Returns the dense convolutions that this one is made of: a phase for each axis."""
        return [row for row in itertools.product(*self.axes) if all(p.taps for p in row)]

    @property
    def has_empty(self) -> bool:
        """Whether some outputs see nothing but zeros between elements."""
        return any(not phase.taps for axis in self.axes for phase in axis)


def convolution(
    attributes: dict[str, Any], x: Layout, w: Layout, out: tuple[int, ...]
) -> Convolution:
    """Returns the convolution that a conv's attributes describe."""
    strides, spread, dilation = (
        attributes[name] for name in ("strides", "lhs_dilation", "rhs_dilation")
    )
    pads = contraction._pads(x.shape, w.shape, strides, attributes["padding"], spread, dilation)
    rows = zip(out[1:-1], w.shape[:-2], strides, (low for low, _ in pads), spread, dilation)
    return Convolution(x, w, out, tuple(tuple(phases(*row)) for row in rows), attributes["groups"])

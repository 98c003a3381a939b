"""What a reduction in shared memory is, and where each of its steps lies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from distflow.comm.algorithms import pieces
from distflow.comm.buckets import Layout, Spec


class Call(NamedTuple):
    """What a reduction is, prepared once and used step after step."""

    name: str
    op: str
    specs: tuple[Spec, ...]
    layout: Layout
    digest: int
    together: bool
    steps: tuple[pieces.Step, ...]
    views: dict[int, Views]  # by number of the step and slot
    traffic: int  # bytes that each worker reads of each other one's memory


class Views(NamedTuple):
    """A step's places in shared memory, stretch by stretch."""

    own: list[list[np.ndarray]]  # this rank's partial results
    inputs: list[list[np.ndarray]]  # everybody's: of the whole stretch, or of this rank's share
    share: list[np.ndarray]  # where this rank writes its share of the sum
    result: list[np.ndarray]  # the whole sum

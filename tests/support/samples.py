"""The op sample table: one list of samples, extremes and bad inputs for all primitives."""

from __future__ import annotations

from tests.support import (
    extremes_arrays,
    samples_arrays,
    samples_contraction,
    samples_elementwise,
)

SAMPLES = [
    *samples_elementwise.SAMPLES,
    *samples_arrays.SAMPLES,
    *samples_contraction.SAMPLES,
]
EXTREMES = [
    *samples_elementwise.EXTREMES,
    *extremes_arrays.EXTREMES,
    *samples_contraction.EXTREMES,
]
ERRORS = [*samples_elementwise.ERRORS, *extremes_arrays.ERRORS, *samples_contraction.ERRORS]

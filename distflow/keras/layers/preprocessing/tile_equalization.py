"""ContrastLimitedAdaptiveHistogramEqualization (CLAHE): contrast evened out tile by tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.keras.layers.arguments import sizes
from distflow.keras.layers.preprocessing.data_layer import on_host
from distflow.keras.layers.preprocessing.random_filter import RangedImageLayer

_LEVELS = 256


class ContrastLimitedAdaptiveHistogramEqualization(RangedImageLayer):
    """Equalises the histogram of each tile, and reads each pixel between those of four tiles.

    Args:
      clip_limit: how often a value may be, in multiples of the mean; what is above is shared out.
      tile_grid_size: number of tiles, (rows, columns).

    Source: Zuiderveld 1994, "Contrast limited adaptive histogram equalization", Graphics Gems IV.
    """

    _always = True

    def __init__(self, value_range: Any = (0, 255), clip_limit: float = 4.0,
                 tile_grid_size: Any = (8, 8), data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(value_range, data_format, **kwargs)
        self.clip_limit = clip_limit
        self.tile_grid_size = sizes("tile_grid_size", tile_grid_size, 2)

    def transform_images(self, images: Any, transformation: Any = None,
                         training: Any = True) -> Any:  # fmt: skip
        """Returns the images with even contrast; histograms are made on the host."""
        x = self._to_bytes(images)
        return self._from_bytes(on_host(self._equalized, [x], x.dtype, x.shape))

    def _equalized(self, images: Any) -> Any:
        values = np.clip(images, 0, _LEVELS - 1).astype(np.int64)
        result = np.empty(images.shape, images.dtype)
        for i in range(values.shape[0]):
            for c in range(values.shape[-1]):
                result[i, :, :, c] = _equalize(values[i, :, :, c], self.tile_grid_size,
                                               self.clip_limit)  # fmt: skip
        return result

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "value_range": self.value_range, "clip_limit": self.clip_limit,
            "tile_grid_size": self.tile_grid_size,
        }  # fmt: skip


def _equalize(values: Any, grid: tuple[int, ...], clip_limit: float) -> Any:
    """Returns one channel [height, width] equalised."""
    height, width = values.shape
    rows, columns = (-(-size // count) for size, count in zip(values.shape, grid))
    lacking = [(0, rows * grid[0] - height), (0, columns * grid[1] - width)]
    padded = np.pad(values, lacking, mode="symmetric")
    tables = np.empty((*grid, _LEVELS))
    for i in range(grid[0]):
        for j in range(grid[1]):
            tile = padded[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            tables[i, j] = _table(tile, clip_limit)
    top, bottom, down = _neighbours(height, rows, grid[0])
    left, right, across = _neighbours(width, columns, grid[1])
    down = down[:, None]

    def read(i: Any, j: Any) -> Any:
        return tables[i[:, None], j[None, :], values]

    upper = (1 - across) * read(top, left) + across * read(top, right)
    lower = (1 - across) * read(bottom, left) + across * read(bottom, right)
    return (1 - down) * upper + down * lower


def _table(tile: Any, clip_limit: float) -> Any:
    """Returns what each level becomes: the share of brighter pixels than 0 up to it, times 255."""
    counts = np.bincount(tile.reshape(-1), minlength=_LEVELS).astype(float)
    if clip_limit > 0:
        limit = clip_limit * tile.size / _LEVELS
        excess = np.maximum(counts - limit, 0).sum()
        counts = np.minimum(counts, limit) + excess / _LEVELS
    total = counts.cumsum()
    return (total - total[0]) * ((_LEVELS - 1) / max(total[-1] - total[0], 1.0))


def _neighbours(size: int, tile: int, count: int) -> tuple[Any, Any, Any]:
    """Returns the tiles before and behind each pixel by their middles, and how far between."""
    at = np.arange(size) / tile - 0.5
    first = np.floor(at)
    part = at - first
    before, behind = (np.clip(i, 0, count - 1).astype(int) for i in (first, first + 1))
    return before, behind, part

"""The mel scale: bands of frequencies as ears tell them apart."""

from __future__ import annotations

from typing import Any

import numpy as np


def mel_weights(num_mel_bins: int, num_bins: int, sampling_rate: int, low: float,
                high: float) -> Any:  # fmt: skip
    """Returns the triangles [num_bins, num_mel_bins] from frequencies to mel bands, float64.

    mel(f) = 1127 ln(1 + f / 700); band i rises from edge i to edge i + 1 and falls to edge i + 2,
    where the edges divide [mel(low), mel(high)] evenly. The mean (frequency 0) counts nowhere.

    Source: Stevens, Volkmann & Newman 1937; the constants are those of the HTK book.
    """
    mels = _mel(np.linspace(0.0, sampling_rate / 2, num_bins)[1:])[:, None]
    edges = np.linspace(_mel(low), _mel(high), num_mel_bins + 2)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (mels - left) / (middle - left), (right - mels) / (right - middle)
    return np.pad(np.maximum(0.0, np.minimum(rising, falling)), ((1, 0), (0, 0)))


def _mel(frequency: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)

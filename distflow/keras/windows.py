"""Windows for Fourier transforms of pieces of a signal, by the names that SciPy gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import errors, shapes

# w(t) = sum_k (-1)^k a_k cos(2 pi k t) for t in [0, 1].
# Source: Harris 1978, On the use of windows; Nuttall 1981; Heinzel et al. 2002 for flattop.
_COSINES: dict[str, tuple[float, ...]] = {
    "boxcar": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "flattop": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
}


def _triang(size: int) -> Any:
    n = np.arange(1, (size + 1) // 2 + 1)
    half = 2 * n / (size + 1.0) if size % 2 else (2 * n - 1.0) / size
    return np.concatenate([half, half[::-1][size % 2 :]])


def _bohman(size: int) -> Any:
    x = np.abs(np.linspace(-1, 1, size)[1:-1])
    inside = (1 - x) * np.cos(np.pi * x) + np.sin(np.pi * x) / np.pi
    return np.concatenate([[0.0], inside, [0.0]])


# Windows of other forms: size (at least 2) -> values.
_OTHERS: dict[str, Callable[[int], Any]] = {
    "bartlett": np.bartlett,
    "bohman": _bohman,
    "cosine": lambda size: np.sin(np.pi / size * (np.arange(size) + 0.5)),
    "triang": _triang,
}
_SHORT = {"rectangular": "boxcar", "ones": "boxcar", "box": "boxcar",
          "hamm": "hamming", "black": "blackman", "flat": "flattop", "triangle": "triang",
          "bart": "bartlett"}  # fmt: skip
NAMES = tuple(sorted([*_COSINES, *_OTHERS, *_SHORT]))


def window(name: str, size: int, periodic: bool = False) -> Any:
    """Returns a window of `size` values, float64.

    Args:
      name: one of NAMES.
      periodic: whether the window goes on after its end, as Fourier transforms see it; else it is
        symmetric.

    Raises:
      InvalidArgumentError: for another name.
    """
    name = check(name)
    if size <= 1:
        return np.ones(size)
    length = size + 1 if periodic else size
    if name in _OTHERS:
        values = _OTHERS[name](length)
    else:
        t = 2 * np.pi * np.linspace(0, 1, length)
        values = sum((-1) ** k * a * np.cos(k * t) for k, a in enumerate(_COSINES[name]))
    return np.asarray(values)[:size]


def weights_of_frame(where: str, kind: Any, length: int, size: int | None = None,
                     periodic: bool = True) -> Any:  # fmt: skip
    """Returns what the samples of a frame are multiplied with, float64 [size].

    Args:
      where: the caller's name, for messages.
      kind: the name of a window, its numbers, or None for ones in the whole frame.
      length: of the window, which stands in the frame's middle amid zeros.
      size: of the frame; default `length`.

    Raises:
      InvalidArgumentError: for an unknown name, or numbers of another count.
    """
    size = length if size is None else size
    if kind is None:
        return np.ones(size)
    named = isinstance(kind, str)
    values = window(kind, length, periodic) if named else np.asarray(kind, np.float64)
    if values.shape != (length,):
        raise errors.invalid(where, f"a window of shape [{length}]", shapes.text(values.shape))
    before = (size - length) // 2
    return np.pad(values, (before, size - length - before))


def check(name: str) -> str:
    """Returns the window's full name.

    Raises:
      InvalidArgumentError: for a name that is not known.
    """
    full = _SHORT.get(name, name)
    if full not in _COSINES and full not in _OTHERS:
        raise errors.invalid("window", f"one of {', '.join(NAMES)}", repr(name))
    return full

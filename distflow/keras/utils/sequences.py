"""pad_sequences: lists of numbers of any lengths as one array."""

from __future__ import annotations

from typing import Any

import numpy as np


def pad_sequences(
    sequences: Any, maxlen: int | None = None, dtype: Any = "int32", padding: str = "pre",
    truncating: str = "pre", value: Any = 0.0,
) -> Any:  # fmt: skip
    """Returns sequences as an array [count, maxlen, ...], cut or filled to one length.

    Args:
      maxlen: default the length of the longest.
      padding, truncating: whether values are added or taken away at the start ("pre") or at the
        end ("post").
      value: what fills; for strings dtype must be object or str.

    Raises:
      ValueError: for sequences of other shapes, or settings that do not fit.
    """
    if not hasattr(sequences, "__len__"):
        raise ValueError("`sequences` must be iterable.")
    for name, setting in (("padding", padding), ("truncating", truncating)):
        if setting not in ("pre", "post"):
            raise ValueError(f'{name.capitalize()} type "{setting}" not understood')
    for one in sequences:
        if not hasattr(one, "__len__"):
            raise ValueError(
                "`sequences` must be a list of iterables. Found non-iterable: " + str(one)
            )
    longest = max((len(one) for one in sequences), default=0)
    length = longest if maxlen is None else maxlen
    shape = next((np.asarray(one).shape[1:] for one in sequences if len(one)), ())
    textual = np.issubdtype(np.dtype(dtype), np.str_) or np.issubdtype(np.dtype(dtype), np.str_)
    if isinstance(value, str) and np.dtype(dtype) != object and not textual:
        raise ValueError(
            f"`dtype` {dtype} is not compatible with `value`'s type: {type(value)}\nYou should set "
            "`dtype=object` for variable length strings."
        )
    result = np.full((len(sequences), length, *shape), value, dtype=dtype)
    for row, one in zip(result, sequences):
        if not len(one) or not length:
            continue
        kept = np.asarray(one[-length:] if truncating == "pre" else one[:length], dtype=dtype)
        if kept.shape[1:] != shape:
            raise ValueError(
                f"Shape of sample {kept.shape[1:]} of sequence is different from expected shape "
                f"{shape}"
            )
        if padding == "post":
            row[: len(kept)] = kept
        else:
            row[-len(kept) :] = kept
    return result

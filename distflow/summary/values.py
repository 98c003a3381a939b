"""scalar, histogram, image, text, audio, write: what TensorBoard's dashboards show.

The forms are those of TensorBoard's plugins for TF 2: a tensor, and metadata that name the plugin.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors, names
from distflow.core.tensor import Tensor
from distflow.summary import media, writer
from distflow.summary.event_file import EventFile, metadata

_SCALAR, _TENSOR, _BLOBS = 1, 2, 3  # classes of data
_AUDIO_CONTENT = b"\x10\x0b"  # encoding: WAV


def scalar(name: str, data: Any, step: Any = None, description: Any = None) -> Any:
    """Writes a number as float32; returns whether it was written.

    Args:
      name: of the curve; scopes in force (`tf.name_scope`) come before it.
      data: a scalar.
      step: where; else the step in force.
      description: Markdown, shown with it.

    Raises:
      ValueError: without any step.
      InvalidArgumentError: if data is no scalar.
    """
    tag, about = names.scoped(name), metadata("scalars", _SCALAR, description=description)

    def add(file: EventFile, now: int, value: Any) -> None:
        if value.ndim:
            raise errors.invalid(f"summary.scalar {tag!r}", "a scalar", f"shape {value.shape}")
        file.add(tag, np.asarray(value, np.float32), now, about)

    return writer.record(add, step, _value(data))


def histogram(
    name: str, data: Any, step: Any = None, buckets: int | None = None, description: Any = None
) -> Any:
    """Writes how the elements of a tensor are distributed; returns whether it was written.

    Args:
      buckets: how many, of one width; 30.
      name, step, description: as for `scalar`.
    """
    count = 30 if buckets is None else int(buckets)
    tag, about = names.scoped(name), metadata("histograms", _TENSOR, description=description)

    def add(file: EventFile, now: int, value: Any) -> None:
        file.add(tag, histogram_buckets(value, count), now, about)

    return writer.record(add, step, _value(data))


def histogram_buckets(data: Any, count: int) -> np.ndarray[Any, Any]:
    """Returns [count, 3] float64: left edge, right edge, number of elements.

    Equal elements are all in the last bucket; without elements everything is 0. Elements that are
    not finite belong to no bucket.
    """
    data = np.asarray(data, np.float64).reshape(-1)
    data = data[np.isfinite(data)]
    found = np.zeros((count, 3))
    if not data.size or not count:
        return found
    low, high = data.min(), data.max()
    if low == high:
        found[:, :2] = high
        found[-1, 2] = data.size
        return found
    edges = np.linspace(low, high, count + 1)
    found[:, 0], found[:, 1] = edges[:-1], edges[1:]
    positions = np.floor((data - low) / ((high - low) / count)).astype(np.int64)
    found[:, 2] = np.bincount(np.clip(positions, 0, count - 1), minlength=count)
    return found


def image(
    name: str, data: Any, step: Any = None, max_outputs: int = 3, description: Any = None
) -> Any:
    """Writes pictures [number, height, width, channels]; returns whether it was written.

    Args:
      data: uint8, or floats in [0, 1]; 1 to 4 channels.
      max_outputs: only so many of them.
      name, step, description: as for `scalar`.
    """
    tag, about = names.scoped(name), metadata("images", _BLOBS, description=description)

    def add(file: EventFile, now: int, value: Any) -> None:
        if value.ndim != 4:
            raise errors.invalid(
                f"summary.image {tag!r}", "pictures [number, height, width, channels]",
                f"shape {value.shape}",
            )  # fmt: skip
        shown = [media.png(picture) for picture in value[: int(max_outputs)]]
        height, width = value.shape[1:3]
        texts = [str(width).encode(), str(height).encode(), *shown]
        file.add(tag, np.array(texts, object), now, about)

    return writer.record(add, step, _value(data))


def text(name: str, data: Any, step: Any = None, description: Any = None) -> Any:
    """Writes text (Markdown), or a table of it; returns whether it was written."""
    tag, about = names.scoped(name), metadata("text", _TENSOR, description=description)
    value = _value(data)
    kind = getattr(getattr(value, "dtype", None), "name", "string")
    if isinstance(value, np.ndarray) and value.dtype.kind in "SUO":
        kind = "string"
    if kind != "string":
        raise errors.invalid(f"summary.text {tag!r}", "text", str(kind))
    return writer.record(lambda file, now, array: file.add(tag, array, now, about), step, value)


def audio(
    name: str, data: Any, sample_rate: int, step: Any = None, max_outputs: int = 3,
    encoding: str | None = None, description: Any = None,
) -> Any:  # fmt: skip
    """Writes sounds [number, samples, channels] in [-1, 1]; returns whether it was written.

    Args:
      sample_rate: samples in a second.
      encoding: "wav", the only one.
      name, step, max_outputs, description: as for `image`.
    """
    if encoding not in (None, "wav"):
        raise ValueError(f"Unknown encoding: {encoding!r}")
    content = _AUDIO_CONTENT
    tag, about = names.scoped(name), metadata("audio", _BLOBS, content, description)

    def add(file: EventFile, now: int, value: Any) -> None:
        if value.ndim != 3:
            raise errors.invalid(
                f"summary.audio {tag!r}", "sounds [number, samples, channels]",
                f"shape {value.shape}",
            )  # fmt: skip
        found = [[media.wav(one, sample_rate), b""] for one in value[: int(max_outputs)]]
        file.add(tag, np.array(found, object).reshape(len(found), 2), now, about)

    return writer.record(add, step, _value(data))


def write(
    tag: str, tensor: Any, step: Any = None, metadata: Any = None, name: str | None = None
) -> Any:
    """Writes a tensor as it is, under a tag without scopes; returns whether it was written.

    Args:
      metadata: a SummaryMetadata message, or its bytes: which plugin shows it.
    """
    about = metadata
    if about is not None and hasattr(about, "SerializeToString"):
        about = about.SerializeToString()

    def add(file: EventFile, now: int, value: Any) -> None:
        file.add(tag, value, now, None if about is None else _parsed(about))

    return writer.record(add, step, _value(tensor))


def _parsed(data: bytes) -> Any:
    found = metadata("", 0)
    found.ParseFromString(data)
    return found


def _value(data: Any) -> Any:
    """A tensor or variable as it is, all else as an array."""
    if isinstance(data, Tensor) or hasattr(data, "is_variable"):
        return data
    if isinstance(data, str | bytes):
        return np.array(data.encode() if isinstance(data, str) else data, object)
    return np.asarray(data)

"""Pictures as PNG and sound as WAV, for TensorBoard; nothing but the standard library."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from typing import Any

import numpy as np

from distflow.base import errors

_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG's colour type


def png(image: Any) -> bytes:
    """Returns a picture [height, width, 1 to 4 channels] of uint8, or floats in [0, 1], as PNG.

    Source: PNG specification (W3C), 5 and 9; every row has filter 0.
    """
    image = as_bytes(image)
    if image.ndim != 3 or image.shape[2] not in _COLOURS or 0 in image.shape:
        raise errors.invalid(
            "summary.image", "a picture [height, width, 1 to 4 channels]", str(image.shape)
        )
    height, width, channels = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    parts = (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(rows.tobytes())))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _chunk(b"IEND", b"")


def as_bytes(image: Any) -> np.ndarray[Any, Any]:
    """Returns a picture as uint8, from floats as `tf.image.convert_image_dtype` does."""
    image = np.asarray(image)
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind in "iu":
        raise errors.invalid("summary.image", "uint8 or floats in [0, 1]", str(image.dtype))
    scaled = np.nan_to_num(np.asarray(image, np.float64) * 255.5, nan=0.0)
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def wav(samples: Any, sample_rate: int) -> bytes:
    """Returns sound [samples, channels] of floats in [-1, 1] as WAV of 16 bits."""
    samples = np.asarray(samples, np.float64)
    if samples.ndim != 2:
        raise errors.invalid("summary.audio", "sound [samples, channels]", str(samples.shape))
    scaled = np.clip(np.round(samples * 32767.0), -32768, 32767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(int(sample_rate))
        file.writeframes(scaled.tobytes())
    return out.getvalue()

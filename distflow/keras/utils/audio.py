"""audio_dataset_from_directory: `.wav` files in one folder a class as batches."""

from __future__ import annotations

import wave
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.base.specs import TensorSpec
from distflow.keras.utils import folder

# Bytes of a sample -> how it is stored; 24 bits are not there.
_KINDS: dict[int, Any] = {1: np.dtype("u1"), 2: np.dtype("<i2"), 4: np.dtype("<i4")}


def audio_dataset_from_directory(
    directory: Any, labels: Any = "inferred", label_mode: Any = "int", class_names: Any = None,
    batch_size: int | None = 32, sampling_rate: int | None = None,
    output_sequence_length: int | None = None, ragged: bool = False, shuffle: bool = True,
    seed: int | None = None, validation_split: float | None = None, subset: str | None = None,
    follow_links: bool = False, verbose: bool = True,
) -> Any:  # fmt: skip
    """Returns a Dataset of (sounds [batch, length, channels] in [-1, 1], labels).

    Args:
      directory, labels, label_mode, class_names, shuffle, seed, validation_split, subset: as of
        `image_dataset_from_directory`.
      output_sequence_length: sounds are cut or filled with silence; default the longest's.
      sampling_rate, ragged: must be left out; sounds have their own rate.

    Raises:
      ValueError: for a folder or settings that do not fit.
      UnimplementedError: for `sampling_rate` and `ragged`.
      DataLossError: for a file that is not PCM of 8, 16 or 32 bits.
    """
    folder.check_settings("audio_dataset_from_directory", labels, label_mode, class_names, subset,
                          validation_split, shuffle, seed)  # fmt: skip
    if ragged or sampling_rate is not None:
        raise errors.UnimplementedError(
            "audio_dataset_from_directory: resampling and ragged batches are not there yet."
        )
    drawn = folder.draw_seed(seed)
    files = folder.find_files(directory, labels, (".wav",), class_names, follow_links, shuffle,
                              drawn)  # fmt: skip
    length = output_sequence_length or max(len(read_wave(path)) for path in files.paths)
    channels = read_wave(files.paths[0]).shape[1]

    def load(path: str) -> Any:
        sound = read_wave(path)[:length]
        return np.pad(sound, ((0, length - len(sound)), (0, 0)))

    def dataset(part: str | None) -> Any:
        return folder.make_dataset(
            folder.subset_of(files, validation_split, part), label_mode, load,
            TensorSpec((length, channels), dtypes.float32), batch_size, shuffle, drawn,
        )  # fmt: skip

    return (dataset("training"), dataset("validation")) if subset == "both" else dataset(subset)


def read_wave(path: str) -> Any:
    """Returns a PCM file's samples as float32 [length, channels] in [-1, 1].

    Raises:
      DataLossError: if it is damaged or stored in another way.
    """
    try:
        with wave.open(path, "rb") as file:
            size, channels = file.getsampwidth(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise errors.DataLossError(f"{path}: expected a WAVE file; received {error}") from error
    if size not in _KINDS:
        raise errors.DataLossError(
            f"{path}: expected samples of {list(_KINDS)} bytes; received {size}"
        )
    values = np.frombuffer(data, _KINDS[size]).reshape(-1, channels).astype(np.float32)
    return (values - 128) / 128 if size == 1 else values / float(2 ** (8 * size - 1))

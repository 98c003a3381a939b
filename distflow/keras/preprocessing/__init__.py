"""Public names of `keras.preprocessing`: data sets from files, sequences, text and pictures."""

from __future__ import annotations

from distflow.keras.preprocessing import image as image
from distflow.keras.preprocessing import sequence as sequence
from distflow.keras.preprocessing import text as text
from distflow.keras.utils import (
    image_dataset_from_directory,
    text_dataset_from_directory,
    timeseries_dataset_from_array,
)

__all__ = [
    "image_dataset_from_directory",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
]

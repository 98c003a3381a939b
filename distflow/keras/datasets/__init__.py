"""Data sets that Keras names: read from local files, never downloaded."""

from __future__ import annotations

from distflow.keras.datasets import mnist
from distflow.keras.not_there import lookup

__all__ = ["mnist"]

__getattr__ = lookup("datasets")

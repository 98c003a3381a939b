"""Data sets that Keras names: read from local files, never downloaded."""

from __future__ import annotations

from distflow.keras.datasets import mnist

__all__ = ["mnist"]

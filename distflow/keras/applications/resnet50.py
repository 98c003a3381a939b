"""ResNet50 under its older module's name."""

from __future__ import annotations

from distflow.keras.applications.resnet import ResNet50, decode_predictions, preprocess_input

__all__ = ["ResNet50", "decode_predictions", "preprocess_input"]

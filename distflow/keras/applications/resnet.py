"""ResNet50, ResNet101 and ResNet152 in their first form, and what belongs to them."""

from __future__ import annotations

from distflow.keras.applications import residual
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import caffe as preprocess_input

ResNet50 = residual.variant("ResNet50")
ResNet101 = residual.variant("ResNet101")
ResNet152 = residual.variant("ResNet152")

__all__ = ["ResNet50", "ResNet101", "ResNet152", "decode_predictions", "preprocess_input"]

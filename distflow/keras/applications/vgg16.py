"""VGG16 and what belongs to it."""

from __future__ import annotations

from distflow.keras.applications import vgg
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import caffe as preprocess_input

VGG16 = vgg.variant("VGG16")

__all__ = ["VGG16", "decode_predictions", "preprocess_input"]

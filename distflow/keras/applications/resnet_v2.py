"""ResNet50V2, ResNet101V2 and ResNet152V2, and what belongs to them."""

from __future__ import annotations

from distflow.keras.applications import residual
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import to_signed_unit as preprocess_input

ResNet50V2 = residual.variant("ResNet50V2")
ResNet101V2 = residual.variant("ResNet101V2")
ResNet152V2 = residual.variant("ResNet152V2")

__all__ = ["ResNet50V2", "ResNet101V2", "ResNet152V2", "decode_predictions", "preprocess_input"]

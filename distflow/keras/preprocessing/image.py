"""Public names of `keras.preprocessing.image`: pictures in files and as arrays.

The generators of TF 2 that augment pictures (ImageDataGenerator and others) are layers in Keras 3.
"""

from __future__ import annotations

from distflow.keras.not_there import lookup
from distflow.keras.preprocessing.augmentation import (
    apply_brightness_shift,
    apply_channel_shift,
    random_brightness,
    random_channel_shift,
)
from distflow.keras.utils.images import (
    array_to_img,
    img_to_array,
    load_img,
    save_img,
    smart_resize,
)

__all__ = [
    "apply_brightness_shift", "apply_channel_shift", "array_to_img", "img_to_array", "load_img",
    "random_brightness", "random_channel_shift", "save_img", "smart_resize",
]  # fmt: skip

__getattr__ = lookup("preprocessing.image")

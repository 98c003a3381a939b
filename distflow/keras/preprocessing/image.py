"""Public names of `keras.preprocessing.image`: pictures in files and as arrays, and TF 2's batches.

New programs change pictures by layers: `keras.layers.RandomRotation` and others.
"""

from __future__ import annotations

from distflow.keras.preprocessing.augmentation import (
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
    random_brightness,
    random_channel_shift,
    random_rotation,
    random_shear,
    random_shift,
    random_zoom,
)
from distflow.keras.preprocessing.image_batches import Iterator, NumpyArrayIterator
from distflow.keras.preprocessing.image_files import DirectoryIterator
from distflow.keras.preprocessing.image_generator import ImageDataGenerator
from distflow.keras.utils.images import (
    array_to_img,
    img_to_array,
    load_img,
    save_img,
    smart_resize,
)

__all__ = [
    "DirectoryIterator", "ImageDataGenerator", "Iterator",
    "NumpyArrayIterator", "apply_affine_transform", "apply_brightness_shift",
    "apply_channel_shift", "array_to_img", "img_to_array", "load_img", "random_brightness",
    "random_channel_shift", "random_rotation", "random_shear", "random_shift", "random_zoom",
    "save_img", "smart_resize",
]  # fmt: skip

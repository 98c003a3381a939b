"""Public names of `keras.preprocessing.image`: pictures in files and as arrays.

The generators of TF 2 that augment pictures (ImageDataGenerator and others) are layers in Keras 3.
"""

from __future__ import annotations

from distflow.keras.not_there import lookup
from distflow.keras.utils.images import (
    array_to_img,
    img_to_array,
    load_img,
    save_img,
    smart_resize,
)

__all__ = ["array_to_img", "img_to_array", "load_img", "save_img", "smart_resize"]

__getattr__ = lookup("preprocessing.image")

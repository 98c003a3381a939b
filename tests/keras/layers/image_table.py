"""Layers of images and their configurations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.keras.layers.table import rows

RNG = np.random.default_rng(9)
IMAGES = RNG.uniform(0, 255, size=(3, 7, 10, 3)).astype("float32")
SMALL = RNG.uniform(0, 255, size=(2, 4, 5, 3)).astype("float32")

FIXED = rows([
    *(("Resizing", {"height": h, "width": w, "interpolation": kind, "antialias": antialias}, IMAGES)
      for kind in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")
      for h, w, antialias in ((3, 4, False), (3, 4, True), (9, 21, False))
      if not (antialias and kind == "nearest")),
    ("Resizing", {"height": 3, "width": 3, "crop_to_aspect_ratio": True}, IMAGES),
    ("Resizing", {"height": 4, "width": 4, "pad_to_aspect_ratio": True, "fill_value": 7.0},
     IMAGES),
    ("Resizing", {"height": 3, "width": 2, "data_format": "channels_first"},
     IMAGES.transpose(0, 3, 1, 2)),
    ("CenterCrop", {"height": 3, "width": 4}, IMAGES),
    ("CenterCrop", {"height": 4, "width": 3}, IMAGES),
    ("CenterCrop", {"height": 9, "width": 6}, IMAGES),
])  # fmt: skip
_FILLS = [{"fill_mode": mode, "interpolation": kind, "fill_value": 3.0}
          for mode in ("reflect", "wrap", "constant", "nearest")
          for kind in ("bilinear", "nearest")]  # fmt: skip
GEOMETRY = rows([
    *(("RandomFlip", {"mode": mode}, IMAGES)
      for mode in ("horizontal", "vertical", "horizontal_and_vertical")),
    *(("RandomTranslation", {"height_factor": 0.4, "width_factor": (-0.3, 0.2), **fill}, IMAGES)
      for fill in _FILLS),
    *(("RandomRotation", {"factor": 0.3, **fill}, IMAGES) for fill in _FILLS[::2]),
    ("RandomRotation", {"factor": (0.1, 0.2)}, IMAGES),
    *(("RandomZoom", {"height_factor": (0.1, 0.5), **fill}, IMAGES) for fill in _FILLS[::3]),
    ("RandomZoom", {"height_factor": 0.4, "width_factor": (-0.5, -0.2)}, IMAGES),
    *(("RandomShear", {"x_factor": 0.4, "y_factor": (0.1, 0.3), **fill}, IMAGES)
      for fill in _FILLS[::3]),
    ("RandomCrop", {"height": 3, "width": 4, "seed": 5}, IMAGES),
    ("RandomCrop", {"height": 9, "width": 4, "seed": 5}, IMAGES),
])  # fmt: skip
COLOUR = rows([
    ("RandomBrightness", {"factor": 0.3}, IMAGES),
    ("RandomBrightness", {"factor": (-0.4, 0.1), "value_range": [0, 1]}, IMAGES / 255),
    ("RandomContrast", {"factor": 0.6}, IMAGES),
    ("RandomContrast", {"factor": (0.5, 0.9)}, IMAGES),
    ("RandomHue", {"factor": 0.7}, IMAGES),
    ("RandomHue", {"factor": 0.7, "value_range": (0, 1)}, IMAGES / 255),
    ("RandomSaturation", {"factor": 0.5}, IMAGES),
    ("RandomSaturation", {"factor": (0.2, 0.8), "value_range": (0, 1)}, IMAGES / 255),
    ("RandomColorDegeneration", {"factor": 0.7}, IMAGES),
    ("RandomGrayscale", {}, IMAGES),
    ("RandomInvert", {}, IMAGES),
    ("RandomInvert", {"factor": 0.5, "value_range": (0, 1)}, IMAGES / 255),
    ("RandomColorJitter", {"brightness_factor": 0.2, "contrast_factor": 0.3,
                           "saturation_factor": 0.2, "hue_factor": 0.1}, IMAGES),
])  # fmt: skip


FILTERS = rows([
    ("RandomSharpness", {"factor": 0.5}, IMAGES),
    ("RandomPosterization", {"factor": 4}, IMAGES),
    ("RandomPosterization", {"factor": (2, 7), "value_range": [0, 1]}, IMAGES / 255),
    ("Solarization", {"addition_factor": 0.2, "threshold_factor": 0.7}, IMAGES),
    ("Solarization", {"threshold_factor": (0.3, 0.5), "value_range": (0, 1)}, IMAGES / 255),
    ("RandomErasing", {}, IMAGES),
    ("RandomErasing", {"scale": (0.2, 0.5), "fill_value": 3.0}, IMAGES),
])  # fmt: skip
WARPS = rows([
    ("RandomGaussianBlur", {"kernel_size": 5, "sigma": (0.5, 2.0)}, IMAGES),
    ("RandomGaussianBlur", {"factor": (0.3, 0.6), "value_range": (0, 1)}, IMAGES / 255),
    ("RandomPerspective", {}, IMAGES),
    ("RandomPerspective", {"scale": 0.4, "interpolation": "nearest", "fill_value": 3.0}, IMAGES),
    ("RandomElasticTransform", {}, IMAGES),
    ("RandomElasticTransform", {"scale": (0.4, 0.9), "fill_mode": "constant"}, IMAGES),
    ("RandAugment", {}, IMAGES),
    ("RandAugment", {"num_ops": 3, "factor": (0.1, 0.4), "value_range": (0, 1)}, IMAGES / 255),
    ("AugMix", {}, IMAGES),
    ("AugMix", {"num_chains": 2, "chain_depth": 2, "all_ops": False, "alpha": 0.7}, IMAGES),
])  # fmt: skip
_TILES = "ContrastLimitedAdaptiveHistogramEqualization"
REMAPS = rows([
    (_TILES, {"tile_grid_size": (2, 3), "clip_limit": 2.0}, IMAGES),
    (_TILES, {"value_range": (0, 1), "clip_limit": 0.0, "tile_grid_size": (1, 1)}, IMAGES / 255),
    ("AutoContrast", {}, IMAGES),
    ("AutoContrast", {"value_range": (0, 1)}, IMAGES / 300),
    # One image: Keras takes the histograms of a batch together.
    ("Equalization", {}, IMAGES[:1]),
    ("Equalization", {"value_range": (0, 1), "bins": 256}, IMAGES[1:2] / 255),
])  # fmt: skip
FIXED += REMAPS

IMAGE_LAYERS: list[Any] = [*FIXED, *GEOMETRY, *COLOUR, *FILTERS, *WARPS]

"""Names of Keras that are not there yet: asking for one says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base import missing


def lookup(room: str) -> Callable[[str], Any]:
    """Returns the `__getattr__` of a room of `keras`."""
    return missing.lookup(f"keras.{room}", f"distflow.keras.{room}", NAMES[room], "Keras")


# A name leaves its row when it arrives; tests/house/test_missing.py checks that none is in both.
NAMES = {
    "layers": """
        FlaxLayer JaxLayer RandomHeight RandomWidth TFSMLayer TorchModuleWrapper
    """,
    "callbacks": """
        BaseLogger OrbaxCheckpoint
    """,
    "utils": "FeatureSpace bounding_boxes legacy",
    "backend": """
        ctc_label_dense_to_sparse learning_phase_scope local_conv1d local_conv2d
        manual_variable_initialization set_learning_phase
    """,
    "dtype_policies": """
        AWQDTypePolicy GPTQDTypePolicy Int4DTypePolicy QuantizedFloat8DTypePolicy
    """,
    "quantizers": "AWQConfig Float8QuantizationConfig GPTQConfig Int4QuantizationConfig",
    "config": "enable_unsafe_deserialization set_backend",
    "ops": """
        affine_transform crop_images elastic_transform extract_patches extract_patches_3d
        gaussian_blur hsv_to_rgb image map_coordinates pad_images perspective_transform resize
        rgb_to_grayscale rgb_to_hsv scale_and_translate sobel_edges ssim
    """,
}

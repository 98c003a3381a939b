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
    "optimizers": """
        legacy
    """,
    "utils": "FeatureSpace bounding_boxes legacy",
    "backend": """
        ctc_batch_cost ctc_decode ctc_label_dense_to_sparse learning_phase_scope local_conv1d
        local_conv2d manual_variable_initialization rnn set_learning_phase
    """,
    "dtype_policies": """
        AWQDTypePolicy DTypePolicyMap GPTQDTypePolicy Int4DTypePolicy QuantizedDTypePolicy
        QuantizedFloat8DTypePolicy
    """,
    "preprocessing.image": """
        DirectoryIterator ImageDataGenerator Iterator NumpyArrayIterator apply_affine_transform
        random_rotation random_shear random_shift random_zoom
    """,
    "config": """
        disable_flash_attention disable_traceback_filtering enable_flash_attention
        enable_traceback_filtering enable_unsafe_deserialization is_flash_attention_enabled
        is_nnx_enabled is_traceback_filtering_enabled set_backend
    """,
    "ops": """
        adaptive_average_pool adaptive_max_pool affine_transform crop_images ctc_decode ctc_loss
        elastic_transform extract_patches extract_patches_3d fft fft2 gaussian_blur hsv_to_rgb i0
        ifft2 image irfft istft jvp map_coordinates pad_images perspective_transform rearrange
        resize rfft rgb_to_grayscale rgb_to_hsv scale_and_translate sobel_edges ssim stft
    """,
    "ops.numpy": "i0",
    "ops.nn": "adaptive_average_pool adaptive_max_pool ctc_decode ctc_loss",
    "ops.linalg": "jvp",
}

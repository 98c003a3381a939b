"""What the models of the golden files were trained on."""

import numpy as np

_rng = np.random.default_rng(0)
IMAGES = _rng.normal(size=(8, 6, 6, 1)).astype("float32")
ROWS = _rng.normal(size=(8, 3)).astype("float32")
TOKENS = _rng.integers(0, 5, (8, 4)).astype("int32")
TARGETS = _rng.normal(size=(8, 2)).astype("float32")

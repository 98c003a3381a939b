"""Public names of `keras.ops`: NumPy's functions and those of neural networks.

With a KerasTensor each of them becomes a node of a functional model, which `.keras` files hold as
Keras 3 does. `keras.ops.numpy`, `.nn` and `.linalg` hold the same functions by subject.
"""

from __future__ import annotations

from distflow.keras.not_there import lookup
from distflow.keras.ops import linalg as linalg
from distflow.keras.ops import nn as nn
from distflow.keras.ops import numpy as numpy
from distflow.keras.ops.core import *  # noqa: F403
from distflow.keras.ops.core import __all__ as _core
from distflow.keras.ops.fourier import *  # noqa: F403
from distflow.keras.ops.fourier import __all__ as _fourier
from distflow.keras.ops.linalg import *  # noqa: F403
from distflow.keras.ops.linalg import __all__ as _linalg
from distflow.keras.ops.nn import *  # noqa: F403
from distflow.keras.ops.nn import __all__ as _nn
from distflow.keras.ops.numpy import *  # noqa: F403
from distflow.keras.ops.numpy import __all__ as _numpy
from distflow.keras.ops.rearrange import *  # noqa: F403
from distflow.keras.ops.rearrange import __all__ as _rearrange
from distflow.keras.ops.segments import *  # noqa: F403
from distflow.keras.ops.segments import __all__ as _segments
from distflow.keras.ops.specials import *  # noqa: F403
from distflow.keras.ops.specials import __all__ as _specials

__all__ = sorted({*_core, *_fourier, *_linalg, *_nn, *_numpy, *_rearrange, *_segments, *_specials})

__getattr__ = lookup("ops")

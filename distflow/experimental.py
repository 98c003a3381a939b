"""tf.experimental: sharing memory by DLPack."""

from distflow._missing import lookup
from distflow.ops import dlpack

__all__ = ["dlpack"]

__getattr__ = lookup("experimental")

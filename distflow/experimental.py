"""tf.experimental: sharing memory by DLPack."""

from distflow._missing import lookup
from distflow.ops import dlpack as dlpack

__all__: list[str] = []

__getattr__ = lookup("experimental")

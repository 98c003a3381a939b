"""tf.bitwise: bits of integers."""

from distflow._missing import lookup
from distflow.ops.bitwise import (
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    invert,
    left_shift,
    right_shift,
)

__all__ = [
    "bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift",
]  # fmt: skip

__getattr__ = lookup("bitwise")

"""tf.version: which distflow this is."""

VERSION = "0.1.0"

__all__ = ["VERSION"]

"""tf.strings: operations on strings."""

from distflow._missing import lookup
from distflow.ops.strings import (
    as_string,
    join,
    length,
    lower,
    reduce_join,
    regex_full_match,
    regex_replace,
    strip,
    substr,
    to_hash_bucket_fast,
    to_number,
    upper,
)

__all__ = [
    "as_string", "join", "length", "lower", "reduce_join", "regex_full_match", "regex_replace",
    "strip", "substr", "to_hash_bucket_fast", "to_number", "upper",
]  # fmt: skip

__getattr__ = lookup("strings")

"""StringLookup and IntegerLookup: vocabularies of strings and of integers."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors
from distflow.keras.layers.preprocessing.hashing import hash_key
from distflow.keras.layers.preprocessing.index_lookup import IndexLookup
from distflow.keras.layers.preprocessing.siphash import siphash
from distflow.ops import farmhash, math


class StringLookup(IndexLookup):
    """The index of each string in a vocabulary; the arguments are those of IndexLookup.

    Args:
      encoding: of the strings that `get_vocabulary` gives.
      salt: out-of-vocabulary buckets by SipHash under this key in place of FarmHash.
    """

    def __init__(self, max_tokens: int | None = None, num_oov_indices: int = 1,
                 mask_token: Any = None, oov_token: Any = "[UNK]", vocabulary: Any = None,
                 idf_weights: Any = None, invert: bool = False, output_mode: str = "int",
                 pad_to_max_tokens: bool = False, sparse: bool = False, encoding: str = "utf-8",
                 name: str | None = None, salt: Any = None, **kwargs: Any):  # fmt: skip
        kwargs.pop("oov_method", None)
        self.encoding = encoding
        super().__init__(max_tokens, num_oov_indices, mask_token, oov_token, vocabulary,
                         idf_weights, invert, output_mode, sparse, pad_to_max_tokens, salt,
                         name=name, **kwargs)  # fmt: skip
        self._key = hash_key("StringLookup", salt)
        self.salt = None if self._key is None else list(self._key)

    def _checked(self, inputs: Any) -> Any:
        if inputs.dtype is not dtypes.string:
            raise errors.DtypeMismatchError(
                f"StringLookup: expected strings; received {inputs.dtype.name}.\n"
                "IntegerLookup looks integers up."
            )
        return inputs

    def _bucket(self, value: bytes) -> int:
        number = siphash(value, self._key) if self._key else farmhash.fingerprint64(value)
        return number % self.num_oov_indices

    def _plain(self, value: Any) -> Any:
        if value is None or isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise errors.DtypeMismatchError(
                f"StringLookup: expected a vocabulary of strings; received {value!r}."
            )
        return value.encode(self.encoding)

    def _public(self, token: bytes) -> str:
        return token.decode(self.encoding)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        salt = config.pop("salt")
        return config | {"oov_method": "floormod", "salt": salt, "encoding": self.encoding}


class IntegerLookup(IndexLookup):
    """The index of each integer in a vocabulary; the arguments are those of IndexLookup.

    Args:
      vocabulary_dtype: "int64", the only one.
      oov_method: out-of-vocabulary buckets by "floormod", or by "farmhash" of the decimal digits.
      salt: with "farmhash", SipHash under this key in its place.
    """

    _kind = dtypes.int64

    def __init__(self, max_tokens: int | None = None, num_oov_indices: int = 1,
                 mask_token: Any = None, oov_token: int = -1, vocabulary: Any = None,
                 vocabulary_dtype: str = "int64", idf_weights: Any = None, invert: bool = False,
                 output_mode: str = "int", sparse: bool = False, pad_to_max_tokens: bool = False,
                 oov_method: str = "floormod", salt: Any = None, name: str | None = None,
                 **kwargs: Any):  # fmt: skip
        if vocabulary_dtype != "int64":
            raise errors.invalid(
                "IntegerLookup", "Only `vocabulary_dtype='int64'` is supported at this time",
                f"vocabulary_dtype={vocabulary_dtype}",
            )  # fmt: skip
        if oov_method not in ("floormod", "farmhash"):
            raise errors.invalid(
                "IntegerLookup", "Unknown value for `oov_method`. Allowed values are: ('floormod', "
                "'farmhash')", f"oov_method={oov_method}",
            )  # fmt: skip
        self.vocabulary_dtype = vocabulary_dtype
        self.oov_method = oov_method
        super().__init__(max_tokens, num_oov_indices, mask_token, oov_token, vocabulary,
                         idf_weights, invert, output_mode, sparse, pad_to_max_tokens, salt,
                         name=name, **kwargs)  # fmt: skip
        self._key = hash_key("IntegerLookup", salt)
        self.salt = None if self._key is None else list(self._key)

    def _checked(self, inputs: Any) -> Any:
        if inputs.dtype is dtypes.string:
            raise errors.DtypeMismatchError(
                "IntegerLookup: expected integers; received strings.\nStringLookup looks them up."
            )
        return math.cast(inputs, dtypes.int64)

    def _bucket(self, value: int) -> int:
        if self.oov_method == "floormod":
            return value % self.num_oov_indices
        token = str(value).encode()
        number = siphash(token, self._key) if self._key else farmhash.fingerprint64(token)
        return number % self.num_oov_indices

    def _plain(self, value: Any) -> Any:
        if value is None:
            return None
        number = float(value) if _is_number(value) else None
        if number is None or int(number) != number:
            raise errors.invalid(
                "IntegerLookup", "a vocabulary of integers", repr(value),
                "StringLookup has vocabularies of strings.",
            )  # fmt: skip
        return int(value)

    def _public(self, token: int) -> int:
        return token

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        salt = config.pop("salt")
        return config | {
            "vocabulary_dtype": self.vocabulary_dtype, "oov_method": self.oov_method, "salt": salt,
        }  # fmt: skip


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True

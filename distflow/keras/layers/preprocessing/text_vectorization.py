"""TextVectorization: strings to the indices of their words, in a host step of one pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import serialization
from distflow.keras.layers.preprocessing.data_layer import (
    DataLayer,
    as_array,
    batches,
    encoded_shape,
    on_host,
)
from distflow.keras.layers.preprocessing.string_lookup import StringLookup
from distflow.ops import array

_PUNCTUATION = re.compile(rb"""[!"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']""")
_STANDARDS: dict[str, Callable[[bytes], bytes]] = {
    "lower_and_strip_punctuation": lambda text: _PUNCTUATION.sub(b"", text.lower()),
    "lower": bytes.lower,
    "strip_punctuation": lambda text: _PUNCTUATION.sub(b"", text),
}
_SPLITS: dict[str, Callable[[bytes], list[bytes]]] = {
    "whitespace": bytes.split,
    "character": lambda text: [c.encode() for c in text.decode("utf-8", "replace")],
}


class TextVectorization(DataLayer):
    """Standardises each string, splits it, joins n-grams, and looks the tokens up.

    Args:
      max_tokens: the largest vocabulary, special tokens included; None for no limit.
      standardize: "lower_and_strip_punctuation", "lower", "strip_punctuation", None, or a
        function of a string tensor.
      split: "whitespace", "character", None, or a function of a string tensor [batch] that gives
        [batch, tokens], short rows filled with "".
      ngrams: an int n for 1-grams to n-grams, or a tuple of the sizes wanted.
      output_mode: "int", or "multi_hot", "count" or "tf_idf" over each string.
      output_sequence_length: cuts or pads rows of "int" to this length.
      vocabulary, idf_weights, pad_to_max_tokens, encoding: as StringLookup.

    Rows of "int" are padded with 0; 1 stands for words that the vocabulary lacks.
    """

    def __init__(self, max_tokens: int | None = None,
                 standardize: Any = "lower_and_strip_punctuation", split: Any = "whitespace",
                 ngrams: Any = None, output_mode: str = "int",
                 output_sequence_length: int | None = None, pad_to_max_tokens: bool = False,
                 vocabulary: Any = None, idf_weights: Any = None, sparse: bool = False,
                 ragged: bool = False, encoding: str = "utf-8", name: str | None = None,
                 **kwargs: Any):  # fmt: skip
        announced = kwargs.pop("vocabulary_size", None)
        super().__init__(name=name, **kwargs)
        where = "TextVectorization"
        standardize, split = (_function_of(f) for f in (standardize, split))
        _check_choice(where, "standardize", standardize, _STANDARDS)
        _check_choice(where, "split", split, _SPLITS)
        if ragged:
            raise errors.UnimplementedError(f"{where}: ragged tensors are not there yet.")
        if output_mode != "int" and output_sequence_length is not None:
            raise errors.invalid(
                where, "`output_sequence_length` must not be set if `output_mode` is not 'int'",
                f"output_sequence_length={output_sequence_length}",
            )  # fmt: skip
        if output_sequence_length is not None and (
            not isinstance(output_sequence_length, int) or output_sequence_length < 1
        ):
            raise errors.invalid(
                where, "`output_sequence_length` must be None or a positive integer",
                f"output_sequence_length={output_sequence_length}",
            )  # fmt: skip
        self._ngrams_arg = ngrams
        self._ngrams = _widths(where, ngrams)
        self._standardize = standardize
        self._split = split
        self._output_mode = output_mode
        self._output_sequence_length = output_sequence_length
        self._encoding = encoding
        self._lookup_layer = StringLookup(
            max_tokens=max_tokens, vocabulary=vocabulary, idf_weights=idf_weights,
            pad_to_max_tokens=pad_to_max_tokens, mask_token="" if output_mode == "int" else None,
            output_mode=output_mode, sparse=sparse, encoding=encoding,
            vocabulary_size=announced,
        )  # fmt: skip

    # -- the vocabulary --------------------------------------------------------------------

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Finds the vocabulary in an array, a tensor or a dataset of strings."""
        self._lookup_layer.reset_state()
        for batch in batches(data, steps=steps):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Counts the tokens of more strings."""
        values = as_array(data)
        self._check_rank(values.shape)
        texts = self._standardized(convert_to_tensor(values.reshape(-1)))
        self._lookup_layer.count_rows(self._tokens(as_array(texts)))

    def finalize_state(self) -> None:
        """Makes the vocabulary of what was counted."""
        self._lookup_layer.finalize_state()

    def reset_state(self) -> None:
        """Forgets what was counted."""
        self._lookup_layer.reset_state()

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """Returns the vocabulary by index."""
        return self._lookup_layer.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """Returns the number of indices, special tokens included."""
        return self._lookup_layer.vocabulary_size()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Sets the vocabulary from a list, an array or a file."""
        self._lookup_layer.set_vocabulary(vocabulary, idf_weights)

    # -- the pass --------------------------------------------------------------------------

    def call(self, inputs: Any) -> Any:
        """Returns the indices [batch, tokens], or their encoding [batch, vocabulary]."""
        if inputs.dtype is not dtypes.string:
            raise errors.DtypeMismatchError(
                f"TextVectorization: expected strings; received {inputs.dtype.name}."
            )
        self._check_rank(inputs.shape)
        scalar = inputs.ndim == 0
        flat = array.reshape(inputs, [-1])
        texts = self._standardized(flat)
        length = self._output_sequence_length if self._output_mode == "int" else None
        if self._split is None and self._output_mode == "int":
            ids = on_host(self._rows, [texts], dtypes.int64, (texts.shape[0], None))
            ids = array.reshape(ids, [-1])
            return array.reshape(ids, []) if scalar else ids
        ids = on_host(self._rows, [texts], dtypes.int64, (texts.shape[0], length))
        ids = self._lookup_layer.encoded(ids)
        return ids[0] if scalar else ids

    def _standardized(self, texts: Any) -> Any:
        """Applies a function of the user's; those known by name follow in `_tokens`."""
        return self._standardize(texts) if callable(self._standardize) else texts

    def _rows(self, texts: Any) -> Any:
        """Returns the indices of all strings, short rows padded."""
        self._lookup_layer.require_vocabulary()
        rows = [self._lookup_layer.positions(row) for row in self._tokens(texts)]
        length = self._output_sequence_length or max(map(len, rows), default=0)
        # Padding has the mask's index 0; for encodings, an index that counts for nothing.
        fill = 0 if self._output_mode == "int" else -1
        result = np.full((len(rows), length), fill, np.int64)
        for i, row in enumerate(rows):
            result[i, : min(length, len(row))] = row[:length]
        return result

    def _tokens(self, texts: Any) -> list[list[bytes]]:
        """Returns the tokens of strings."""
        strings = texts.reshape(-1).tolist()
        if isinstance(self._standardize, str):
            standard = _STANDARDS[self._standardize]
            strings = [standard(s) for s in strings]
        if callable(self._split):
            table = as_array(self._split(convert_to_tensor(np.asarray(strings, object))))
            rows = [[t for t in row if t != b""] for row in table.tolist()]
        elif self._split is None:
            rows = [[s] for s in strings]
        else:
            split = _SPLITS[self._split]
            rows = [split(s) for s in strings]
        return rows if self._ngrams is None else [self._joined(row) for row in rows]

    def _joined(self, tokens: list[bytes]) -> list[bytes]:
        return [
            b" ".join(tokens[i : i + n])
            for n in self._ngrams or ()
            for i in range(len(tokens) - n + 1)
        ]

    def _check_rank(self, shape: Any) -> None:
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
            raise errors.invalid(
                "TextVectorization", "the input rank must be 1 or the last dimension must be 1",
                f"shape {tuple(shape)}",
            )  # fmt: skip

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns [batch, tokens], or [batch, vocabulary]."""
        if self._output_mode == "int":
            length = () if self._split is None else (self._output_sequence_length,)
            return (input_shape[0], *length)
        depth = self._lookup_layer._depth()
        return encoded_shape((input_shape[0], None), "multi_hot", depth)

    def save_assets(self, dir_path: Any) -> None:
        """Writes the vocabulary beside a model's weights, unless the config holds it."""
        self._lookup_layer.save_assets(dir_path)

    def load_assets(self, dir_path: Any) -> None:
        """Reads the vocabulary that `save_assets` wrote."""
        self._lookup_layer.load_assets(dir_path)

    def save_own_variables(self, store: Any) -> None:
        """Puts the weights that `adapt` found into a store."""
        self._lookup_layer.save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        """Takes the weights that `adapt` found from a store."""
        self._lookup_layer.load_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer; a vocabulary that was found is a file."""
        inner = self._lookup_layer.get_config()
        standardize, split = (
            serialization.serialize_keras_object(f) if callable(f) else f
            for f in (self._standardize, self._split)
        )
        return super().get_config() | {
            "max_tokens": inner["max_tokens"], "standardize": standardize, "split": split,
            "ngrams": self._ngrams_arg, "output_mode": self._output_mode,
            "output_sequence_length": self._output_sequence_length,
            "pad_to_max_tokens": inner["pad_to_max_tokens"], "sparse": inner["sparse"],
            "ragged": False, "vocabulary": inner["vocabulary"],
            "idf_weights": inner["idf_weights"], "encoding": self._encoding,
            "vocabulary_size": self.vocabulary_size(),
        }  # fmt: skip


def _function_of(value: Any) -> Any:
    return serialization.deserialize_keras_object(value) if isinstance(value, dict) else value


def _check_choice(where: str, name: str, value: Any, known: dict[str, Any]) -> None:
    if value is not None and not callable(value) and value not in known:
        raise errors.invalid(
            where, f"Unknown value for `{name}`. Allowed values are: {tuple(known)}",
            f"{name}={value}",
        )  # fmt: skip


def _widths(where: str, ngrams: Any) -> tuple[int, ...] | None:
    if ngrams is None:
        return None
    if isinstance(ngrams, int) and not isinstance(ngrams, bool) and ngrams > 0:
        return tuple(range(1, ngrams + 1))
    if isinstance(ngrams, tuple | list) and all(isinstance(n, int) for n in ngrams):
        return tuple(ngrams)
    raise errors.invalid(
        where, "`ngrams` must be None, an integer, or a tuple of integers", f"ngrams={ngrams}"
    )

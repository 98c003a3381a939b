"""IndexLookup: the position of a value in a vocabulary, and back; the base of the lookups.

The vocabulary is a Python table: looking up runs on the host, in compiled functions too.
"""

from __future__ import annotations

import collections
import math as _math
from pathlib import Path
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.keras.layers.preprocessing.data_layer import (
    DataLayer,
    as_array,
    batches,
    check_mode,
    encode,
    encoded_shape,
    on_host,
)

_MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")


class IndexLookup(DataLayer):
    """Turns values into indices: [mask token], out-of-vocabulary buckets, vocabulary.

    Args:
      max_tokens: the largest vocabulary, special tokens included; None for no limit.
      num_oov_indices: buckets for values that the vocabulary lacks; 0 makes them an error.
      mask_token: a value that has index 0 for itself; None for none.
      oov_token: what out-of-vocabulary indices are turned back to.
      vocabulary: an array or list, or the path of a text file; else `adapt` finds it.
      idf_weights: weights of the vocabulary, for "tf_idf".
      invert: turns indices into values.
      output_mode: "int", "one_hot", "multi_hot", "count" or "tf_idf".
      pad_to_max_tokens: whether encodings have max_tokens columns in any case.
    """

    _kind: dtypes.DType = dtypes.string

    def __init__(self, max_tokens: int | None, num_oov_indices: int, mask_token: Any,
                 oov_token: Any, vocabulary: Any, idf_weights: Any, invert: bool,
                 output_mode: str, sparse: bool, pad_to_max_tokens: bool, salt: Any,
                 vocabulary_size: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        where = type(self).__name__
        if max_tokens is not None and max_tokens <= 1:
            raise errors.invalid(
                where, "If set, `max_tokens` must be greater than 1", f"max_tokens={max_tokens}"
            )
        if pad_to_max_tokens and max_tokens is None:
            raise errors.invalid(
                where, "If pad_to_max_tokens is True, must set `max_tokens`", "max_tokens=None"
            )
        if num_oov_indices < 0:
            raise errors.invalid(
                where, "`num_oov_indices` must be greater than or equal to 0",
                f"num_oov_indices={num_oov_indices}",
            )  # fmt: skip
        check_mode(where, output_mode, _MODES, sparse)
        if invert and output_mode != "int":
            raise errors.invalid(
                where, "`output_mode` must be 'int' when `invert` is true",
                f"output_mode={output_mode}",
            )  # fmt: skip
        if idf_weights is not None and output_mode != "tf_idf":
            raise errors.invalid(
                where, "`idf_weights` should only be set if `output_mode` is 'tf_idf'",
                f"output_mode={output_mode}",
            )  # fmt: skip
        self.max_tokens = max_tokens
        self.num_oov_indices = num_oov_indices
        self.mask_token = mask_token
        self.oov_token = oov_token
        self.invert = invert
        self.output_mode = output_mode
        self.sparse = sparse
        self.pad_to_max_tokens = pad_to_max_tokens
        self.salt = salt
        self.input_vocabulary = vocabulary
        self.input_idf_weights = idf_weights
        # What `adapt` counts: values, and documents that hold them.
        self._counts: collections.Counter[Any] = collections.Counter()
        self._documents: collections.Counter[Any] = collections.Counter()
        self._num_documents = 0
        self._tokens: list[Any] | None = None
        self._idf: Any = None
        self._announced_size = vocabulary_size
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    # -- the vocabulary --------------------------------------------------------------------

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Sets the vocabulary from a list, an array or a file; special tokens may lead it."""
        where = type(self).__name__
        tokens = [self._plain(t) for t in self._read(vocabulary)]
        if self.output_mode == "tf_idf" and idf_weights is None:
            raise errors.invalid(
                where, "`idf_weights` must be set where output_mode is 'tf_idf'", "None"
            )
        if not tokens:
            raise errors.invalid(where, "Cannot set an empty vocabulary", f"{vocabulary!r:.80}")
        special = self._special_tokens()
        if special and tokens[: len(special)] == special:
            tokens = tokens[len(special) :]
        elif self.mask_token is not None and tokens[:1] == [self._plain(self.mask_token)]:
            raise errors.invalid(
                where, f"a vocabulary that starts with {special}, or holds no special tokens",
                f"{tokens[:3]}",
            )  # fmt: skip
        repeated = [t for t, n in collections.Counter(tokens).items() if n > 1]
        if repeated:
            raise errors.invalid(
                where, "The passed vocabulary must have no repeated terms", f"{repeated[:5]}"
            )
        taken = [t for t in dict.fromkeys(special) if t in tokens]
        if taken and self._plain(self.mask_token) in taken:
            raise errors.invalid(
                where, "the mask token must not be a term of the vocabulary", f"{taken}"
            )
        size = len(tokens) + len(special)
        if self.max_tokens is not None and size > self.max_tokens:
            raise errors.invalid(
                where, f"a vocabulary of at most {self.max_tokens} terms (`max_tokens`), special "
                "ones included", f"{size} terms",
            )  # fmt: skip
        self._take(tokens, None if idf_weights is None else np.asarray(idf_weights, np.float32))

    def _take(self, tokens: list[Any], idf: Any) -> None:
        first = len(self._special_tokens())
        if idf is not None and idf.size not in (len(tokens), len(tokens) + first):
            raise errors.invalid(
                type(self).__name__, f"`idf_weights` of the vocabulary's length {len(tokens)}",
                str(idf.size),
            )  # fmt: skip
        self._tokens = tokens
        self._positions = {token: first + i for i, token in enumerate(tokens)}
        if self.mask_token is not None:
            self._positions[self._plain(self.mask_token)] = 0
        self._idf = None
        if idf is not None:
            own = idf[idf.size - len(tokens) :]
            # Values outside of the vocabulary weigh what its terms weigh on average.
            lead = [0.0] * (self.mask_token is not None)
            self._idf = np.concatenate((lead, [own.mean()] * self.num_oov_indices, own))

    def _special_tokens(self) -> list[Any]:
        lead = [] if self.mask_token is None else [self._plain(self.mask_token)]
        return lead + [self._plain(self.oov_token)] * self.num_oov_indices

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """Returns the vocabulary by index."""
        tokens = self._special_tokens() if include_special_tokens else []
        return [self._public(t) for t in [*tokens, *(self._tokens or [])]]

    def vocabulary_size(self) -> int:
        """Returns the number of indices, special tokens included."""
        return len(self._special_tokens()) + len(self._tokens or [])

    def _read(self, vocabulary: Any) -> list[Any]:
        if isinstance(vocabulary, str):
            path = Path(vocabulary)
            if not path.exists():
                raise errors.invalid(
                    type(self).__name__, "the path of a vocabulary file",
                    f"Vocabulary file {vocabulary} does not exist",
                )  # fmt: skip
            return path.read_text("utf-8").splitlines()
        return as_array(vocabulary).reshape(-1).tolist()

    # -- adapting --------------------------------------------------------------------------

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Finds the vocabulary in an array, a tensor or a dataset: frequent values come first."""
        self.reset_state()
        for batch in batches(data, steps=steps):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Counts more data; each row is a document."""
        if self.input_vocabulary is not None:
            raise errors.invalid(
                f"{type(self).__name__}.adapt", "a layer without a vocabulary of its own; this "
                "one was given one", f"{self.input_vocabulary!r:.60}",
            )  # fmt: skip
        values = as_array(data)
        rows = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
        self.count_rows(rows.tolist())

    def count_rows(self, rows: list[list[Any]]) -> None:
        """Counts the values of documents."""
        for row in rows:
            tokens = [self._plain(value) for value in row]
            self._counts.update(tokens)
            self._documents.update(set(tokens))
        self._num_documents += len(rows)

    def finalize_state(self) -> None:
        """Makes the vocabulary of what was counted."""
        if self.input_vocabulary is not None or not self._counts:
            return
        special = set(self._special_tokens())
        found = [t for t in self._counts if t not in special and t != b""]
        # Equally frequent values stand in descending order, as in Keras.
        found.sort(key=lambda t: (self._counts[t], t), reverse=True)
        if self.max_tokens is not None:
            found = found[: self.max_tokens - len(self._special_tokens())]
        idf = None
        if self.output_mode == "tf_idf":
            weights = [self._num_documents / (1 + self._documents[t]) for t in found]
            idf = np.asarray([_math.log(1 + w) for w in weights], np.float32)
        self._take(found, idf)

    def reset_state(self) -> None:
        """Forgets what was counted; the vocabulary stays until there is another."""
        self._counts.clear()
        self._documents.clear()
        self._num_documents = 0

    # -- looking up ------------------------------------------------------------------------

    def call(self, inputs: Any) -> Any:
        """Returns the indices of the inputs, encoded; or with `invert` the values of indices."""
        if self.invert:
            return on_host(self._values, [inputs], self._kind, inputs.shape)
        ids = on_host(self._indices, [self._checked(inputs)], dtypes.int64, inputs.shape)
        return self.encoded(ids)

    def encoded(self, ids: Any) -> Any:
        """Returns indices in the layer's encoding."""
        dtype = self.compute_dtype if self.output_mode == "tf_idf" else dtypes.int64
        depth = self._depth()
        idf = None
        if self.output_mode == "tf_idf":
            found = np.zeros(0) if self._idf is None else self._idf
            idf = np.pad(found, (0, depth - found.size)).astype(np.float32)
        return encode(ids, self.output_mode, depth, dtype, idf=idf)

    def _checked(self, inputs: Any) -> Any:
        return inputs

    def require_vocabulary(self) -> None:
        """Raises FailedPreconditionError before there is a vocabulary."""
        if self._tokens is None:
            raise errors.FailedPreconditionError(
                f"{type(self).__name__}: expected a `vocabulary`, or a call of `adapt` or "
                "`set_vocabulary` before the first use; received none."
            )

    def _depth(self) -> int:
        if self.pad_to_max_tokens and self.max_tokens:
            return self.max_tokens
        # Before the vocabulary of a file is read, the file's config tells its size.
        known = self._tokens is not None or self._announced_size is None
        return self.vocabulary_size() if known else int(self._announced_size)

    def _indices(self, values: Any) -> Any:
        self.require_vocabulary()
        found = self.positions(values.reshape(-1).tolist())
        return np.asarray(found, np.int64).reshape(values.shape)

    def positions(self, values: list[Any]) -> list[int]:
        """Returns the index of each value."""
        table = self._positions
        return [p if (p := table.get(v)) is not None else self._outside(v) for v in values]

    def _outside(self, value: Any) -> int:
        if not self.num_oov_indices:
            raise errors.invalid(
                type(self).__name__, "When `num_oov_indices=0` all inputs should be in vocabulary",
                f"the value {value!r}", "Consider setting `num_oov_indices=1`.",
            )  # fmt: skip
        first = 0 if self.mask_token is None else 1
        return first if self.num_oov_indices == 1 else first + self._bucket(value)

    def _bucket(self, value: Any) -> int:
        raise AssertionError("subclasses define _bucket")

    def _values(self, ids: Any) -> Any:
        self.require_vocabulary()
        table = [*self._special_tokens(), *(self._tokens or [])]
        other = self._plain(self.oov_token)
        flat = [table[i] if 0 <= i < len(table) else other for i in ids.reshape(-1).tolist()]
        result = np.empty(len(flat), self._kind.numpy)
        result[:] = flat
        return result.reshape(ids.shape)

    def _plain(self, value: Any) -> Any:
        """A value as the table holds it."""
        raise AssertionError("subclasses define _plain")

    def _public(self, token: Any) -> Any:
        """A value as `get_vocabulary` gives it."""
        raise AssertionError("subclasses define _public")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the encoding."""
        mode = "multi_hot" if self.output_mode in ("count", "tf_idf") else self.output_mode
        return encoded_shape(input_shape, mode, self._depth())

    # -- files and configs -----------------------------------------------------------------

    def save_assets(self, dir_path: Any) -> None:
        """Writes the vocabulary beside a model's weights, unless the config holds it."""
        if self.input_vocabulary is None and self._tokens is not None:
            lines = [str(t) for t in self.get_vocabulary(include_special_tokens=True)]
            Path(dir_path, "vocabulary.txt").write_text("\n".join(lines), "utf-8")

    def load_assets(self, dir_path: Any) -> None:
        """Reads the vocabulary that `save_assets` wrote."""
        path = Path(dir_path, "vocabulary.txt")
        if self.input_vocabulary is None and path.exists():
            tokens = [self._plain(t) for t in path.read_text("utf-8").split("\n")]
            weights = self._idf
            self._take(tokens[len(self._special_tokens()) :], None)
            self._idf = weights

    def save_own_variables(self, store: Any) -> None:
        """Puts the weights that `adapt` found into a store."""
        if self.output_mode == "tf_idf" and self._idf is not None:
            store["idf_weights"] = np.asarray(self._idf, np.float32)

    def load_own_variables(self, store: Any) -> None:
        """Takes the weights that `adapt` found from a store."""
        if "idf_weights" in store:
            self._idf = np.asarray(store["idf_weights"])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer; a vocabulary that was found is a file."""
        given = self.input_vocabulary
        weights = self.input_idf_weights
        return super().get_config() | {
            "invert": self.invert, "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices, "oov_token": self.oov_token,
            "mask_token": self.mask_token, "output_mode": self.output_mode,
            "sparse": self.sparse, "pad_to_max_tokens": self.pad_to_max_tokens,
            "idf_weights": None if weights is None else np.asarray(weights).tolist(),
            "vocabulary": given if isinstance(given, str | None) else np.asarray(given).tolist(),
            "vocabulary_size": self.vocabulary_size(), "salt": self.salt,
        }  # fmt: skip

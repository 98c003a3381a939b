"""Layers that prepare data, with data to adapt to and inputs: rows for all tests of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.keras.layers.table import Row, floats


@dataclass(frozen=True)
class DataRow(Row):
    """A layer that may adapt to data before its first use."""

    adapt: Any = None

    def __str__(self) -> str:
        return super().__str__() + ("+adapt" if self.adapt is not None else "")

    def ready(self, module: Any, **more: Any) -> Any:
        """Returns the layer, adapted."""
        layer = self.make(module, **more)
        if self.adapt is not None:
            layer.adapt(self.adapt)
        return layer


def rows(table: Any) -> list[DataRow]:
    made = []
    for name, settings, inputs, *more in table:
        kwargs = more[0] if more else {}
        made.append(DataRow(name, settings, inputs, kwargs.get("call", {}), kwargs.get("adapt")))
    return made


_IDS = np.array([[0, 1], [0, 0], [1, 2], [3, 1]])
_NUMBERS = np.array([[-1.5, 1.0], [3.4, 0.5], [0.0, 2.0]], "float32")
_WORDS = np.array([["a", "c", "d"], ["d", "z", "b"]])
_LETTERS = np.array([["A"], ["B"], [""], ["D"], ["E"]])
_CODES = np.array([[12, 1138, 42], [42, 1000, 36]])
_TEXT = np.array(["The cat sat, on the MAT!", "a dog (sat) on  a log."])
_BOUNDS = [0.0, 1.0, 2.0]
_VOCABULARY, _INTEGERS = ["a", "b", "c", "d"], [12, 36, 1138, 42]
_MANY = np.random.default_rng(0).normal(size=2000).astype("float32")

NUMBERS = rows([
    ("Normalization", {}, _NUMBERS, {"adapt": floats(7, 2) * 3 + 1}),
    ("Normalization", {"axis": None}, _NUMBERS, {"adapt": floats(7, 2)}),
    ("Normalization", {"axis": (1, 2)}, floats(2, 3, 4), {"adapt": floats(5, 3, 4)}),
    ("Normalization", {"invert": True}, _NUMBERS, {"adapt": floats(7, 2)}),
    ("Normalization", {"mean": [1.0, 2.0], "variance": [2.0, 0.5]}, _NUMBERS),
    ("Normalization", {"axis": None, "mean": 1.0, "variance": 0.0}, _NUMBERS),
    *(("Discretization", {"bin_boundaries": _BOUNDS, "output_mode": mode}, _NUMBERS)
      for mode in ("int", "one_hot", "multi_hot", "count")),
    ("Discretization", {"num_bins": 4}, _NUMBERS, {"adapt": _MANY}),
    ("Discretization", {"num_bins": 3, "epsilon": 0.1}, _NUMBERS, {"adapt": _NUMBERS}),
])  # fmt: skip
CATEGORIES = rows([
    *(("CategoryEncoding", {"num_tokens": 4, "output_mode": mode}, ids)
      for mode in ("one_hot", "multi_hot", "count") for ids in (_IDS, _IDS[:, :1], _IDS[:, 0])),
    ("CategoryEncoding", {"num_tokens": 4, "output_mode": "count"}, _IDS,
     {"call": {"count_weights": np.array([[0.1, 0.2], [0.3, 0.4], [1, 2], [0, 5]], "float32")}}),
    ("CategoryEncoding", {"num_tokens": 3}, _IDS),
    ("Hashing", {"num_bins": 3}, _LETTERS),
    ("Hashing", {"num_bins": 3, "mask_value": ""}, _LETTERS),
    ("Hashing", {"num_bins": 7, "salt": 133}, _LETTERS),
    ("Hashing", {"num_bins": 7, "salt": [133, 137]}, _LETTERS),
    ("Hashing", {"num_bins": 5}, _IDS),
    ("Hashing", {"num_bins": 5, "mask_value": 0, "salt": 3}, _IDS),
    *(("Hashing", {"num_bins": 3, "output_mode": mode}, _WORDS)
      for mode in ("one_hot", "multi_hot", "count")),
    *(("HashedCrossing", {"num_bins": 5, "output_mode": mode},
       [np.array(["A", "B", "A", "B"]), np.array([101, 101, 102, 102])])
      for mode in ("int", "one_hot")),
    ("HashedCrossing", {"num_bins": 50},
     [np.array([["A"], ["B"]]), np.array([[1], [2]]), np.array([["q"], ["r"]])]),
])  # fmt: skip
LOOKUPS = rows([
    *(("StringLookup", {"vocabulary": _VOCABULARY, **settings}, _WORDS) for settings in (
        {}, {"mask_token": ""}, {"num_oov_indices": 3}, {"num_oov_indices": 3, "salt": 5},
        {"output_mode": "one_hot"}, {"output_mode": "multi_hot"}, {"output_mode": "count"},
        {"output_mode": "multi_hot", "max_tokens": 8, "pad_to_max_tokens": True},
        {"output_mode": "tf_idf", "idf_weights": [0.25, 0.75, 0.6, 0.4]})),
    ("StringLookup", {"vocabulary": ["", "[UNK]", "a"], "mask_token": ""}, _WORDS),
    ("StringLookup", {"vocabulary": _VOCABULARY, "num_oov_indices": 0}, _WORDS[:, :1]),
    ("StringLookup", {"vocabulary": _VOCABULARY, "invert": True}, np.array([[1, 3], [0, 9]])),
    ("StringLookup", {}, _WORDS, {"adapt": _WORDS}),
    ("StringLookup", {"max_tokens": 3, "num_oov_indices": 1}, _WORDS, {"adapt": _WORDS}),
    ("StringLookup", {"output_mode": "tf_idf"}, _WORDS, {"adapt": _WORDS}),
    ("StringLookup", {"output_mode": "count"}, _WORDS, {"adapt": _WORDS[:1]}),
    *(("IntegerLookup", {"vocabulary": _INTEGERS, **settings}, _CODES) for settings in (
        {}, {"mask_token": 1000}, {"num_oov_indices": 3},
        {"num_oov_indices": 3, "oov_method": "farmhash"},
        {"num_oov_indices": 3, "oov_method": "farmhash", "salt": 5},
        {"output_mode": "count"}, {"output_mode": "multi_hot"})),
    ("IntegerLookup", {"vocabulary": _INTEGERS, "invert": True}, np.array([[1, 3], [0, 9]])),
    ("IntegerLookup", {}, _CODES, {"adapt": _CODES}),
    ("IntegerLookup", {"max_tokens": 4}, _CODES, {"adapt": _CODES}),
])  # fmt: skip
TEXT = rows([
    *(("TextVectorization", settings, _TEXT, {"adapt": _TEXT}) for settings in (
        {}, {"output_sequence_length": 4}, {"output_sequence_length": 9}, {"max_tokens": 5},
        {"ngrams": 2}, {"ngrams": (1, 3)}, {"output_mode": "multi_hot"},
        {"output_mode": "count", "ngrams": 2}, {"output_mode": "tf_idf"},
        {"split": "character", "output_sequence_length": 5}, {"standardize": None},
        {"standardize": "lower"}, {"standardize": "strip_punctuation"}, {"split": None},
        {"output_mode": "multi_hot", "max_tokens": 20, "pad_to_max_tokens": True})),
    ("TextVectorization", {"vocabulary": ["the", "cat"]}, _TEXT[:, None]),
    ("TextVectorization", {"vocabulary": ["the", "cat"], "output_mode": "tf_idf",
                           "idf_weights": [0.5, 2.0]}, _TEXT),
])  # fmt: skip

DATA_LAYERS = [*NUMBERS, *CATEGORIES, *LOOKUPS, *TEXT]

"""Reuters: 11228 news wires as word numbers, of 46 topics.

Source: Lewis 1987, Reuters-21578 text categorization collection.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.keras.datasets import arrays, files, housing, words

_SHA256 = "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916"
_INDEX_MD5 = "4d44cc38712099c9e383dc6e5f11a921"
_TOPICS = """
    cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves
    ship cotton carcass crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin
    strategic-metal livestock retail ipi iron-steel rubber heat jobs lei bop zinc orange pet-chem
    dlr gas silver wpi hog lead
"""


def load_data(
    path: str = "reuters.npz", num_words: int | None = None, skip_top: int = 0,
    maxlen: int | None = None, test_split: float = 0.2, seed: int = 113,
    start_char: int | None = 1, oov_char: int | None = 2, index_from: int = 3,
) -> Any:  # fmt: skip
    """Returns (x_train, y_train), (x_test, y_test): lists of word numbers, and topics.

    Arguments are those of `imdb.load_data`, and test_split, the part that is kept for testing.
    """
    where = "reuters.load_data"
    housing.check_split(where, test_split)
    file = files.fetch(where, path, files.STORAGE + "reuters.npz", f"sha256:{_SHA256}")
    texts, labels = arrays.read_npz(where, file, ("x", "y"))
    texts, labels = words.shuffled(texts, labels, np.random.RandomState(seed))
    texts = words.numbered(texts, start_char, index_from or 0)
    texts, labels = words.shorter(where, texts, labels, maxlen)
    texts = words.limited(texts, num_words, skip_top, oov_char)
    labels, count = np.asarray(labels), int(len(texts) * (1 - test_split))
    return (
        (words.as_array(texts[:count]), labels[:count]),
        (words.as_array(texts[count:]), labels[count:]),
    )


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, int]:
    """Returns word -> number, before `index_from` is added."""
    return words.index("reuters.get_word_index", path, "reuters_word_index.json", _INDEX_MD5)


def get_label_names() -> tuple[str, ...]:
    """Returns the 46 topics in the order of their numbers."""
    return tuple(_TOPICS.split())

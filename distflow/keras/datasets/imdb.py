"""IMDB: 50000 film reviews as word numbers, and whether they are good ones.

Source: Maas et al. 2011, Learning word vectors for sentiment analysis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.keras.datasets import arrays, files, words

_SHA256 = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
_INDEX_MD5 = "bfafd718b763782e994055a2d397834f"


def load_data(
    path: str = "imdb.npz", num_words: int | None = None, skip_top: int = 0,
    maxlen: int | None = None, seed: int = 113, start_char: int | None = 1,
    oov_char: int | None = 2, index_from: int = 3,
) -> Any:  # fmt: skip
    """Returns (x_train, y_train), (x_test, y_test): lists of word numbers, and 0 or 1.

    Args:
      path: an .npz file; a bare name is looked for in ~/.keras/datasets and downloaded if it is
        not there.
      num_words, skip_top: words outside [skip_top, num_words) become oov_char.
      maxlen: longer reviews are left out.
      seed: of the order.
      start_char: put before each review; None: nothing.
      oov_char: None leaves such words out.
      index_from: added to all word numbers.
    """
    where = "imdb.load_data"
    file = files.fetch(where, path, files.STORAGE + "imdb.npz", f"sha256:{_SHA256}")
    names = ("x_train", "y_train", "x_test", "y_test")
    x_train, y_train, x_test, y_test = arrays.read_npz(where, file, names)
    rng = np.random.RandomState(seed)
    parts = []
    for texts, labels in ((x_train, y_train), (x_test, y_test)):
        texts, labels = words.shuffled(texts, labels, rng)
        texts = words.numbered(texts, start_char, index_from or 0)
        parts.append(words.shorter(where, texts, labels, maxlen))
    count = len(parts[0][0])
    texts = words.limited([*parts[0][0], *parts[1][0]], num_words, skip_top, oov_char)
    return (
        (words.as_array(texts[:count]), np.asarray(parts[0][1])),
        (words.as_array(texts[count:]), np.asarray(parts[1][1])),
    )


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, int]:
    """Returns word -> number, before `index_from` is added."""
    return words.index("imdb.get_word_index", path, "imdb_word_index.json", _INDEX_MD5)

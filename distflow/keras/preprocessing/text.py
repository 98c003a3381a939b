"""Public names of `keras.preprocessing.text`: words as numbers, as TF 2 had it.

`keras.layers.TextVectorization` does this inside of models.
"""

from __future__ import annotations

import collections
import hashlib
import json
from typing import Any

import numpy as np

__all__ = [
    "Tokenizer", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json",
]  # fmt: skip

_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def text_to_word_sequence(input_text: str, filters: str = _FILTERS, lower: bool = True,
                          split: str = " ") -> list[str]:  # fmt: skip
    """Returns the words of a text."""
    text = input_text.lower() if lower else input_text
    text = text.translate({ord(c): split for c in filters})
    return [word for word in text.split(split) if word]


def one_hot(input_text: str, n: int, filters: str = _FILTERS, lower: bool = True,
            split: str = " ") -> list[int]:  # fmt: skip
    """Returns the words' numbers in 1 ... n-1 by a hash, which differs from process to process."""
    return hashing_trick(input_text, n, hash, filters, lower, split)


def hashing_trick(text: str, n: int, hash_function: Any = None, filters: str = _FILTERS,
                  lower: bool = True, split: str = " ") -> list[int]:  # fmt: skip
    """Returns the words' numbers in 1 ... n-1 by a hash: Python's, "md5", or a function."""
    if hash_function is None:
        hash_function = hash
    elif hash_function == "md5":
        hash_function = _md5
    words = text_to_word_sequence(text, filters, lower, split)
    return [int(hash_function(word)) % (n - 1) + 1 for word in words]


def _md5(word: str) -> int:
    return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)


class Tokenizer:
    """Numbers words by how often they occur in the texts that it has been fitted on.

    Args:
      num_words: only the num_words - 1 most frequent are kept.
      filters, lower, split: how texts are taken apart.
      char_level: whether characters are the words.
      oov_token: stands for words that are not known, with number 1.
      analyzer: takes texts apart instead.
    """

    def __init__(
        self, num_words: int | None = None, filters: str = _FILTERS, lower: bool = True,
        split: str = " ", char_level: bool = False, oov_token: str | None = None,
        analyzer: Any = None, **kwargs: Any,
    ):  # fmt: skip
        self.document_count = kwargs.pop("document_count", 0)
        if kwargs:
            raise TypeError(f"Unrecognized keyword arguments: {kwargs}")
        self.word_counts: collections.OrderedDict[str, int] = collections.OrderedDict()
        self.word_docs: dict[str, int] = collections.defaultdict(int)
        self.index_docs: dict[int, int] = collections.defaultdict(int)
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}
        self.filters, self.lower, self.split = filters, lower, split
        self.num_words, self.char_level = num_words, char_level
        self.oov_token, self.analyzer = oov_token, analyzer

    def _words(self, text: Any) -> list[str]:
        if self.char_level or isinstance(text, list):
            return [t.lower() for t in text] if self.lower else list(text)
        if self.analyzer is not None:
            return self.analyzer(text)
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def fit_on_texts(self, texts: Any) -> None:
        """Counts the words of texts and numbers them anew."""
        for text in texts:
            self.document_count += 1
            words = self._words(text)
            for word in words:
                self.word_counts[word] = self.word_counts.get(word, 0) + 1
            for word in set(words):
                self.word_docs[word] += 1
        ranked = sorted(self.word_counts.items(), key=lambda item: item[1], reverse=True)
        names = [] if self.oov_token is None else [self.oov_token]
        names += [word for word, _ in ranked]
        self.word_index = {word: i for i, word in enumerate(names, 1)}
        self.index_word = {i: word for word, i in self.word_index.items()}
        self.index_docs = collections.defaultdict(
            int, {self.word_index[word]: count for word, count in self.word_docs.items()}
        )

    def fit_on_sequences(self, sequences: Any) -> None:
        """Counts the documents of sequences of numbers."""
        self.document_count += len(sequences)
        for sequence in sequences:
            for i in set(sequence):
                self.index_docs[i] += 1

    def texts_to_sequences(self, texts: Any) -> list[list[int]]:
        """Returns the numbers of the words of texts; unknown words are left out (or oov_token)."""
        unknown = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        result = []
        for text in texts:
            numbers = []
            for word in self._words(text):
                i = self.word_index.get(word)
                if i is None or (self.num_words and i >= self.num_words):
                    i = unknown
                if i is not None:
                    numbers.append(i)
            result.append(numbers)
        return result

    def sequences_to_texts(self, sequences: Any) -> list[str]:
        """Returns texts of the words that numbers stand for."""
        unknown = self.oov_token
        result = []
        for sequence in sequences:
            words = []
            for i in sequence:
                word = self.index_word.get(int(i))
                if word is None or (self.num_words and i >= self.num_words):
                    word = unknown
                if word is not None:
                    words.append(word)
            result.append(" ".join(words))
        return result

    def texts_to_matrix(self, texts: Any, mode: str = "binary") -> Any:
        """Returns a row [num_words] for each text; see `sequences_to_matrix`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Any, mode: str = "binary") -> Any:
        """Returns rows of "binary" marks, "count"s, "freq"uencies or "tfidf" weights.

        Raises:
          ValueError: for other modes, or before anything is known of the words.
        """
        if not self.num_words and not self.word_index:
            raise ValueError("Specify a dimension (`num_words` argument), or fit on some text data "
                             "first.")  # fmt: skip
        if mode == "tfidf" and not self.document_count:
            raise ValueError("Fit the Tokenizer on some data before using tfidf mode.")
        if mode not in ("binary", "count", "freq", "tfidf"):
            raise ValueError(f"Unknown vectorization mode: {mode}")
        width = self.num_words or len(self.word_index) + 1
        rows = np.zeros((len(sequences), width))
        for row, sequence in zip(rows, sequences):
            counts = collections.Counter(i for i in sequence if i < width)
            for i, count in counts.items():
                if mode == "tfidf":
                    idf = np.log(1 + self.document_count / (1 + self.index_docs.get(i, 0)))
                    row[i] = (1 + np.log(count)) * idf
                else:
                    row[i] = {"binary": 1, "count": count, "freq": count / len(sequence)}[mode]
        return rows

    def get_config(self) -> dict[str, Any]:
        """Returns the settings, and what has been counted as JSON."""
        return {
            "num_words": self.num_words, "filters": self.filters, "lower": self.lower,
            "split": self.split, "char_level": self.char_level, "oov_token": self.oov_token,
            "document_count": self.document_count, "word_counts": json.dumps(self.word_counts),
            "word_docs": json.dumps(self.word_docs), "index_docs": json.dumps(self.index_docs),
            "index_word": json.dumps(self.index_word), "word_index": json.dumps(self.word_index),
        }  # fmt: skip

    def to_json(self, **kwargs: Any) -> str:
        """Returns the tokenizer as JSON, for `tokenizer_from_json`."""
        return json.dumps({"class_name": "Tokenizer", "config": self.get_config()}, **kwargs)


def tokenizer_from_json(json_string: str) -> Tokenizer:
    """Returns the tokenizer that `to_json` wrote."""
    config = json.loads(json_string)["config"]
    counted = {
        key: json.loads(config.pop(key))
        for key in ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
    }
    tokenizer = Tokenizer(**config)
    tokenizer.word_counts = collections.OrderedDict(counted["word_counts"])
    tokenizer.word_docs = collections.defaultdict(int, counted["word_docs"])
    tokenizer.index_docs = collections.defaultdict(
        int, {int(k): v for k, v in counted["index_docs"].items()}
    )
    tokenizer.index_word = {int(k): v for k, v in counted["index_word"].items()}
    tokenizer.word_index = counted["word_index"]
    return tokenizer

"""What IMDB and Reuters share: texts as lists of word numbers, most frequent word first."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras.datasets import files


def shuffled(texts: Any, labels: Any, rng: Any) -> tuple[Any, Any]:
    """Returns texts and labels in an order drawn from `rng`."""
    order = np.arange(len(texts))
    rng.shuffle(order)
    return texts[order], labels[order]


def numbered(texts: Any, start_char: int | None, index_from: int) -> list[list[int]]:
    """Returns texts with all numbers moved up by index_from, after a start."""
    start = [] if start_char is None else [start_char]
    return [[*start, *(word + index_from for word in text)] for text in texts]


def shorter(where: str, texts: Any, labels: Any, maxlen: int | None) -> tuple[Any, Any]:
    """Returns the texts of fewer than maxlen words, and their labels.

    Raises:
      InvalidArgumentError: if none is left.
    """
    if not maxlen:
        return texts, labels
    kept = [(text, label) for text, label in zip(texts, labels) if len(text) < maxlen]
    if not kept:
        raise errors.invalid(
            where, f"at least one text of fewer than maxlen={maxlen} words", "none",
            "Increase maxlen.",
        )  # fmt: skip
    return [text for text, _ in kept], [label for _, label in kept]


def limited(
    texts: list[list[int]], num_words: int | None, skip_top: int, oov_char: int | None
) -> list[list[int]]:
    """Returns texts whose words are in [skip_top, num_words); others become oov_char or go."""
    limit = num_words or max(max(text) for text in texts)
    if oov_char is None:
        return [[w for w in text if skip_top <= w < limit] for text in texts]
    return [[w if skip_top <= w < limit else oov_char for w in text] for text in texts]


def as_array(texts: list[list[int]]) -> Any:
    """Returns an array of lists."""
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def index(where: str, path: str, name: str, md5: str) -> dict[str, int]:
    """Returns word -> number, from a JSON file."""
    file = files.fetch(where, path, files.STORAGE + name, f"md5:{md5}")
    try:
        with open(file, encoding="utf-8") as stream:
            return json.load(stream)
    except ValueError as error:
        raise errors.DataLossError(
            f"{where}: expected {file} to be JSON; received {error}"
        ) from error

"""Public names of `keras.preprocessing.sequence`: padding, windows, and pairs of words."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from distflow.keras.training.py_dataset import PyDataset
from distflow.keras.utils.sequences import pad_sequences

__all__ = ["TimeseriesGenerator", "make_sampling_table", "pad_sequences", "skipgrams"]


class TimeseriesGenerator(PyDataset):
    """Batches of windows of a series with the target after each window.

    Args:
      data: [time, ...].
      targets: [time, ...]; that of a window is targets[end of the window].
      length: steps that a window spans.
      sampling_rate: distance of the steps in a window.
      stride: distance of the starts of windows.
      start_index, end_index: of the first and the last target.
      shuffle: whether windows are drawn by chance.
      reverse: whether the steps of a window run backwards.
      batch_size: windows of a batch.
    """

    def __init__(
        self, data: Any, targets: Any, length: int, sampling_rate: int = 1, stride: int = 1,
        start_index: int = 0, end_index: int | None = None, shuffle: bool = False,
        reverse: bool = False, batch_size: int = 128,
    ):  # fmt: skip
        super().__init__()
        if len(data) != len(targets):
            raise ValueError(
                "Data and targets have to be of same length. Data length is "
                f"{len(data)} while target length is {len(targets)}"
            )
        self.data, self.targets, self.length = data, targets, length
        self.sampling_rate, self.stride = sampling_rate, stride
        self.start_index = start_index + length
        self.end_index = len(data) - 1 if end_index is None else end_index
        self.shuffle, self.reverse, self.batch_size = shuffle, reverse, batch_size
        if self.start_index > self.end_index:
            raise ValueError(
                f"`start_index+length={self.start_index} > end_index={self.end_index}` is "
                "disallowed, as no part of the sequence would be left to be used as current step."
            )

    def __len__(self) -> int:
        steps = self.end_index - self.start_index + self.batch_size * self.stride
        return steps // (self.batch_size * self.stride)

    def __getitem__(self, index: int) -> Any:
        """Returns (windows, targets) of batch `index`."""
        if self.shuffle:
            rows = np.random.randint(self.start_index, self.end_index + 1, size=self.batch_size)
        else:
            first = self.start_index + self.batch_size * self.stride * index
            last = min(first + self.batch_size * self.stride, self.end_index + 1)
            rows = np.arange(first, last, self.stride)
        windows = np.array(
            [self.data[row - self.length : row : self.sampling_rate] for row in rows]
        )
        return windows[:, ::-1] if self.reverse else windows, np.array(
            [self.targets[row] for row in rows]
        )


def make_sampling_table(size: int, sampling_factor: float = 1e-5) -> Any:
    """Returns the chance to keep the word of each rank, if words are as frequent as Zipf says."""
    rank = np.arange(size)
    rank[0] = 1
    gamma = 0.577  # Euler's constant
    inverse = rank * (np.log(rank) + gamma) + 0.5 - 1.0 / (12.0 * rank)
    kept = sampling_factor * inverse
    return np.minimum(1.0, kept / np.sqrt(kept))


def skipgrams(
    sequence: Any, vocabulary_size: int, window_size: int = 4, negative_samples: float = 1.0,
    shuffle: bool = True, categorical: bool = False, sampling_table: Any = None,
    seed: int | None = None,
) -> tuple[list[Any], list[Any]]:  # fmt: skip
    """Returns pairs [word, other word] and labels: 1 for neighbours, 0 for words drawn by chance.

    Args:
      sequence: word numbers; 0 is no word.
      window_size: how far a neighbour may be.
      negative_samples: chance pairs for each pair of neighbours.
      categorical: labels [0, 1] and [1, 0] instead of 1 and 0.
      sampling_table: chance to keep a word of each number.
    """
    chance = random.Random(seed) if seed is not None else random
    couples: list[Any] = []
    labels: list[Any] = []
    for i, word in enumerate(sequence):
        if not word:
            continue
        if sampling_table is not None and sampling_table[word] < chance.random():
            continue
        for j in range(max(0, i - window_size), min(len(sequence), i + window_size + 1)):
            if j != i and sequence[j]:
                couples.append([word, sequence[j]])
                labels.append([0, 1] if categorical else 1)
    if negative_samples > 0:
        words = [couple[0] for couple in couples]
        chance.shuffle(words)
        count = int(len(labels) * negative_samples)
        couples += [[words[i % len(words)], chance.randint(1, vocabulary_size - 1)]
                    for i in range(count)]  # fmt: skip
        labels += [[1, 0] if categorical else 0] * count
    if shuffle:
        order = list(range(len(couples)))
        chance.shuffle(order)
        couples, labels = [couples[i] for i in order], [labels[i] for i in order]
    return couples, labels

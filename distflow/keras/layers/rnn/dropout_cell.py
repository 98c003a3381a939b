"""Dropout of recurrent cells: one mask for all steps of a sequence.

Source: Gal & Ghahramani 2016, arXiv:1512.05287.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from distflow.keras import random
from distflow.ops import array


class _Masks(threading.local):
    """The masks in use, by cell; each thread (a replica, say) has its own."""

    def __init__(self) -> None:
        self.of_inputs: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self.of_states: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


_masks = _Masks()


class DropoutRNNCell:
    """Mixin of cells with `dropout`, `recurrent_dropout` and a `seed_generator`.

    A mask is drawn when it is first asked for, and stays until it is reset, as RNN does at the end
    of each call. With a `dropout_mask_count` there are that many masks (a list), one for each gate.
    """

    dropout: float
    recurrent_dropout: float
    seed_generator: Any
    dropout_mask_count: int | None = None

    def get_dropout_mask(self, step_input: Any) -> Any:
        """Returns the mask(s) for inputs like `step_input` [batch, features], None at rate 0."""
        return self._mask(_masks.of_inputs, step_input, self.dropout)

    def get_recurrent_dropout_mask(self, step_input: Any) -> Any:
        """Returns the mask(s) for states like `step_input` [batch, units], None at rate 0."""
        return self._mask(_masks.of_states, step_input, self.recurrent_dropout)

    def reset_dropout_mask(self) -> None:
        """Forgets the mask of the inputs; the next call draws another."""
        _masks.of_inputs.pop(self, None)

    def reset_recurrent_dropout_mask(self) -> None:
        """Forgets the mask of the states; the next call draws another."""
        _masks.of_states.pop(self, None)

    def _mask(self, kept: Any, like: Any, rate: float) -> Any:
        if not rate:
            return None
        if self not in kept:
            ones = array.ones_like(like)
            count = self.dropout_mask_count
            drawn = [
                random.dropout(ones, rate, seed=self.seed_generator) for _ in range(count or 1)
            ]
            kept[self] = drawn if count else drawn[0]
        return kept[self]

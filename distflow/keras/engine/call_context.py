"""What the outermost call of this thread hands to the layers inside: `training`, losses."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from distflow.base.names import name_scope


class _State(threading.local):
    def __init__(self) -> None:
        self.depth = 0
        self.training: Any = None
        self.scopes: list[Any] = []
        # Losses belong to a call, so each thread (a replica, say) has its own.
        self.losses: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()


state = _State()


class calling:
    """Marks a layer's call in a `with` block: layers inside take over its `training`."""

    __slots__ = ("_before", "_training")

    def __init__(self, training: Any):
        self._training = training

    def __enter__(self) -> None:
        self._before = state.training
        state.training = self._training
        state.depth += 1

    def __exit__(self, *unused: object) -> None:
        state.depth -= 1
        state.training = self._before


class layer_scope:
    """Names variables of the `with` block after a layer, once even where calls of it nest."""

    __slots__ = ("_layer", "_scope")

    def __init__(self, layer: Any):
        self._layer = layer
        self._scope: Any = None

    def __enter__(self) -> None:
        scopes = state.scopes
        if not scopes or scopes[-1] is not self._layer:
            scopes.append(self._layer)
            self._scope = name_scope(self._layer.name)
            self._scope.__enter__()

    def __exit__(self, *raised: Any) -> None:
        if self._scope is not None:
            state.scopes.pop()
            self._scope.__exit__(*raised)


def losses_of(layer: Any) -> list[Any]:
    """Returns the list of losses that this thread's calls added to a layer."""
    return state.losses.get(layer, [])


def drop_losses(layer: Any, kind: type) -> None:
    """Forgets the losses of one class, which an inference of shapes has left."""
    found = losses_of(layer)
    found[:] = [loss for loss in found if not isinstance(loss, kind)]

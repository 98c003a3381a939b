"""Late restoration: a checkpoint may hold values of attributes that an object has not got yet.

Those who restore are in a tuple under `WAITING` in the object's `__dict__`; they are told when an
attribute was set, which is when layers, modules and optimizers have made variables.
"""

from __future__ import annotations

from typing import Any

WAITING = "_waiting_restoration"


class LateRestored:
    """Mixin of objects that hold variables: setting an attribute tells a restoration that waits."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        waiting = self.__dict__.get(WAITING)
        if waiting is not None:
            for restoration in waiting:
                restoration.attribute_was_set(self)

"""Late restoration: a checkpoint may hold values of attributes that an object has not got yet.

Those who restore are in a tuple under `WAITING` in the object's `__dict__`; they are told when an
attribute was set, which is when layers, modules and optimizers have made variables.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

WAITING = "_waiting_restoration"
# How many calls of `build` are under way, in an object's `__dict__`.
BUILDING = "_builds_under_way"


class LateRestored:
    """Mixin of objects that hold variables: setting an attribute tells a restoration that waits."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if WAITING in self.__dict__:
            _tell(self)


class RestoredWhenBuilt(LateRestored):
    """The same for objects whose `build` may give what it has made other values than initial ones.

    They are told when the outermost `build` is done, and not before.
    """

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _told_after(cls.__dict__["build"])  # type: ignore[attr-defined]


def _told_after(build: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(build)
    def built(self: Any, *args: Any, **kwargs: Any) -> Any:
        under_way = self.__dict__.get(BUILDING, 0)
        self.__dict__[BUILDING] = under_way + 1
        try:
            return build(self, *args, **kwargs)
        finally:
            self.__dict__[BUILDING] = under_way
            if not under_way:
                del self.__dict__[BUILDING]
                _tell(self)

    return built


def _tell(holder: Any) -> None:
    if BUILDING not in holder.__dict__:
        for restoration in holder.__dict__.get(WAITING, ()):
            restoration.attribute_was_set(holder)

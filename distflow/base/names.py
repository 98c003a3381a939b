"""Name scopes and unique names, per thread."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict

_local = threading.local()


def current_scope() -> str:
    """Returns the scope in force, without a trailing slash ("" at the top)."""
    return getattr(_local, "scope", "")


class name_scope(contextlib.ContextDecorator):
    """Prefixes the names of variables made in the block: `with tf.name_scope("a")`."""

    def __init__(self, name: str):
        self._name = name

    def __enter__(self) -> str:
        name = self._name
        self._before = before = current_scope()
        _local.scope = scope = f"{before}/{name}" if before and name else before or name
        return scope + "/" if scope else ""

    def __exit__(self, *raised: object) -> None:
        _local.scope = self._before

    def _recreate_cm(self) -> name_scope:
        return name_scope(self._name)  # each call of a decorated function has its own


def scoped(name: str) -> str:
    """Returns a name with the scope in force in front."""
    scope = current_scope()
    return f"{scope}/{name}" if scope else name


class Uniquifier:
    """Gives out each base name once, then name_1, name_2, ...; never the same name twice."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = defaultdict(int)
        self._given: set[str] = set()

    def unique(self, base: str) -> str:
        """Returns `base` the first time, later `base_1`, `base_2`, ..."""
        while True:
            count = self._counts[base]
            self._counts[base] += 1
            name = base if count == 0 else f"{base}_{count}"
            if name not in self._given:
                self._given.add(name)
                return name

    def reset(self) -> None:
        """Forgets all names given out."""
        self._counts.clear()
        self._given.clear()

"""Names of TensorFlow and Keras that are not there yet: asking for one says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base.errors import UnimplementedError


class NotThereYetError(UnimplementedError, AttributeError):
    """A public name of TensorFlow or Keras that this version lacks; `hasattr` says False."""


def lookup(public: str, module: str, names: str, api: str = "TensorFlow") -> Callable[[str], Any]:
    """Returns the `__getattr__` of a namespace.

    Args:
      public: what users call the namespace, e.g. "tf.data".
      module: name of the module, for misspelt names.
      names: what is missing, between blanks. A name leaves when it arrives.
      api: whose names they are.
    """
    known = frozenset(names.split())

    def __getattr__(name: str) -> Any:
        if name in known:
            raise NotThereYetError(f"{public}.{name} is part of {api}'s API, but not there yet.")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__

"""Lists and dicts of a Checkpoint: what is put into them later is restored at once, as in TF."""

from __future__ import annotations

import functools
from typing import Any

from distflow.core.late import WAITING


def watched(value: Any, holder: Any) -> Any:
    """Returns a list or dict as one that tells the restorations of `holder` when it changes."""
    if type(value) is list:
        return _List(value, holder)
    if type(value) is dict:
        return _Dict(value, holder)
    return value


class _Watched:
    _holder: Any = None

    def _told(self) -> None:
        for restoration in self._holder.__dict__.get(WAITING, ()):
            restoration.attribute_was_set(self._holder)


def _telling(method: Any) -> Any:
    @functools.wraps(method)
    def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        self._told()
        return result

    return changed


class _List(_Watched, list):
    def __init__(self, items: Any, holder: Any):
        list.__init__(self, items)
        self._holder = holder

    append = _telling(list.append)
    extend = _telling(list.extend)
    insert = _telling(list.insert)
    __setitem__ = _telling(list.__setitem__)
    __iadd__ = _telling(list.__iadd__)


class _Dict(_Watched, dict):
    def __init__(self, items: Any, holder: Any):
        dict.__init__(self, items)
        self._holder = holder

    __setitem__ = _telling(dict.__setitem__)
    update = _telling(dict.update)
    setdefault = _telling(dict.setdefault)

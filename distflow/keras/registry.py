"""Names that saved models may use for the user's own classes and functions."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

_objects: dict[str, Any] = {}  # registered name -> object
_names: dict[Any, str] = {}  # object -> registered name


class _Scopes(threading.local):
    def __init__(self) -> None:
        self.stack: list[dict[str, Any]] = []


_scopes = _Scopes()


def register_keras_serializable(
    package: str = "Custom", name: str | None = None
) -> Callable[[Any], Any]:
    """Decorates a class (or function) so that saved models find it as `package>name`.

    Raises:
      ValueError: for a class without `get_config`, or a name that is taken.
    """

    def decorate(item: Any) -> Any:
        if inspect.isclass(item) and not hasattr(item, "get_config"):
            raise ValueError("Cannot register a class that does not have a get_config() method.")
        registered = f"{package}>{item.__name__ if name is None else name}"
        _objects[registered] = item
        _names[item] = registered
        return item

    return decorate


@contextlib.contextmanager
def custom_object_scope(custom_objects: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Makes names known to deserialisation for the block: `with custom_object_scope({...})`."""
    _scopes.stack.append(dict(custom_objects or {}))
    try:
        yield _scopes.stack[-1]
    finally:
        _scopes.stack.pop()


CustomObjectScope = custom_object_scope


def get_custom_objects() -> dict[str, Any]:
    """Returns the registry itself, which may be changed: name -> class or function."""
    return _objects


def get_registered_name(item: Any) -> str:
    """Returns the name an object is registered under, or its own name."""
    try:
        return _names.get(item, item.__name__)
    except TypeError:  # unhashable
        return item.__name__


def get_registered_object(name: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """Returns the class or function of a name: from the scopes, the registry, or the argument."""
    for scope in reversed(_scopes.stack):
        if name in scope:
            return scope[name]
    if name in _objects:
        return _objects[name]
    if custom_objects and name in custom_objects:
        return custom_objects[name]
    return None


def is_registered(item: Any) -> bool:
    """Whether a class or function has been registered by the decorator."""
    try:
        return item in _names
    except TypeError:
        return False

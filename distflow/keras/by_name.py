"""Turns what users write - a name, a class, a config, an object - into the object they mean.

Initializers, regularizers, constraints, activations, losses, metrics and optimizers share it.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from distflow.base import errors
from distflow.keras import registry, serialization
from distflow.keras.engine import naming

_PLURALS = {"loss": "losses"}


def table(classes: Iterable[type], **aliases: Any) -> dict[str, Any]:
    """Returns the names of classes, as they are and in snake case, and some more names."""
    names: dict[str, Any] = {}
    for cls in classes:
        names[cls.__name__] = cls
        names[naming.snake_case(cls.__name__)] = cls
    return names | aliases


def resolve(
    kind: str, identifier: Any, names: Mapping[str, Any], *, instantiate: bool = True
) -> Any:
    """Returns the object that `identifier` stands for.

    Args:
      kind: the word for messages: "initializer", "loss", ...
      identifier: None, a name, a config dict, a class, or the object itself.
      names: the names that this kind knows.
      instantiate: whether classes are called without arguments.

    Raises:
      InvalidArgumentError: if it stands for nothing (also a ValueError).
    """
    if identifier is None:
        return None
    found = identifier
    if isinstance(identifier, dict):
        found = serialization.deserialize_keras_object(identifier, custom_objects=dict(names))
    elif isinstance(identifier, str):
        found = registry.get_registered_object(identifier)
        if found is None:
            found = names.get(identifier)
        if found is None:
            raise unknown(kind, identifier, names)
    if instantiate and inspect.isclass(found):
        found = found()
    if not callable(found) and not hasattr(found, "get_config"):
        raise unknown(kind, identifier, names)
    return found


def unknown(kind: str, identifier: Any, names: Mapping[str, Any]) -> Exception:
    """Returns the error for something that is no such object, with the nearest names."""
    near = difflib.get_close_matches(str(identifier), list(names), n=3)
    hint = f"Did you mean {', '.join(map(repr, near))}?" if near else ""
    return errors.invalid(
        f"keras.{_PLURALS.get(kind, kind + 's')}.get",
        f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}: its name, class, config or an object",
        repr(identifier),
        hint,
    )


def deserializer(kind: str, names: Mapping[str, Any]) -> Callable[..., Any]:
    """Returns `deserialize(config, custom_objects=None)` of one kind."""

    def deserialize(config: Any, custom_objects: Any = None) -> Any:
        if isinstance(config, dict):
            known = dict(names) | dict(custom_objects or {})
            return serialization.deserialize_keras_object(config, custom_objects=known)
        return resolve(kind, config, dict(names) | dict(custom_objects or {}))

    deserialize.__doc__ = f"Returns the {kind} that a config or a name describes."
    return deserialize

"""Module: finds the variables and children that an object holds in its attributes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from distflow.base import nest
from distflow.base.names import name_scope
from distflow.core.late import LateRestored
from distflow.core.variable import Variable


class Module(LateRestored):
    """Base of objects that hold variables (TF's `tf.Module`).

    Variables and other modules are found in attributes, also within lists, tuples and dicts.
    """

    # Attributes that are never searched.
    _TF_MODULE_IGNORED_PROPERTIES: frozenset[str] = frozenset()

    def __init__(self, name: str | None = None):
        if name is not None and not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError(f"{name!r} is not a valid module name. Give a valid identifier.")
        self._name = name or _snake_case(type(self).__name__)

    @property
    def name(self) -> str:
        """The module's name; default its class's in snake case."""
        return self._name

    @property
    def name_scope(self) -> Any:
        """A context in which variables are named after this module."""
        return name_scope(self._name)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All variables of this module and its children, in order of attribute names."""
        return tuple(self._flatten(predicate=lambda v: isinstance(v, Variable)))

    @property
    def trainable_variables(self) -> tuple[Variable, ...]:
        """The trainable ones among `variables`."""
        return tuple(v for v in self.variables if v.trainable)

    @property
    def non_trainable_variables(self) -> tuple[Variable, ...]:
        """The others among `variables`."""
        return tuple(v for v in self.variables if not v.trainable)

    @property
    def submodules(self) -> tuple[Module, ...]:
        """All modules below this one."""
        return tuple(self._flatten(predicate=lambda v: isinstance(v, Module)))

    def _flatten(self, *, predicate: Callable[[Any], bool]) -> Iterator[Any]:
        """Yields each distinct attribute value below this module that fulfils `predicate`."""
        yield from _walk(self, predicate, {id(self)})

    @classmethod
    def with_name_scope(cls, method: Callable[..., Any]) -> Callable[..., Any]:
        """Decorates a method so that it runs in the module's name scope."""

        @functools.wraps(method)
        def scoped(self: Any, *args: Any, **kwargs: Any) -> Any:
            with self.name_scope:
                return method(self, *args, **kwargs)

        return scoped


def _walk(module: Module, predicate: Callable[[Any], bool], seen: set[int]) -> Iterator[Any]:
    below: list[Module] = []
    for key in sorted(vars(module)):
        if key in module._TF_MODULE_IGNORED_PROPERTIES:
            continue
        for leaf in nest.flatten(_plain(vars(module)[key])):
            if id(leaf) in seen or not isinstance(leaf, Module | Variable):
                continue
            seen.add(id(leaf))
            if predicate(leaf):
                yield leaf
            if isinstance(leaf, Module):
                below.append(leaf)
    for child in below:
        yield from _walk(child, predicate, seen)


def _plain(value: Any) -> Any:
    """Dicts with keys that cannot be sorted are searched in their own order."""
    if isinstance(value, dict):
        return [_plain(v) for v in value.values()]
    return value


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

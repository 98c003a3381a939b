"""Names of layers: snake case, unique in the process until `clear_session`."""

from __future__ import annotations

import re

from distflow.base.names import Uniquifier

_names = Uniquifier()


def snake_case(name: str) -> str:
    """Returns a class name as Keras writes it in lower case: MaxPooling2D -> max_pooling2d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def of_class(cls: type) -> str:
    """Returns what an object of the class is called: its class in snake case, or what Keras says.

    A few classes of Keras have another name inside than outside; files hold the inner one.
    """
    return snake_case(getattr(cls, "_inner_name", cls.__name__))


def auto_name(prefix: str) -> str:
    """Returns the first free one of prefix, prefix_1, prefix_2, ..."""
    return _names.unique(snake_case(prefix))


def reset_names() -> None:
    """Starts counting anew."""
    _names.reset()

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


def auto_name(prefix: str) -> str:
    """Returns the first free one of prefix, prefix_1, prefix_2, ..."""
    return _names.unique(snake_case(prefix))


def reset_names() -> None:
    """Starts counting anew."""
    _names.reset()

"""The home of Keras's operation classes for files: a name here is a class of `keras.ops`, or none.

Nothing else is in this namespace, so that no name of a file can mean something of ours.
"""

from __future__ import annotations

from distflow.keras.engine.keras_ops import KerasOp as _KerasOp
from distflow.keras.engine.keras_ops import class_of as _class_of


def __getattr__(name: str) -> type[_KerasOp]:
    """Returns the class of an operation, e.g. `Mean`.

    Raises:
      UnimplementedError: if the operation is not known here.
    """
    if not name[:1].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _class_of(name)

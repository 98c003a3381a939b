"""tf.summary.experimental: the step in force, scopes of tags, events written as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from distflow.base import errors, names
from distflow.core.tensor import Tensor
from distflow.protos import summary_pb2 as pb
from distflow.summary import writer
from distflow.summary.event_file import EventFile
from distflow.summary.writer import get_step, set_step

__all__ = ["get_step", "set_step", "summary_scope", "write_raw_pb"]


@contextlib.contextmanager
def summary_scope(
    name: str, default_name: str = "summary", values: Any = None
) -> Iterator[tuple[str, str]]:
    """Yields (tag, scope) for a summary: the name within the scopes in force.

    Args:
      name: of the summary; None: `default_name`.
      values: accepted as in TF.
    """
    chosen = name or default_name
    tag = names.scoped(chosen)
    with names.name_scope(chosen) as scope:
        yield tag, scope


def write_raw_pb(tensor: Any, step: Any = None, name: str | None = None) -> Any:
    """Writes a serialised Summary message; returns whether it was written.

    Raises:
      DataLossError: if it is none.
    """
    value = tensor if isinstance(tensor, Tensor) else np.array(tensor, object)

    def add(file: EventFile, now: int, data: Any) -> None:
        try:
            summary = pb.Summary.FromString(bytes(data.item()))
        except DecodeError as error:
            raise errors.DataLossError(f"write_raw_pb: expected a Summary; {error}") from error
        file.add_event(pb.Event(step=now, summary=summary))

    return writer.record(add, step, value)

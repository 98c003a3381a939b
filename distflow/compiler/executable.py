"""The Executable: what a Graph becomes, whatever executor made it."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

from distflow.graph.ir import Graph


class Executable(abc.ABC):
    """A program made ready to run, any number of times and from several threads at once.

    Calling it binds inputs (NumPy arrays that it must not write to; Variables for resources),
    runs the program, and hands back one array for each output.
    """

    def __init__(self, graph: Graph):
        self.graph = graph

    @abc.abstractmethod
    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the program."""

    @abc.abstractmethod
    def explain(self, inputs: Sequence[Any]) -> list[str]:
        """Returns lines for people: what runs each part of the program for such inputs."""

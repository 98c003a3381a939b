"""The operations of a plan: native calls, or a node that its reference runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from distflow.compiler.cpu.task import Call, Kernel, Scratch
from distflow.graph.ir import Node, Value


@dataclass(frozen=True)
class Place:
    """Bytes in the memory of a value."""

    root: Value
    offset: int = 0


@dataclass(eq=False)
class Operation:
    """One unit of a plan.

    Attributes:
      nodes: of the graph.
      reads, writes: roots of the values that it takes and makes.
      label: for people.
    """

    nodes: Sequence[Node]
    reads: list[Value]
    writes: list[Value]
    label: str


@dataclass(eq=False)
class Native(Operation):
    """Calls of machine code, one after the other.

    Attributes:
      kernel: its calls and scratch buffers.
      operands: what the kernel's inputs and result are.
      replaces: for a result, inputs that lie exactly like it: it may take their memory.
    """

    kernel: Kernel = field(default_factory=lambda: Kernel(()))
    operands: list[Place] = field(default_factory=list)
    replaces: dict[Value, list[Value]] = field(default_factory=dict)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Its calls."""
        return self.kernel.calls

    @property
    def is_checked(self) -> bool:
        """Whether it notes indices that are to be looked at afterwards (`lookup.Checked`)."""
        return hasattr(self.kernel, "verify")

    @property
    def scratch(self) -> tuple[Scratch, ...]:
        """Its buffers, which operands after those of `operands` stand for."""
        return self.kernel.scratch


@dataclass(eq=False)
class Host(Operation):
    """A node that its NumPy reference runs, or a check of what a kernel noted.

    Attributes:
      reason: why it is not native.
      checks: the operation with indices to be looked at; then there is no node.
      keeps: whether it may hold on to the arrays that it gets.
    """

    reason: str = ""
    checks: Native | None = None
    keeps: bool = False

    @property
    def undoes_itself(self) -> bool:
        """Whether it leaves variables as they were when it fails: it runs one program."""
        graphs = self.node.attributes.get("graphs", ())
        name = self.node.primitive.name
        return name == "once" or (name == "replica_run" and len(graphs) == 1)

    @property
    def has_order(self) -> bool:
        """Whether it keeps its place among the effects of the program."""
        return self.checks is None and bool(self.node.effect)

    @property
    def node(self) -> Node:
        """The node that it runs."""
        return self.nodes[0]

    @property
    def can_fail(self) -> bool:
        """Whether it may raise: reads and writes of variables do not."""
        return self.checks is not None or self.node.primitive.name not in (
            "read_variable", "assign_variable",
        )  # fmt: skip


@dataclass(eq=False)
class Departure(Host):
    """Hands a bucket of arrays to the replica's communication, and goes on.

    Attributes:
      inside: operands that their makers write into the bucket itself; the others are copied.
      is_early: whether it should leave in the midst of native work.
    """

    inside: set[Value] = field(default_factory=set)
    is_early: bool = False

    @property
    def num_elements(self) -> list[int]:
        """Elements of each operand."""
        return [math.prod(d or 0 for d in v.shape) for v in self.node.inputs]


@dataclass(eq=False)
class Arrival(Host):
    """Waits until a bucket holds the sums.

    Attributes:
      departure: that of the bucket.
    """

    departure: Departure | None = None

    @property
    def has_order(self) -> bool:
        """It follows its departure, and other arrivals; nothing else need wait for it."""
        return False

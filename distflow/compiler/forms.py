"""The form of a program: what may be made of it for the variables and the replica of a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from distflow.compiler import kept
from distflow.compiler.passes import collectives
from distflow.compiler.passes.rounds import optimize
from distflow.core.variable import assign_variable
from distflow.graph.ir import Graph, Value


class Role(NamedTuple):
    """What a program may know of the replica that runs it.

    Attributes:
      is_alone: no other replica runs on this worker.
      is_only: no other replica runs anywhere.
      is_absent: it has no rows in this step, and counts in no sum.
      bucket_bytes: size of a bucket of gradients; 0: the usual one.
      early: whether buckets leave while work goes on.
    """

    is_alone: bool
    is_only: bool
    is_absent: bool
    bucket_bytes: int = 0
    early: bool = False


@dataclass(frozen=True)
class Form:
    """What a program may trust in.

    Attributes:
      sharing: how the program's variables, by position among them, are shared (`Storage.sharing`);
        () if they are the program's own.
      are_distinct: whether all variables are different ones.
      role: of the replica; None outside.
    """

    sharing: tuple[str, ...]
    are_distinct: bool
    role: Role | None

    @classmethod
    def of(cls, storages: Sequence[Any], role: Role | None) -> Form:
        """Returns the form for the variables of a call."""
        words = tuple([_word(storage) for storage in storages])
        distinct = len({id(s) for s in storages}) == len(storages)
        own = all(word == "own" for word in words)
        return cls(() if own else words, distinct, role)

    def optimized(self, graph: Graph) -> Graph:
        """Returns an equal program that makes the most of the form; the graph stays as it is."""
        role = self.role
        if role is None:
            return kept.optimized(graph, self.are_distinct and not self.sharing)
        decided_by = (self.sharing, self.are_distinct, tuple(role))
        return kept.rewritten(graph, lambda: self._of_replica(graph, role), *decided_by)

    def _of_replica(self, graph: Graph, role: Role) -> Graph:
        variables = [v for v in graph.inputs if v.resource]
        sharing = dict(zip(variables, self.sharing or ("own",) * len(variables)))
        if self.are_distinct:
            graph = collectives.gather_writes(graph, sharing)
        alone = role.is_alone and not role.is_absent and self.are_distinct
        if alone:
            graph = collectives.inline_once(graph, sharing)
            if role.is_only:
                graph = collectives.drop_reductions(graph)
        graph = optimize(graph, _owned(graph, sharing) if alone else False)
        return collectives.into_buckets(graph, role.bucket_bytes, role.early)


def _owned(graph: Graph, sharing: dict[Value, str]) -> set[Value]:
    """Returns the variables whose assignments, in the program of a lone replica, just set them."""
    shared = {
        node.inputs[0] for node in graph.nodes
        if node.primitive is assign_variable and not node.attributes.get("direct")
        and sharing[node.inputs[0]] != "own"
    }  # fmt: skip
    return {v for v, word in sharing.items() if word} - shared


def _word(storage: Any) -> str:
    sharing = getattr(storage, "sharing", None)
    return "" if sharing is None else sharing()

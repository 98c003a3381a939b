"""The passes over a row of a loop whose steps read results of its own reductions.

Softmax takes the maximum of a row, then the sum of exponentials, then divides: three passes over
a row that stays in the nearest cache. A pass computes what its reductions (the last one: what the
stores) need. What is dear and needed by several passes is kept beside the row by the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distflow.compiler.cpu.table import cost

# What is dearer than this, in nanoseconds, is kept for the next pass instead of computed again.
_DEAR_NS = 0.09


@dataclass(frozen=True)
class Pass:
    """One pass over a row; numbers are positions among inputs and steps unless said otherwise.

    Attributes:
      positions: that are computed or read, in order.
      recalled: of those, which an earlier pass has kept.
      kept: of those, which later passes will recall.
      reductions: numbers of the reductions that it does.
      stores: numbers of the stores that it does.
    """

    positions: tuple[int, ...]
    recalled: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    reductions: tuple[int, ...] = ()
    stores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rows:
    """All passes over a row.

    Attributes:
      passes: in order.
      kept: positions that passes keep.
      last: what is done once, when the passes are over: stores of values that are one for a row.
      left: whether results of reductions are left for steps to read.
    """

    passes: tuple[Pass, ...]
    kept: tuple[int, ...] = ()
    last: Pass = Pass(())
    left: bool = False


def rows_of(
    repeated: Sequence[bool], steps: Sequence[Any], stores: Sequence[tuple[int, bool]],
    reductions: Sequence[int],
) -> Rows:  # fmt: skip
    """Returns the passes of a loop.

    Args:
      repeated: for each input, whether it is one element for a row.
      steps: of the loop; "row" reads the result of a reduction.
      stores: position of each, and whether it has room for one element for a row only.
      reductions: position of each.
    """
    first = len(repeated)
    everything = tuple(range(first + len(steps)))
    left = any(step.primitive == "row" for step in steps)
    if not left and not any(narrow for _, narrow in stores):
        one = Pass(everything, (), (), tuple(range(len(reductions))), tuple(range(len(stores))))
        return Rows((one,))
    level = [0] * first
    single = list(repeated)
    for step in steps:
        if step.primitive == "row":
            level.append(level[reductions[step.operands[0]]] + 1)
            single.append(True)
            continue
        level.append(max((level[p] for p in step.operands), default=0))
        single.append(step.strides is None and all(single[p] for p in step.operands))
    late = [i for i, (p, narrow) in enumerate(stores) if narrow]
    wide = [i for i in range(len(stores)) if i not in late]
    count = 1 + max([level[p] for p in reductions] + [level[stores[i][0]] for i in wide])
    # Stores wait for the last pass: what they overwrite may still be read.
    targets: list[list[int]] = [[p for p in reductions if level[p] == k] for k in range(count)]
    targets[-1] += [stores[i][0] for i in wide]

    def needed(wanted: Sequence[int], known: frozenset[int] = frozenset()) -> list[int]:
        found: set[int] = set()
        waiting = list(wanted)
        while waiting:
            p = waiting.pop()
            if p not in found:
                found.add(p)
                if p >= first and p not in known and steps[p - first].primitive != "row":
                    waiting += steps[p - first].operands
        return sorted(found)

    uses = [needed(t) for t in targets]
    dear = frozenset(
        p for p in everything[first:]
        if not single[p] and cost(steps[p - first].primitive) >= _DEAR_NS
        and sum(p in use for use in uses) > 1
    )  # fmt: skip
    passes: list[Pass] = []
    known: frozenset[int] = frozenset()
    for k in range(count):
        positions = needed(targets[k], known)
        new = dear.intersection(positions) - known
        passes.append(Pass(
            tuple(positions), tuple(sorted(known.intersection(positions))), tuple(sorted(new)),
            tuple(i for i, p in enumerate(reductions) if level[p] == k),
            tuple(wide) if k == count - 1 else (),
        ))  # fmt: skip
        known |= new
    # What no later pass recalls after all need not be kept.
    recalled = {p for one in passes for p in one.recalled}
    passes = [
        Pass(o.positions, o.recalled, tuple(p for p in o.kept if p in recalled), o.reductions,
             o.stores) for o in passes
    ]  # fmt: skip
    last = Pass(tuple(needed([stores[i][0] for i in late])), stores=tuple(late))
    return Rows(tuple(passes), tuple(sorted(recalled)), last, left)

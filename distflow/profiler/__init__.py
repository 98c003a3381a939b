"""tf.profiler: where the time of a compiled step goes."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

from distflow.compiler.profile import Profile, Row, measure
from distflow.profiler import experimental

__all__ = ["Profile", "Row", "experimental", "profile"]


def profile(f: Callable[..., Any], *args: Any, steps: int = 20, **kwargs: Any) -> Profile:
    """Runs `f(*args, **kwargs)` again and again, prints where its time goes, and returns that.

    Each line is a region of the step: a loop or a kernel of machine code with the shapes that it
    was made for, or NumPy's work. Its time is that on one thread; the last line has the whole
    step's, also on as many threads as usual. GFLOP/s count the contractions (matmul and conv),
    GB/s the bytes of operands and results. A training step does train.

    Args:
      f: a `tf.function`, or any function that calls some (`model.train_on_batch`).
      *args, **kwargs: its arguments.
      steps: how many runs are measured; there are about twice as many in all.

    Raises:
      InvalidArgumentError: if `f` runs nothing that is compiled.
    """
    found = measure(f, args, kwargs, steps)
    if sys.stdout.isatty():
        _show(found)
    else:
        sys.stdout.write(f"{found}\n")
    return found


def _show(found: Profile) -> None:
    # rich takes long to load, and draws from Python's `random`: that must not move later seeds.
    state = random.getstate()
    try:
        from rich.console import Console
        from rich.table import Table
    finally:
        random.setstate(state)
    heads, *rows = found.table()
    table = Table(caption=found.summary, caption_justify="left")
    for head in heads[:-1]:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column(heads[-1], overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    Console().print(table)

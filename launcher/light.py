"""Loads parts of distflow that know no tensors without the rest: a launcher computes nothing.

`import distflow.cluster.rendezvous` would first load what `import distflow` gives users: tensors,
operations, NumPy. That is twice the work of the part that is wanted, done while the workers load
their own modules on the same cores.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

_PACKAGE = "distflow"


def load(module: str) -> Any:
    """Returns a module of the rooms base, cluster or protos.

    Where nobody has imported distflow yet it stands in `sys.modules` as a package whose own code
    has not run, so this is for processes that use nothing else of it.
    """
    if _PACKAGE not in sys.modules:
        spec = importlib.util.find_spec(_PACKAGE)
        assert spec is not None, "the launcher is installed with distflow"
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{_PACKAGE}.{module}")

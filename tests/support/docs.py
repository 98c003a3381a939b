"""The scripts that make pages of the docs."""

import importlib.util
import pathlib
from types import ModuleType

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def script(name: str) -> ModuleType:
    """Returns docs/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

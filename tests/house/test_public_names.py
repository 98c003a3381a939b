"""Public names are TensorFlow's: every name exported in a TF namespace exists there, or is listed.

The facts come from an inventory of TF's public names beside the checkout; without it this skips.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_INVENTORY = Path(__file__).resolve().parents[3] / "shared" / "api" / "inventory.json"

# Names of our own in TF's namespaces, each with its reason.
OUR_OWN: dict[str, dict[str, str]] = {
    # A room of ours that happens to have the name of a namespace; its names are in `tf`.
    "tf.autodiff": dict.fromkeys(
        ("UnconnectedGradients", "custom_gradient", "recompute_grad"), "public in tf itself"
    ),
    "tf.distribute": {
        "MultiWorkerStrategy": "short alias of MultiWorkerMirroredStrategy",
    },
    "tf.profiler": {
        "profile": "prints where the time of a step goes",
        **dict.fromkeys(("Profile", "Row"), "what `profile` returns"),
    },
    "tf.errors": {
        "DtypeMismatchError": "an InvalidArgumentError that is a TypeError as well",
        "WorkerLostError": "names the rank of a lost worker",
        "WorkerLateError": "names the rank of a late worker",
        "CollectiveMismatchError": "workers disagree about a reduction",
        "MissingExtraError": "holds the pip command of an optional package",
    },
}


@functools.cache
def _areas() -> dict[str, Any]:
    if not _INVENTORY.exists():
        pytest.skip(f"no inventory of TensorFlow's names at {_INVENTORY}")
    return json.loads(_INVENTORY.read_text())["areas"]


def _name(area: str) -> str:
    return area.replace("tf", "distflow", 1)


def _is_there(area: str) -> bool:
    """Whether we have a module for a namespace of TF (looked up without importing all of it)."""
    try:
        return importlib.util.find_spec(_name(area)) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def _public(module: ModuleType) -> set[str]:
    """The explicit list; for a file without one, what it defines itself."""
    names = getattr(module, "__all__", None)
    if names is None:
        assert not hasattr(module, "__path__"), f"{module.__name__} needs __all__"
        return {
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        }
    assert len(set(names)) == len(names), f"{module.__name__}.__all__ repeats names"
    return set(names)


def _allowed(area: str) -> set[str]:
    """TF's names: symbols, namespaces below, and our own."""
    below = {a.removeprefix(area + ".") for a in _areas() if a.startswith(area + ".")}
    return (
        set(_areas()[area]["symbols"])
        | {b for b in below if "." not in b}
        | set(OUR_OWN.get(area, {}))
    )


_AREAS = (
    [a for a in json.loads(_INVENTORY.read_text())["areas"] if _is_there(a)]
    if _INVENTORY.exists()
    else ["tf"]
)


@pytest.mark.parametrize("area", _AREAS)
def test_exported_names_are_tensorflows(area):
    _areas()
    ours = _public(importlib.import_module(_name(area)))
    extra = sorted(ours - _allowed(area) - {"__version__"})
    assert not extra, f"{area} has no {extra}: rename them, make them private, or list them here"


@pytest.mark.parametrize("area", _AREAS)
def test_exported_names_exist_and_none_is_private(area):
    _areas()
    module = importlib.import_module(_name(area))
    for name in sorted(_public(module)):
        assert not name.startswith("_") or name == "__version__", f"{area}.{name} is private"
        assert hasattr(module, name), f"{area}.{name} is listed but not there"


@pytest.mark.parametrize("area", sorted(OUR_OWN))
def test_our_own_names_are_not_in_tensorflow(area):
    assert not set(OUR_OWN[area]) & set(_areas()[area]["symbols"])


def test_coverage_is_printed():
    rows = []
    for area, facts in _areas().items():
        if facts["priority"] == 1 and area in _AREAS:
            ours = getattr(importlib.import_module(_name(area)), "__all__", ())
            there = set(ours) & set(facts["symbols"])
            rows.append(f"{area:40} {len(there):4} of {len(facts['symbols']):4}")
    print("\n" + "\n".join(rows))
    assert rows

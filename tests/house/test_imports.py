"""Rooms import strictly lower rooms, at the top of files, and no file outgrows a reader."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2] / "distflow"
# The one table of levels: a room imports strictly lower levels, and itself.
LEVELS = {
    "base": 0, "protos": 0,
    "telemetry": 0.5,
    "core": 1, "comm": 1, "cluster": 1,
    "ops": 2,
    "random": 3, "autodiff": 3, "ragged": 3, "sparse": 3, "lookup": 3,
    "graph": 4, "io": 4,
    "compiler": 5,
    "function": 6, "profiler": 6,
    "data": 7, "checkpoint": 7, "summary": 7,
    "distribute": 8, "saved_model": 8, "feature_column": 8,
    "keras": 9,
    "estimator": 10,
}  # fmt: skip
# Files of the root only re-export, so they may import any room.
_TOP = 99
_FILES = sorted(p for p in _ROOT.rglob("*.py") if "protos" not in p.parts)


def room_of(module: str) -> str | None:
    """Returns the room of a dotted name, or None for what is not a room of distflow."""
    parts = module.split(".")
    return parts[1] if parts[0] == "distflow" and len(parts) > 1 else None


def imports(tree: ast.Module) -> list[tuple[str, int, bool]]:
    """Returns (module, line, at the top) for every import of distflow."""
    top = {id(node) for node in tree.body}
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            top |= {id(child) for child in node.body}
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            names = [
                f"{node.module}.{a.name}" if node.module == "distflow" else str(node.module)
                for a in node.names
            ]
        found += [(n, node.lineno, id(node) in top) for n in names if n.split(".")[0] == "distflow"]
    return found


def faults(path: str, source: str) -> list[str]:
    """Returns what is wrong with the imports of a file (path relative to the package)."""
    parts = Path(path).parts
    own = LEVELS[parts[0]] if len(parts) > 1 else _TOP
    result = []
    for module, line, at_top in imports(ast.parse(source)):
        room = room_of(module)
        where = f"{path}:{line}: {module}"
        if len(parts) > 1 and room not in LEVELS:
            result.append(f"{where}: the root is above all rooms")
        if room in LEVELS and room != parts[0] and LEVELS[room] >= own:
            result.append(f"{where}: level {LEVELS[room]} from level {own}")
        if not at_top:
            result.append(f"{where}: imports stand at the top of a file")
    return result


@pytest.mark.parametrize("path", _FILES, ids=lambda p: str(p.relative_to(_ROOT)))
def test_imports_go_down_and_stand_at_the_top(path):
    assert not faults(str(path.relative_to(_ROOT)), path.read_text())


@pytest.mark.parametrize("path", _FILES, ids=lambda p: str(p.relative_to(_ROOT)))
def test_file_is_short_enough_to_read(path):
    assert len(path.read_text().splitlines()) <= 500


def test_every_folder_is_a_room_with_a_level():
    rooms = {p.name for p in _ROOT.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert rooms <= set(LEVELS)


@pytest.mark.parametrize(
    ("path", "source", "word"),
    [
        ("base/x.py", "from distflow.core import bind", "level 1 from level 0"),
        ("comm/x.py", "from distflow.core import bind", "level 1 from level 1"),
        ("ops/x.py", "import distflow.keras.layers", "level 9 from level 2"),
        ("ops/x.py", "from distflow import keras", "level 9 from level 2"),
        ("keras/x.py", "import distflow", "the root is above"),
        ("keras/x.py", "from distflow.nn import relu", "the root is above"),
        ("keras/x.py", "def f():\n    from distflow.ops import math", "at the top"),
    ],
)
def test_wrong_import_is_found(path, source, word):
    assert word in "".join(faults(path, source))


def test_right_import_is_accepted():
    assert not faults("ops/prims/x.py", "from distflow.core import bind\nimport numpy")

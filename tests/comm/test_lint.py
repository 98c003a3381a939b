"""Nothing that runs code from bytes may be imported or called where bytes come from sockets."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "distflow"
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
CALLS = {"eval", "exec", "compile", "__import__"}
SAFE_YAML = {"safe_load", "safe_dump", "YAMLError"}
PICKLING = {"allow_pickle", "send_pickle"}


def offences(source):
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in MODULES:
                found.append(node.module)
            if node.module == "yaml":
                found += [a.name for a in node.names if a.name not in SAFE_YAML]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += [node.func.id] if node.func.id in CALLS else []
            found += [k.arg for k in node.keywords if k.arg in PICKLING]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "yaml" and node.attr not in SAFE_YAML:
                found.append(f"yaml.{node.attr}")
            # mpi4py's lower-case methods pickle; ours are named otherwise (`self.send`).
            if node.value.id == "comm" and node.attr in {"send", "recv", "bcast", "isend", "irecv"}:
                found.append(f"comm.{node.attr}")
    return found


FILES = sorted(path for room in ("comm", "cluster") for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_is_run_from_bytes(path):
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "import marshal as m",
        "eval('1')",
        "import yaml\nyaml.load(x)",
        "from yaml import load",
        "comm.send(x)",
    ],
)
def test_the_lint_finds(source):
    assert offences(source)


def test_the_lint_allows_safe_yaml():
    assert offences("import yaml\nyaml.safe_load(x)") == []

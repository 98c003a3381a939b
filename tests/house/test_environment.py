"""Every environment variable that the code reads is documented, and no other one is."""

from __future__ import annotations

import ast
import functools
import re

import pytest

from distflow.base.flags import FLAGS
from tests.support.docs import DOCS, script

_ROOT = DOCS.parent
_CODE = ("distflow", "launcher")
# Tables of names, which read nothing.
_TABLES = {"distflow/base/flags.py", "launcher/env.py"}
# A string that is such a word is the name of a variable, wherever it stands.
_NAME = re.compile(
    r"(DISTFLOW|SLURM|OMPI|PMI|PMIX|MPI|OMP|OPENBLAS|MKL|PRTE|GRPC|GLIBC|KERAS|XDG|TF|SSH)_\w*[A-Za-z]"
    r"|JOB_COMPLETION_INDEX|KUBECONFIG|NO_COLOR|PYTHONUNBUFFERED"
)
_PAGES = sorted(
    path
    for pattern in ("*.md", "deploy/**/*", "docs/*.md", "benchmarks/*.md", "examples/**/*")
    for path in _ROOT.glob(pattern)
    if path.suffix in (".md", ".yaml", ".py", ".txt") or path.name == "Dockerfile"
)


def words(source: str) -> set[str]:
    """Returns the names of variables that a file's code holds: whole strings of it."""
    tree = ast.parse(source)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _NAME.fullmatch(node.value):
                found.add(node.value)
        elif isinstance(node, ast.Call | ast.Subscript):
            # Other names count where the environment is asked for them.
            owner = node.func if isinstance(node, ast.Call) else node.value
            asked = node.args[:1] if isinstance(node, ast.Call) else [node.slice]
            if re.match(r"os\.(environ|getenv)", ast.unparse(owner)):
                found |= {n.value for n in asked if isinstance(n, ast.Constant)}
    return {word for word in found if isinstance(word, str)}


@functools.cache
def _read() -> dict[str, str]:
    """Variable -> a file that names it, tables left out."""
    found: dict[str, str] = {}
    for folder in _CODE:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            name = path.relative_to(_ROOT).as_posix()
            if name not in _TABLES and "protos" not in path.parts:
                found |= dict.fromkeys(words(path.read_text()), name)
    return found


@pytest.fixture(scope="module")
def page():
    return script("environment")


def test_the_page_is_fresh(page):
    assert (DOCS / "environment.md").read_text() == page.page(), "run: python docs/environment.py"


def test_every_variable_that_the_code_names_is_documented(page):
    known = {**FLAGS, **page.OTHERS, **page.MARKS}
    missing = {n: where for n, where in _read().items() if n not in known}
    assert missing == {}, "add a row to distflow/base/flags.py or docs/environment.py"


def test_every_setting_is_read():
    by_table = re.findall(r'get\("(\w+)"\)', (_ROOT / "distflow/base/flags.py").read_text())
    assert sorted(set(FLAGS) - set(_read()) - set(by_table)) == []


def test_every_documented_variable_of_others_is_named_by_the_code(page):
    tables = set().union(*(words((_ROOT / path).read_text()) for path in _TABLES))
    assert sorted(set(page.OTHERS) - set(_read()) - tables) == []


def test_variables_of_tests_are_read_by_tests(page):
    text = "".join(p.read_text() for p in sorted((_ROOT / "tests").rglob("*.py")))
    used = set(re.findall(r'"(DISTFLOW_TEST_\w+)"', text))
    assert used == set(page.OF_TESTS)


@pytest.mark.parametrize("path", _PAGES, ids=lambda p: p.relative_to(_ROOT).as_posix())
def test_pages_name_only_settings_that_are_there(path, page):
    named = set(re.findall(r"\bDISTFLOW_\w*[A-Z]\b", path.read_text()))
    assert sorted(named - set(FLAGS) - set(page.MARKS) - set(page.OF_TESTS)) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('flags.get("DISTFLOW_NEW")', {"DISTFLOW_NEW"}),
        ('ROWS = ("SLURM_NEW", "other")', {"SLURM_NEW"}),
        ('os.environ.get("OTHER")', {"OTHER"}),
        ('os.environ["OTHER"]', {"OTHER"}),
        ('"""About DISTFLOW_NEW."""', set()),
    ],
)
def test_names_are_found(source, found):
    assert words(source) == found

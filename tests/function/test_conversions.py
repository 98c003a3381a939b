"""Conversions on disk: a second process reads what the first one converted."""

import ast
import importlib.util
import inspect
import sys
import textwrap

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags, parsing
from distflow.compiler.kept import Place
from distflow.function.autograph import transform

pytest.importorskip("malt")

BRANCH = """
import distflow as tf

LIMIT = 2.0

def f(x):
    total = x
    for i in tf.range(3):
        if tf.reduce_sum(total) < LIMIT:
            total = total + 1.0
        else:
            total = total * scale()
    return total

def scale():
    return 2.0
"""


@pytest.fixture(autouse=True)
def folder(tmp_path):
    with flags.override(DISTFLOW_CACHE_DIR=str(tmp_path / "cache")):
        yield tmp_path / "cache" / "code"
    transform._machinery.cache_clear()


@pytest.fixture
def work(monkeypatch):
    """Names of the functions that were converted, as it happens."""
    done = []
    transform._machinery.cache_clear()
    api = importlib.import_module("malt.impl.api")
    own = api.PyToPy.transform_ast

    def transform_ast(self, node, context):
        done.append(node.name)
        return own(self, node, context)

    monkeypatch.setattr(api.PyToPy, "transform_ast", transform_ast)
    return done


@pytest.fixture
def load(tmp_path):
    """Loads text as a module, as a new process would: nothing is known of it."""
    names = iter(f"converted_{i}" for i in range(100))
    loaded = []

    def load(text, path="user.py", **values):
        transform._machinery.cache_clear()
        where = tmp_path / path
        where.write_text(textwrap.dedent(text))
        importlib.import_module("linecache").checkcache()
        name = next(names)
        spec = importlib.util.spec_from_file_location(name, where)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        loaded.append(name)
        spec.loader.exec_module(module)
        vars(module).update(values)
        return module

    yield load
    for name in loaded:
        del sys.modules[name]


def run(module, x=0.0):
    return float(tf.function(module.f)(tf.constant(x)))


def test_second_process_converts_nothing(load, work):
    assert run(load(BRANCH)) == 4.0
    assert sorted(work) == ["f", "scale"]
    assert run(load(BRANCH)) == 4.0
    assert sorted(work) == ["f", "scale"]


def test_globals_and_defaults_are_those_of_today(load, work):
    text = """
    def f(x, y=1.0):
        return x * y + Z if x > 0 else x
    """
    assert run(load(text, Z=1.0), 2.0) == 3.0
    module = load(text, Z=10.0)
    module.f.__defaults__ = (5.0,)
    assert run(module, 2.0) == 20.0
    assert work == ["f"]


def test_closures_are_those_of_today(load, work):
    text = """
    import distflow as tf
    def make(a, b):
        def inner(x):
            if tf.reduce_sum(x) > 0:
                return x * a + b
            return x
        return inner
    """
    for a, b in [(2.0, 1.0), (3.0, 5.0)]:
        module = load(text)
        module.f = module.make(a, b)
        assert run(module, 2.0) == 2.0 * a + b
    assert work == ["inner"]


def test_errors_name_the_lines_of_the_user(load, work):
    text = """
    import distflow as tf
    def f(x):
        y = x + 1.0
        return tf.reshape(y, [7])
    """
    for _ in range(2):
        module = load(text)
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            tf.function(module.f)(tf.ones([2]))
        assert f'File "{module.__file__}", line 5, in f' in str(caught.value)
        assert "return tf.reshape(y, [7])" in str(caught.value)
    assert work == ["f"]


def test_converted_source_can_be_read(load, work):
    first = tf.autograph.to_code(load(BRANCH).f)
    second = tf.autograph.to_code(load(BRANCH).f)
    assert first == second
    assert "ag__.for_stmt" in second
    assert work == ["f"]


@pytest.mark.parametrize(
    "text",
    [BRANCH.replace("+ 1.0", "+ 3.0"), "\n" + BRANCH],
    ids=["another text", "another line"],
)
def test_what_decides_is_in_the_name(text, load, work):
    run(load(BRANCH))
    del work[:]
    run(load(text))
    assert "f" in work


def test_another_file_is_another_function(load, work):
    run(load(BRANCH))
    run(load(BRANCH, path="other.py"))
    assert work.count("f") == 2


def test_made_up_names_hide_nothing(load, work):
    text = """
    import distflow as tf
    def f(x):
        if tf.reduce_sum(x) > 0:
            x = x * 2.0
        return x + extra()
    """
    assert run(load(text, extra=lambda: 1.0), 1.0) == 3.0
    # Names that conversions use for branches are the user's own now.
    names = {name: lambda: 1.0 for name in ("if_body", "else_body", "get_state", "set_state")}
    assert run(load(text, extra=lambda: 1.0, **names), 1.0) == 3.0
    assert work.count("f") == 2


def test_directives_are_converted_each_time(load, work):
    text = """
    import distflow as tf
    def f(x):
        i = 0
        while tf.reduce_sum(x) < 5.0:
            tf.autograph.experimental.set_loop_options(maximum_iterations=3)
            x = x + 1.0
        return x
    """
    for _ in range(2):
        assert run(load(text)) == 3.0
    assert work.count("f") == 2


def test_directives_of_another_name_are_converted_each_time(load, work):
    text = """
    import distflow as tf
    def f(x):
        while tf.reduce_sum(x) < 5.0:
            opts(maximum_iterations=3)
            x = x + 1.0
        return x
    """
    for _ in range(2):
        assert run(load(text, opts=tf.autograph.experimental.set_loop_options)) == 3.0
    assert work.count("f") == 2


@pytest.mark.parametrize("spoil", [None, b"", b"[]", b'{"name": 1}', b'{"text": "(", "words": []}'])
def test_spoilt_entry_is_converted_anew(spoil, folder, load, work):
    run(load(BRANCH))
    for path in folder.iterdir():
        place = Place(folder, path.name)
        content = place.read()
        if content is None or b'"words"' not in content:
            continue
        if spoil is None:
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        else:
            place.write(spoil)
    del work[:]
    assert run(load(BRANCH)) == 4.0
    assert sorted(work) == ["f", "scale"]


def test_lambdas_on_one_line_are_told_apart(load):
    text = """
    f, g = (lambda x: x + 1.0), (lambda x: x * 5.0)
    """
    for _ in range(2):
        module = load(text)
        assert run(module, 2.0) == 3.0
        assert float(tf.function(module.g)(tf.constant(2.0))) == 10.0


def test_result_is_the_same_as_without_conversions_on_disk(load):
    x = np.float32(0.5)
    found = [run(load(BRANCH), x) for _ in range(2)]
    assert found == [found[0]] * 2
    assert inspect.isfunction(load(BRANCH).f)


@pytest.mark.parametrize("text", [BRANCH, "f = lambda x: x + 1.0 if LIMIT else x\nLIMIT = 2.0\n"])
def test_functions_are_parsed_in_turn_with_other_threads(text, load, monkeypatch):
    turns, own = [], ast.parse

    def parse(*args, **kwargs):
        turns.append(parsing.lock._is_owned())
        return own(*args, **kwargs)

    monkeypatch.setattr(ast, "parse", parse)
    tf.function(load(text).f)(tf.constant(1.0))
    assert turns
    assert all(turns)

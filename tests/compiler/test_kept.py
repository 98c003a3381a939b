"""Optimised graphs and plans on disk: the same step from them, and none from what is amiss."""

import json

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.compiler import kept
from distflow.compiler.cpu import jit, plan_record, store
from distflow.compiler.cpu.executor import CpuExecutable
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.passes import rounds
from distflow.graph.build import trace
from distflow.graph.serialize import to_bytes
from tests.compiler import random_graphs

pytest.importorskip("llvmlite")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_LEAST_NODES", 0)
    with flags.override(DISTFLOW_CACHE_DIR=str(tmp_path)):
        yield tmp_path / "code"


@pytest.fixture
def work(monkeypatch):
    """What was optimised and planned, as it happens."""
    done = []

    def optimize(*arguments):
        done.append("optimised")
        return rounds.optimize(*arguments)

    class Planned(Plan):
        def __init__(self, *arguments):
            done.append("planned")
            super().__init__(*arguments)

    monkeypatch.setattr(kept, "optimize", optimize)
    monkeypatch.setattr(plan_record, "Plan", Planned)
    return done


def executable(graph):
    return CpuExecutable(kept.optimized(graph))


def step(size=4, rate=0.1):
    """A training step with a lookup, a product and updates in place."""
    weights = tf.Variable(np.linspace(-1, 1, 3 * size).reshape(3, size), dtype=tf.float32)
    table = tf.Variable(np.linspace(0, 1, 15).reshape(5, 3), dtype=tf.float32)

    def train(ids):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.softmax(tf.gather(table, ids) @ weights) ** 2)
        for v, g in zip((weights, table), tape.gradient(loss, (weights, table))):
            v.assign_sub(rate * tf.convert_to_tensor(g))
        return loss

    graph, _ = trace(train, tf.TensorSpec([6], tf.int32))
    return graph, [np.array([0, 3, 3, 1, 4, 2], np.int32)], [table, weights]


def run(made, arrays, variables):
    return [*made([*arrays, *variables]), *(v.numpy() for v in variables)]


def entries(folder):
    jit.wait()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_have_the_same_bits_the_second_time(seed, work):
    graph, arrays, starts = random_graphs.make(seed)
    first = random_graphs.run(graph, arrays, starts, executable)
    jit.wait()
    second = random_graphs.run(random_graphs.make(seed)[0], arrays, starts, executable)
    assert work.count("planned") == 1
    assert [a.tobytes() for a in first] == [b.tobytes() for b in second]


def test_second_start_neither_optimises_nor_plans(work):
    first = run(executable(step()[0]), *step()[1:])
    assert work == ["optimised", "planned"]
    graph, arrays, variables = step()
    second = run(executable(graph), arrays, variables)
    assert work == ["optimised", "planned"]
    for a, b in zip(first, second):
        assert a.tobytes() == b.tobytes()


def test_plan_that_was_read_says_the_same(folder):
    graph, arrays, variables = step()
    said = executable(graph).explain([*arrays, *variables])
    jit.wait()
    graph, arrays, variables = step()
    assert executable(graph).explain([*arrays, *variables]) == said


def test_plan_that_was_read_has_all_that_a_plan_has():
    graph = kept.optimized(step()[0])
    shapes = [tuple(v.shape) for v in graph.inputs]
    plan = Plan(graph, shapes, {v for v in graph.inputs if v.resource})
    record = plan_record.to_bytes(plan)
    found = plan_record.from_bytes(record, graph)
    assert vars(found).keys() == vars(plan).keys()
    assert vars(found.variables).keys() == vars(plan.variables).keys()
    assert vars(found.shapes).keys() == vars(plan.shapes).keys()
    assert vars(found.views).keys() == vars(plan.views).keys()
    assert plan_record.to_bytes(found) == record


def test_index_out_of_range_is_refused_by_a_plan_that_was_read(work):
    run(executable(step()[0]), *step()[1:])
    graph, _, variables = step()
    before = [v.numpy() for v in variables]
    with pytest.raises(tf.errors.InvalidArgumentError, match="gather: indices"):
        run(executable(graph), [np.full(6, 7, np.int32)], variables)
    assert work == ["optimised", "planned"]
    for v, b in zip(variables, before):
        np.testing.assert_array_equal(v.numpy(), b)


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"size": 5}, ["optimised", "planned"]),
        ({"rate": 0.2}, ["optimised", "planned"]),
        ({}, []),
    ],
    ids=["another shape", "another constant", "nothing"],
)
def test_what_decides_is_in_the_name(change, again, work):
    run(executable(step()[0]), *step()[1:])
    del work[:]
    graph, arrays, variables = step(**change)
    run(executable(graph), arrays, variables)
    assert work == again


def test_sources_and_the_form_are_in_the_name(work, monkeypatch):
    kept.optimized(step()[0])
    kept.optimized(step()[0], False)
    monkeypatch.setattr(kept, "sources", lambda: "others")
    kept.optimized(step()[0])
    assert work == ["optimised"] * 3


def test_the_vector_unit_is_in_the_name_of_a_plan(work):
    run(executable(step()[0]), *step()[1:])
    with flags.override(DISTFLOW_CPU="generic"):
        run(executable(step()[0]), *step()[1:])
    assert work == ["optimised", "planned", "planned"]


def test_every_spoilt_entry_is_made_anew(folder, work):
    first = run(executable(step()[0]), *step()[1:])
    good = entries(folder)
    for name in good:
        (folder / name).write_bytes(good[name][:-1] + bytes([good[name][-1] ^ 1]))
    jit._modules.clear()
    del work[:]
    second = run(executable(step()[0]), *step()[1:])
    assert work == ["optimised", "planned"]
    # Kernels of this process keep the code that they have; what is planned is written again.
    now = entries(folder)
    planned = [name for name in good if b"{" in good[name][:64]]
    assert planned
    assert all(now[name] == good[name] for name in planned)
    for a, b in zip(first, second):
        assert a.tobytes() == b.tobytes()


def test_plan_without_its_code_is_made_anew(folder, work):
    run(executable(step()[0]), *step()[1:])
    for name, data in entries(folder).items():
        if b"\x7fELF" in data or b"\xcf\xfa\xed\xfe" in data:
            (folder / name).unlink()
    jit._modules.clear()
    del work[:]
    run(executable(step()[0]), *step()[1:])
    assert work == ["planned"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"modules": []}', b'{"modules": [[1]]}'])
def test_entry_of_another_form_is_made_anew(content, folder, work, monkeypatch):
    graph, arrays, variables = step()
    run(executable(graph), arrays, variables)
    for name in entries(folder):
        place = kept.Place(folder, name)
        if (place.read() or b"").startswith(b"{"):
            place.write(content)
    del work[:]
    run(executable(step()[0]), *step()[1:])
    assert work == ["optimised", "planned"]


def test_nothing_is_read_while_passes_are_printed(work):
    kept.optimized(step()[0])
    with flags.override(DISTFLOW_PRINT_PASSES=True):
        kept.optimized(step()[0])
    assert work == ["optimised", "optimised"]


def test_programs_with_python_functions_are_not_kept(folder, work):
    spec = tf.TensorSpec([2], tf.float32)
    graph, _ = trace(lambda x: tf.py_function(lambda y: y + 1, [x], spec) * 2.0, spec)
    for _ in range(2):
        executable(graph)([np.ones(2, np.float32)])
    assert work == ["optimised", "planned"] * 2


def test_plan_with_a_scan_is_made_anew(work):
    def scanned():
        body = lambda s, x: tf.tanh(s * 0.5 + x)
        spec = tf.TensorSpec([7, 3], tf.float32)
        return trace(lambda x: tf.scan(body, x), spec)[0]

    for _ in range(2):
        executable(scanned())([np.ones((7, 3), np.float32)])
    assert work.count("planned") == 2


def test_without_a_folder_nothing_is_kept(tmp_path, work):
    (tmp_path / "file").write_text("")
    with flags.override(DISTFLOW_CACHE_DIR=str(tmp_path / "file")):
        assert store.folder() is None
        for _ in range(2):
            run(executable(step()[0]), *step()[1:])
    assert work == ["optimised", "planned"] * 2


def test_bytes_of_a_plan_are_plain_data():
    graph = kept.optimized(step()[0])
    shapes = [tuple(v.shape) for v in graph.inputs]
    record = plan_record.to_bytes(Plan(graph, shapes, {v for v in graph.inputs if v.resource}))
    assert json.loads(record)["arena"] > 0
    assert to_bytes(graph) is not None

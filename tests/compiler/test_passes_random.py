"""All passes, and each by itself, keep the bits of random programs; wrong rules are found out."""

import functools

import numpy as np
import pytest

from distflow.compiler import optimize, pipeline
from distflow.compiler.passes import arithmetic, simplify, state
from distflow.compiler.passes.inline import inline
from distflow.graph.verify import verify
from tests.compiler import random_graphs

SEEDS = range(100)


@functools.cache
def program(seed):
    """A program, its inputs, and what it gives."""
    made = random_graphs.make(seed)
    return *made, random_graphs.run(*made)


def check(transform):
    """Compares transformed programs with the originals; returns how many nodes went."""
    saved = 0
    for seed in SEEDS:
        graph, arrays, starts, wanted = program(seed)
        after = transform(graph)
        verify(after)
        random_graphs.assert_same_bits(random_graphs.run(after, arrays, starts), wanted)
        saved += len(graph.nodes) - len(after.nodes)
    return saved


def test_all_passes_keep_every_bit_and_make_programs_smaller():
    assert check(optimize) > 10 * len(SEEDS)


def test_the_careful_form_keeps_every_bit():
    assert check(lambda graph: optimize(graph, owned=False)) > 5 * len(SEEDS)


@pytest.mark.parametrize("name", dict(pipeline.PASSES))
def test_each_pass_keeps_every_bit(name):
    check(dict(pipeline.PASSES)[name])


def test_the_cpu_executor_gives_the_same_bits_after_all_passes():
    executor = pytest.importorskip("distflow.compiler.cpu.executor")
    pytest.importorskip("llvmlite")
    for graph, arrays, starts, _ in map(program, SEEDS[:20]):
        # Bodies of their own run partly by references, which round exp and tanh differently.
        before = inline(graph)
        wanted = random_graphs.run(before, arrays, starts, executor.CpuExecutable)
        found = random_graphs.run(optimize(before), arrays, starts, executor.CpuExecutable)
        random_graphs.assert_same_bits(found, wanted)


def test_passes_leave_nothing_for_a_second_time():
    for graph, *_ in map(program, SEEDS[:40]):
        once = optimize(graph)
        assert len(optimize(once).nodes) == len(once.nodes)


def _operand(new, node):
    return node.inputs[0] if node.inputs[0].shape == node.outputs[0].shape else None


def _with(number):
    """The first operand, if the second is the number (of either sign, for zero)."""
    return lambda new, node: (
        _operand(new, node)
        if (c := new.uniform(node.inputs[1])) is not None and c == number
        else None
    )


def _zero(new, node):
    number = new.uniform(node.inputs[1])
    shape = tuple(node.outputs[0].shape)
    return new.constant(np.zeros(shape, np.float32)) if number is not None and number == 0 else None


WRONG = {
    "x + 0 is not x": ("add", _with(0)),
    "x - -0 is not x": ("sub", _with(0)),
    "x * 0 is not 0": ("mul", _zero),
    "x / 2 is not x": ("div", _with(2)),
    "abs of abs only": ("abs", _operand),
    "select has two sides": ("select", lambda new, node: node.inputs[2]
                             if node.inputs[2].shape == node.outputs[0].shape else None),
    "a transpose moves": ("transpose", _operand),
    "a reverse reverses": ("reverse", _operand),
    "-x is not x": ("neg", _operand),
    "max is not its operand": ("max", _operand),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_found_out(monkeypatch, name):
    primitive, rule = WRONG[name]
    monkeypatch.setitem(simplify.RULES, primitive, (rule,))
    with pytest.raises(AssertionError):
        check(optimize)


def test_a_zero_of_the_wrong_sign_is_found_out(monkeypatch):
    monkeypatch.setattr(
        arithmetic, "_is", lambda number, wanted: number is not None and number == wanted
    )
    with pytest.raises(AssertionError):
        check(optimize)


def test_a_write_that_is_not_seen_is_found_out(monkeypatch):
    monkeypatch.setattr(state, "_written", lambda node: set())
    with pytest.raises(AssertionError):
        check(optimize)


def test_a_wrong_mode_of_assignment_is_found_out(monkeypatch):
    monkeypatch.setitem(state._COMBINE, "sub", "add")
    with pytest.raises(AssertionError):
        check(optimize)

"""Module: how variables and children are found."""

from __future__ import annotations

import pytest

import distflow.ops.operators  # noqa: F401  (attaches the operators)
from distflow.core.module import Module
from distflow.core.variable import Variable


class Dense(Module):
    def __init__(self, name=None):
        super().__init__(name=name)
        self.w = Variable(1.0, name="w")
        self.b = Variable(2.0, name="b", trainable=False)


class TwoLayers(Module):
    def __init__(self):
        super().__init__()
        self.layers = [Dense(), Dense()]
        self.table = {"x": Variable(3.0), 7: (Variable(4.0), "text", None)}
        self.number = 5


def test_variables_come_in_order_of_attribute_names_own_before_childrens():
    module = TwoLayers()
    values = [float(v) for v in module.variables]
    assert values == [3.0, 4.0, 2.0, 1.0, 2.0, 1.0]


def test_trainable_and_other_variables():
    module = Dense()
    assert [v.name for v in module.trainable_variables] == ["w:0"]
    assert [v.name for v in module.non_trainable_variables] == ["b:0"]


def test_submodules_are_found_in_lists_and_below():
    outer = Module()
    outer.inner = TwoLayers()
    assert len(outer.submodules) == 3


def test_shared_variable_is_listed_once():
    module = Dense()
    module.again = module.w
    assert len(module.variables) == 2


def test_cycle_of_modules_ends():
    module, child = Dense(), Dense()
    module.child, child.parent = child, module
    assert len(module.variables) == 4
    assert child in module.submodules


def test_name_is_the_class_in_snake_case():
    assert TwoLayers().name == "two_layers"
    assert Dense("mine").name == "mine"


def test_name_must_be_an_identifier():
    with pytest.raises(ValueError, match="not a valid module name"):
        Dense("not valid")


def test_name_scope_prefixes_variables():
    class Scoped(Module):
        @Module.with_name_scope
        def make(self):
            return Variable(1.0, name="w")

    assert Scoped().make().name == "scoped/w:0"

"""The vector unit: what the host offers, and forcing a lower one."""

import pytest

from distflow.base import errors, flags
from distflow.compiler.cpu import isa

pytest.importorskip("llvmlite")


def test_native_is_the_highest_level_offered():
    assert isa.current().level == isa.offered()[0]


def test_every_host_offers_generic():
    assert isa.offered()[-1] == "generic"


@pytest.mark.parametrize("level", isa.offered())
def test_a_level_can_be_forced(level):
    with flags.override(DISTFLOW_CPU=level):
        assert isa.current().level == level


def test_widths_do_not_grow_downwards():
    widths = []
    for level in isa.offered():
        with flags.override(DISTFLOW_CPU=level):
            widths.append(isa.current().vector_bytes)
    assert widths == sorted(widths, reverse=True)


def test_lanes_count_elements():
    target = isa.current()
    assert target.lanes(4) * 4 == target.vector_bytes


def test_unknown_level_is_one_clear_error():
    with (
        flags.override(DISTFLOW_CPU="abacus"),
        pytest.raises(errors.InvalidArgumentError, match=r"this host runs native, .*generic"),
    ):
        isa.current()

"""Specs, flags, names, errors and the logger."""

from __future__ import annotations

import importlib.util
import logging

import numpy as np
import pytest

from distflow.base import errors, flags, log, names
from distflow.base.specs import TensorSpec

# -- specs ---------------------------------------------------------------------------------


def test_spec_accepts_what_fits():
    spec = TensorSpec([None, 2], "float32")
    assert spec.is_compatible_with(np.zeros((5, 2), np.float32))
    assert spec.is_compatible_with(TensorSpec([3, None], "float32"))
    assert not spec.is_compatible_with(np.zeros((5, 3), np.float32))
    assert not spec.is_compatible_with(np.zeros((5, 2)))
    assert not spec.is_compatible_with("text")


def test_specs_are_equal_by_shape_dtype_and_name_and_are_keys():
    assert TensorSpec([None], "int32", "a") == TensorSpec([None], "int32", "a")
    assert TensorSpec([None], "int32", "a") != TensorSpec([None], "int32", "b")
    assert TensorSpec([None], "int32") != TensorSpec([1], "int32")
    assert len({TensorSpec([1]), TensorSpec([1])}) == 1


def test_common_supertype_forgets_what_differs():
    common = TensorSpec([2, 3]).most_specific_common_supertype([TensorSpec([2, 4])])
    assert common is not None
    assert common.shape == [2, None]
    assert TensorSpec([2]).most_specific_common_supertype([TensorSpec([2, 2])]) is None
    assert TensorSpec([2]).most_specific_common_supertype([TensorSpec([2], "int32")]) is None


def test_spec_repr_is_tensorflows():
    assert repr(TensorSpec([None, 2], "float32", "x")) == (
        "TensorSpec(shape=(None, 2), dtype=tf.float32, name='x')"
    )


# -- flags ---------------------------------------------------------------------------------


def test_flag_comes_from_an_override_else_the_environment_else_its_default(monkeypatch):
    monkeypatch.delenv("DISTFLOW_TIMEOUT", raising=False)
    assert flags.get("DISTFLOW_TIMEOUT") == 120.0
    monkeypatch.setenv("DISTFLOW_TIMEOUT", "7.5")
    assert flags.get("DISTFLOW_TIMEOUT") == 7.5
    with flags.override(DISTFLOW_TIMEOUT=1.0):
        with flags.override(DISTFLOW_TIMEOUT=2.0):
            assert flags.get("DISTFLOW_TIMEOUT") == 2.0
        assert flags.get("DISTFLOW_TIMEOUT") == 1.0
    assert flags.get("DISTFLOW_TIMEOUT") == 7.5


@pytest.mark.parametrize(("found", "wanted"), [(object(), "cpu"), (None, "numpy")])
def test_the_executor_is_cpu_wherever_llvmlite_is(found, wanted, monkeypatch):
    monkeypatch.delenv("DISTFLOW_EXECUTOR", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(flags, "_best_executor", flags._best_executor.__wrapped__)
    assert flags.executor() == wanted


@pytest.mark.parametrize("name", ["cpu", "numpy", "abacus"])
def test_an_executor_that_is_named_is_the_one(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with flags.override(DISTFLOW_EXECUTOR=name):
        assert flags.executor() == name


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [("DISTFLOW_REPLICAS", "0", "an integer from 1"),
     ("DISTFLOW_REPLICAS", "many", "an integer from 1"),
     ("DISTFLOW_TIMEOUT", "-1", "a number of seconds above 0"),
     ("DISTFLOW_RANK", "first", "an integer"),
     ("DISTFLOW_LOCAL_WORLD_SIZE", "0", "an integer from 1"),
     ("DISTFLOW_LOCAL_CORES", "all", "an integer from 1"),
     ("DISTFLOW_CACHE_MB", "0", "an integer from 1"),
     ("DISTFLOW_PRINT_PASSES", "may be", "1, 0 or names with commas between them")],
)  # fmt: skip
def test_malformed_flag_is_refused_by_name(monkeypatch, name, text, expected):
    monkeypatch.setenv(name, text)
    message = f"environment: {name} must be {expected}; received '{text}'"
    with pytest.raises(errors.InvalidArgumentError, match=message):
        flags.get(name)


def test_empty_flag_is_its_default(monkeypatch):
    monkeypatch.setenv("DISTFLOW_REPLICAS", "")
    assert flags.get("DISTFLOW_REPLICAS") is None


def test_refused_flag_is_read_again_once_it_is_mended(monkeypatch):
    monkeypatch.setenv("DISTFLOW_REPLICAS", "4")
    assert flags.get("DISTFLOW_REPLICAS") == 4
    monkeypatch.setenv("DISTFLOW_REPLICAS", "x")
    with pytest.raises(errors.InvalidArgumentError):
        flags.get("DISTFLOW_REPLICAS")
    monkeypatch.setenv("DISTFLOW_REPLICAS", "5")
    assert flags.get("DISTFLOW_REPLICAS") == 5
    monkeypatch.delenv("DISTFLOW_REPLICAS")
    assert flags.get("DISTFLOW_REPLICAS") is None


def test_unknown_flag_cannot_be_overridden():
    with pytest.raises(ValueError, match=r"DISTFLOW_NOTHING"), flags.override(DISTFLOW_NOTHING=1):
        pass


# -- names ---------------------------------------------------------------------------------


def test_name_scopes_nest():
    with names.name_scope("a") as outer, names.name_scope("b") as inner:
        assert (outer, inner) == ("a/", "a/b/")
        assert names.scoped("w") == "a/b/w"
    assert names.scoped("w") == "w"


def test_uniquifier_counts_each_base_name():
    unique = names.Uniquifier()
    assert [unique.unique(n) for n in ("a", "b", "a", "a")] == ["a", "b", "a_1", "a_2"]
    unique.reset()
    assert unique.unique("a") == "a"


def test_uniquifier_never_repeats_a_name_it_gave_out():
    unique = names.Uniquifier()
    given = [unique.unique(n) for n in ("a", "a_1", "a", "a_1")]
    assert len(set(given)) == 4


# -- errors --------------------------------------------------------------------------------


def test_message_has_one_form():
    text = errors.message("matmul", "inner dimensions must agree", "a: [2], b: [3]", "Try this.")
    assert text == "matmul: inner dimensions must agree; received a: [2], b: [3].\nTry this."
    assert errors.message("f", "a tensor is needed") == "f: a tensor is needed."


def test_errors_are_also_the_python_errors_that_callers_expect():
    assert issubclass(errors.InvalidArgumentError, ValueError)
    assert issubclass(errors.DtypeMismatchError, TypeError)
    assert issubclass(errors.UnimplementedError, NotImplementedError)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert issubclass(errors.WorkerLostError, errors.UnavailableError)
    assert errors.WorkerLostError("gone", rank=3).rank == 3


def test_error_carries_code_and_message():
    error = errors.invalid("f", "x", "y")
    assert error.code == "INVALID_ARGUMENT"
    assert error.message == str(error) == "f: x; received y."


def test_missing_extra_holds_the_command():
    error = errors.missing_extra("h5py", "keras-io", "Saving weights")
    assert 'pip install "distflow[keras-io]"' in str(error)


# -- log -----------------------------------------------------------------------------------


def test_log_line_says_rank_time_and_level(monkeypatch):
    monkeypatch.setenv("DISTFLOW_RANK", "3")
    formatter = log._Formatter("%(message)s")
    record = logging.LogRecord("distflow", logging.WARNING, "", 0, "slow %s", ("peer",), None)
    line = formatter.format(record)
    assert line.startswith("[distflow rank 3 ")
    assert line.endswith("s WARNING] slow peer")


def test_logger_is_set_up_once():
    handlers = list(log.get_logger().handlers)
    assert handlers
    assert log.get_logger().handlers == handlers

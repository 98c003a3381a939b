"""The table of programs, and how their results are written down and compared.

A program is a public function `(tf, np)` of one of the files below that returns a structure of
numbers, strings and lists. Nothing in it may depend on a random generator's own stream.
"""

import importlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest

FILES = (
    "tensors", "gradients", "functions", "datasets", "modules", "models", "training", "loops",
    "strategies", "autograph", "everyday", "guides",
)  # fmt: skip
# What waits for the room that it belongs to: name of the program or mistake -> why.
WAITING: dict[str, str] = {}
GOLDEN = Path(__file__).with_name("golden.json")
RTOL, ATOL = 2e-4, 2e-5


def programs():
    """Returns {file.name: function}."""
    found = {}
    for file in FILES:
        module = importlib.import_module(f"tests.programs.{file}")
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__:
                if not name.startswith("_"):
                    found[f"{file}.{name}"] = value
    return found


def golden():
    """Returns the recorded results, {name: plain structure}."""
    return json.loads(GOLDEN.read_text())["results"]


def cases(names):
    """Returns the names as parameters of a test, those that wait as expected failures."""
    return [
        pytest.param(name, marks=pytest.mark.xfail(reason=WAITING[name], strict=False))
        if name in WAITING
        else name
        for name in names
    ]


def plain(value):
    """Returns a result as JSON can hold it: arrays become lists, bytes become text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "as_list"):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "as_list"):
        return value.as_list()
    if hasattr(value, "as_numpy_dtype"):
        return value.name
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        return plain(array.tolist())
    if array.dtype.kind == "V" or array.dtype.itemsize == 2:
        array = array.astype("float32")
    return np.round(array, 7).tolist() if array.dtype.kind == "f" else array.tolist()


def differences(got, expected, where="result"):
    """Returns a line for each place where two plain structures differ."""
    if isinstance(expected, dict):
        if not isinstance(got, dict) or list(got) != list(expected):
            return [f"{where}: expected {expected}, got {got}"]
        return [d for k in expected for d in differences(got[k], expected[k], f"{where}.{k}")]
    if isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return [f"{where}: expected {expected}, got {got}"]
        pairs = enumerate(zip(got, expected))
        return [d for i, (g, e) in pairs for d in differences(g, e, f"{where}[{i}]")]
    if isinstance(expected, float) and isinstance(got, (int, float)):
        same = bool(np.isclose(got, expected, rtol=RTOL, atol=ATOL, equal_nan=True))
    elif isinstance(expected, str):  # Keras gives some words as NumPy's own kind of text
        same = isinstance(got, str) and got == expected
    else:
        same = type(got) is type(expected) and got == expected
    return [] if same else [f"{where}: expected {expected!r}, got {got!r}"]


def fill(model, seed=0):
    """Gives a model the same weights everywhere, whatever its framework's generator does."""
    generator = np.random.RandomState(seed)
    weights = []
    for weight in model.get_weights():
        weight = np.asarray(weight)
        if weight.dtype.kind != "f":
            weights.append(weight)
            continue
        noise = generator.uniform(-0.5, 0.5, weight.shape).astype(weight.dtype)
        weights.append(noise if weight.ndim > 1 else weight + 0.1 * noise)
    model.set_weights(weights)
    return model


def numbers(*shape, seed=0, low=-1.0, high=1.0):
    """Returns float32 numbers that are the same on every machine."""
    return np.random.RandomState(seed).uniform(low, high, shape).astype("float32")

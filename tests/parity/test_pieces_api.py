"""The names, arguments, defaults and members of losses, metrics, optimizers and so on are Keras's.

Where they are not, a table says why.
"""

import inspect

import pytest

from distflow import keras
from tests.keras.battery import keras_or_skip

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
ROOMS = (
    "losses", "metrics", "optimizers", "optimizers.schedules", "initializers", "regularizers",
    "constraints", "activations", "callbacks", "datasets", "applications",
)  # fmt: skip
# Name -> why it is not there.
NOT_THERE = {
    "callbacks.OrbaxCheckpoint": "writes JAX's checkpoints; ModelCheckpoint and BackupAndRestore",
    "optimizers.legacy": "an empty shell in Keras 3",
}
# Class -> members that Keras shows, but that are its own business.
INNER = {
    "AUC": {"interpolate_pr_auc"},
    "Muon": {"lr_adjust", "transpose_last_axis", "zeropower_via_newtonschulz5"},
    "TensorBoard": {"summary"},
}
# Arguments that every optimizer has; subclasses hand them on.
SETTINGS = {
    "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum",
    "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps", "name",
}  # fmt: skip
# Callables whose arguments differ -> why.
ARGUMENTS = {
    "optimizers.Optimizer": "Keras's takes any arguments here and names them in its base",
    "callbacks.CallbackList": "one more, which says which progress bar joins",
}


def rooms(theirs):
    for name in ROOMS:
        a, b = theirs, keras
        for part in name.split("."):
            a, b = getattr(a, part), getattr(b, part)
        yield name, a, b


def public(module):
    return [n for n in dir(module) if not n.startswith("_")]


def arguments(function):
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind not in kinds}


def test_every_name_of_keras_is_there_or_in_the_table():
    lacking = {
        f"{room}.{name}"
        for room, a, b in rooms(keras_or_skip())
        for name in public(a)
        if not hasattr(b, name)
    }
    assert lacking == set(NOT_THERE) & lacking
    assert set(NOT_THERE) - lacking <= {"optimizers.legacy"}


def test_arguments_and_defaults_are_those_of_keras():
    different = []
    for room, a, b in rooms(keras_or_skip()):
        for name in public(a):
            one, other = getattr(a, name), getattr(b, name, None)
            if other is None or inspect.ismodule(one) or f"{room}.{name}" in ARGUMENTS:
                continue
            theirs, ours = arguments(one), arguments(other)
            if room == "optimizers":
                theirs = {k: v for k, v in theirs.items() if k in ours or k not in SETTINGS}
            if list(theirs.items()) != list(ours.items()):
                different.append((room, name, theirs, ours))
    assert different == []


def test_members_of_classes_are_those_of_keras():
    lacking = {}
    for _, a, b in rooms(keras_or_skip()):
        for name in public(a):
            one, other = getattr(a, name), getattr(b, name, None)
            if not inspect.isclass(one) or other is None or name == "CallbackList":
                continue
            members = {m for m in public(one) if not hasattr(other, m)} - INNER.get(name, set())
            if members:
                lacking[name] = members
    assert lacking == {}

"""The contestants: which framework, how it runs the step, and where it caches compiled code."""

import shutil
from dataclasses import dataclass

from models import spec


@dataclass(frozen=True)
class Contestant:
    """One way to run a model; `cache_setting` is the environment variable of its cache folder."""

    name: str
    framework: str
    variant: str
    cache_setting: str = ""
    only_images: bool = False
    needs_compiler: bool = False


OURS = "distflow"
OUR_EAGER = "distflow eager"
TORCH_BEST = "torch best"

CONTESTANTS = (
    Contestant(OURS, "distflow", "function", "DISTFLOW_CACHE_DIR"),
    Contestant(OUR_EAGER, "distflow", "eager", "DISTFLOW_CACHE_DIR"),
    Contestant("TF eager", "tensorflow", "eager"),
    Contestant("TF function", "tensorflow", "function"),
    Contestant("TF XLA", "tensorflow", "xla"),
    Contestant("torch eager", "torch", "eager"),
    Contestant("torch channels_last", "torch", "channels_last", only_images=True),
    Contestant("torch compile", "torch", "compile", "TORCHINDUCTOR_CACHE_DIR", needs_compiler=True),
    Contestant("JAX jit", "jax", "jit", "JAX_COMPILATION_CACHE_DIR"),
)


def entered(interpreters, model):
    """Returns the contestants of a model whose interpreter is given."""
    return [
        each
        for each in CONTESTANTS
        if each.framework in interpreters
        and not (each.only_images and not spec.SPECS[model].is_image)
    ]


def obstacle(contestant):
    """Returns why a contestant cannot start on this host, or None."""
    if contestant.needs_compiler and not (shutil.which("g++") or shutil.which("clang++")):
        return "not available here: the host has no C++ compiler"
    return None

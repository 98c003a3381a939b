"""The vector unit that code is made for: that of this host, or a lower one that DISTFLOW_CPU names.

Levels are rows from high to low; a host offers the first whose features it has all. Results must
not depend on the level (the order of additions is the program's, and `llvm.fma` rounds once on
every level: without FMA hardware it is a call into the C library, slow and right).
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from typing import Any

from distflow.base import errors, flags
from distflow.compiler.cpu import amx


@dataclass(frozen=True)
class Level:
    """One kind of vector unit: what it needs, LLVM's name for it, width and register count."""

    needs: tuple[str, ...]
    cpu: str
    vector_bytes: int
    num_registers: int
    has_fma: bool


# High to low for each machine. `generic` is what every CPU of the architecture has.
LEVELS: dict[str, dict[str, Level]] = {
    "x86_64": {
        "avx512": Level(
            ("avx512f", "avx512vl", "avx512bw", "avx512dq", "avx512cd", "avx2", "fma"),
            "x86-64-v4", 64, 32, True,
        ),
        "avx2": Level(("avx2", "fma", "bmi2", "f16c", "movbe", "lzcnt"), "x86-64-v3", 32, 16, True),
        "sse": Level(("sse4.2", "popcnt", "ssse3", "cx16"), "x86-64-v2", 16, 16, False),
        "generic": Level((), "x86-64", 16, 16, False),
    },
    "aarch64": {"generic": Level((), "generic", 16, 32, True)},
}  # fmt: skip
# Machines whose vectors are left to LLVM: narrow, few registers.
_UNKNOWN = {"generic": Level((), "", 16, 16, False)}


@dataclass(frozen=True)
class Target:
    """What code is made for; equal targets make equal code.

    Attributes:
      level: row of LEVELS.
      cpu, features: as LLVM takes them.
      vector_bytes: width of a vector register.
      num_registers: vector registers that a kernel may count on.
      has_fma: whether `llvm.fma` is one instruction.
      has_tiles: whether there are matrix tiles that multiply bfloat16 (never where a level was
        asked for by its name).
    """

    level: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    num_registers: int
    has_fma: bool
    has_tiles: bool = False

    def lanes(self, item_bytes: int) -> int:
        """Number of elements of that size in a vector register."""
        return self.vector_bytes // item_bytes


def binding() -> Any:
    """Returns `llvmlite.binding`, ready to make code for this host.

    Raises:
      MissingExtraError: without llvmlite.
    """
    return _binding()


@functools.cache
def _binding() -> Any:
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        raise errors.MissingExtraError(
            "the cpu executor needs the package 'llvmlite', which is not installed. "
            "Run: pip install llvmlite, or set DISTFLOW_EXECUTOR=numpy."
        ) from error
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def current() -> Target:
    """Returns the target that DISTFLOW_CPU asks for (default: all that this host has).

    Raises:
      InvalidArgumentError: for an unknown name, or one that this host cannot run.
    """
    return _target(flags.get("DISTFLOW_CPU"))


def offered() -> list[str]:
    """Returns the levels that this host can run, high to low."""
    levels, host = _levels(), _host_features()
    return [name for name, row in levels.items() if all(host.get(n) for n in row.needs)]


@functools.cache
def _target(wanted: str) -> Target:
    llvm = binding()
    levels, names = _levels(), offered()
    if wanted != "native" and wanted not in names:
        raise errors.invalid(
            "DISTFLOW_CPU", f"this host runs {', '.join(['native', *names])}", repr(wanted)
        )
    name = names[0] if wanted == "native" else wanted
    row = levels[name]
    cpu, features, tiles = row.cpu, "", False
    if wanted == "native":
        cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
        tiles = amx.offered(_host_features())
    return Target(
        name, llvm.get_default_triple(), cpu, features,
        row.vector_bytes, row.num_registers, row.has_fma, tiles,
    )  # fmt: skip


def _levels() -> dict[str, Level]:
    machine = platform.machine().lower()
    return LEVELS.get({"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine), _UNKNOWN)


@functools.cache
def _host_features() -> dict[str, bool]:
    return dict(binding().get_host_cpu_features())

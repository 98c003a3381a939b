"""Matrix tiles of x86 (AMX): whether this process may use them, and how they are set up.

Linux gives a process the registers when it asks for them once; children of a fork have them too.
A thread that configures its tiles releases them before it returns (`pair_sums`).

Source: Linux, Documentation/arch/x86/xstate.rst; Intel's Instruction Set Extensions Programming
Reference, chapter 3.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Mapping

# What LLVM calls the parts of the CPU that a product of bfloat16 needs.
_NEEDED = ("amx-tile", "amx-bf16", "avx512f", "avx512bw", "avx512vl")
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
# Rows of a tile, and bytes of each row.
ROWS, ROW_BYTES = 16, 64
_TILES = 8


def offered(features: Mapping[str, bool]) -> bool:
    """Whether the CPU has tiles with products of bfloat16, and the process may use them.

    Args:
      features: of the host's CPU, by LLVM's names.
    """
    return all(features.get(name) for name in _NEEDED) and _permitted()


@functools.cache
def _permitted() -> bool:
    """Asks the system for the registers; False where it refuses or does not know them."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    return bool(syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)


def configuration() -> bytes:
    """Returns what `ldtilecfg` reads to make all eight tiles 16 rows of 64 bytes."""
    palette = 1
    sizes = b"".join(ROW_BYTES.to_bytes(2, "little") for _ in range(_TILES))
    return (
        bytes([palette])
        + bytes(15)
        + sizes.ljust(32, b"\0")
        + (bytes([ROWS]) * _TILES).ljust(16, b"\0")
    )

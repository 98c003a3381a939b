"""LLVM IR -> machine code in this process, kept on disk under a name made from its content.

An entry of the cache is named by the SHA-256 of all that decides its bytes (IR text, or what it is
written from; target, versions of LLVM, llvmlite and distflow) and carries a checksum. It is used
only if the folder and the file belong to this user alone and the checksum holds; otherwise it is
made anew. `size_limit.py` keeps the folder from growing without end.

Optimised without any fast-math: LLVM may not reorder or contract floating-point operations, so the
bits are those that the IR spells out. Code whose vectors are written out goes through a few passes
only: all of level 3 makes it no faster, and takes most of the time of a first call.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distflow.base import flags, log
from distflow.compiler.cpu import isa, size_limit

_MAGIC = b"dfcode1\n"
_DIGEST_BYTES = 32
# First lines of IR that code is made from as it stands, and after a few passes.
_PLAIN = "; as it stands\n"
_VECTORS = "; vectors are written out\n"
# What is left to do where vectors are written out: registers for what is in memory, shorter
# addresses, and each of them once.
_FEW_PASSES = ("sroa", "simplify_cfg", "instruction_combine", "new_gvn")

# Guards LLVM, the table of modules and the counters. Held over a fork, so that no child inherits
# LLVM (which has a lock of its own) in the middle of something.
_lock = threading.RLock()
_modules: dict[str, Module] = {}
_counts = {"compiled": 0, "loaded": 0}
_engine: Any = None


class Module:
    """A compiled module: its functions stay valid for the life of the process."""

    def __init__(self, name: str, key: str, library: Any):
        self.name = name
        self.key = key
        self._library = library

    def address(self, symbol: str) -> int:
        """Returns the address of a function of the module (one of `symbols` at its making)."""
        return self._library[symbol]

    def function(self, symbol: str, result: Any, *arguments: Any) -> Any:
        """Returns a function as a ctypes callable that releases the GIL while it runs.

        Args:
          symbol: its name in the IR.
          result: ctypes type that it returns, or None.
          arguments: ctypes types that it takes.
        """
        found = ctypes.CFUNCTYPE(result, *arguments)(self.address(symbol))
        # The code lives as long as its Module: a function that is kept must keep it.
        found.module = self  # type: ignore[attr-defined]
        return found


def compile_module(module: Any, name: str) -> Module:
    """Returns the machine code of a module (LLVM IR as text, or an `llvmlite.ir.Module`).

    All functions that the module defines with external linkage can be looked up. The same IR for
    the same target gives the same Module; threads may call this at once.

    Args:
      module: the IR; its text must not vary from run to run, or the cache on disk cannot serve.
      name: for messages.
    """
    text = str(module)
    target = isa.current()
    key = _key(text, target)
    with _lock:
        if key not in _modules:
            _modules[key] = _load(lambda: text, _symbols(text), target, key, name)
        return _modules[key]


def compile_described(
    description: str, symbols: Sequence[str], make: Callable[[], Any], *, explicit: bool = False
) -> Module:
    """Returns the machine code of a module that is written only if the cache has no code for it.

    Args:
      description: all that decides the module but this package's sources, which are added.
      symbols: the functions that can be looked up.
      make: writes the module.
      explicit: its vectors are written out, as in `vectors`.
    """
    target = isa.current()
    key = _key(f"{_sources()} {' '.join(symbols)} {description}", target)
    with _lock:
        if key not in _modules:
            write = (lambda: vectors(make())) if explicit else (lambda: str(make()))
            _modules[key] = _load(write, symbols, target, key, symbols[0])
        return _modules[key]


def plain(module: Any) -> str:
    """Returns a module's text, marked to be compiled without LLVM's passes over the IR.

    Kernels that are written vector by vector gain nothing by them and compile in half the time.
    """
    return f"{_PLAIN}{module}"


def vectors(module: Any) -> str:
    """Returns a module's text, marked as code whose vectors are written out: few passes do."""
    return f"{_VECTORS}{module}"


def counts() -> dict[str, int]:
    """Returns how many modules this process compiled, and how many it loaded from disk."""
    with _lock:
        return dict(_counts)


def verify_for(module: Any, triple: str) -> bytes:
    """Returns the object code of a module for another machine (LLVM verifies it; it is not run)."""
    llvm = isa.binding()
    with _lock:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        machine = llvm.Target.from_triple(triple).create_target_machine(opt=3)
        return _object_code(llvm, str(module), triple, machine)


@functools.cache
def _sources() -> str:
    """Returns the digest of the sources of this folder, which write the modules."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(data)} ".encode() + data)
    return digest.hexdigest()


def _load(
    text: Callable[[], str], symbols: Sequence[str], target: isa.Target, key: str, name: str
) -> Module:
    global _engine
    llvm = isa.binding()
    if _engine is None:
        _engine = llvm.create_lljit_compiler(_machine(llvm, target))
    path = _folder()
    code = None if path is None else _read(path / key, key)
    if code is None:
        code = _object_code(llvm, text(), target.triple, _machine(llvm, target))
        _counts["compiled"] += 1
        if path is not None:
            _write(path, key, code)
    else:
        _counts["loaded"] += 1
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for symbol in symbols:
        builder.export_symbol(symbol)
    # The name need only be unique: a module that was forgotten stays linked.
    return Module(name, key, builder.link(_engine, f"{key}.{sum(_counts.values())}"))


def _symbols(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        if line.startswith("define ") and not line.startswith(
            ("define internal", "define private")
        ):
            found.append(line[line.index("@") + 1 : line.index("(", line.index("@"))].strip('"'))
    return found


def _machine(llvm: Any, target: isa.Target) -> Any:
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="jitdefault",
        jit=True,
    )  # fmt: skip


def _object_code(llvm: Any, text: str, triple: str, machine: Any) -> bytes:
    module = llvm.parse_assembly(text)
    module.triple = triple
    module.data_layout = str(machine.target_data)
    module.verify()
    if text.startswith(_PLAIN):
        return machine.emit_object(module)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    passes = llvm.create_pass_builder(machine, options)
    if not text.startswith(_VECTORS):
        passes.getModulePassManager().run(module, passes)
        return machine.emit_object(module)
    few = llvm.create_new_function_pass_manager()
    for name in _FEW_PASSES:
        getattr(few, f"add_{name}_pass")()
    for function in module.functions:
        if not function.is_declaration:
            few.run(function, passes)
    return machine.emit_object(module)


# -- the cache on disk ---------------------------------------------------------------------


def _key(text: str, target: isa.Target) -> str:
    digest = hashlib.sha256()
    for part in (_versions(), target.triple, target.cpu, target.features, text):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


@functools.cache
def _versions() -> str:
    llvm = isa.binding()
    import llvmlite

    try:
        own = importlib.metadata.version("distflow")
    except importlib.metadata.PackageNotFoundError:
        own = "source"
    return f"{own} {llvmlite.__version__} {llvm.llvm_version_info}"


def _folder() -> Path | None:
    """Returns the private folder of the cache, made if need be; None where there can be none."""
    root = flags.get("DISTFLOW_CACHE_DIR")
    if not root:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        root = os.path.join(home, "distflow")
    folder = Path(root) / "code"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError as error:
        log.get_logger().log(logging.INFO, "no cache of machine code: %s", error)
        return None
    if not stat.S_ISDIR(found.st_mode) or not _is_ours(found) or found.st_mode & 0o077:
        log.get_logger().log(
            logging.WARNING,
            "cache of machine code not used: %s must be a folder of this user with mode 0700",
            folder,
        )
        return None
    return folder


def _is_ours(found: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or found.st_uid == os.getuid()


def _read(path: Path, key: str) -> bytes | None:
    """Returns the code of an entry; None if there is none that can be trusted."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not _is_ours(found):
            return None
        data = file.read()
    start = len(_MAGIC) + _DIGEST_BYTES
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : start] != _checksum(key, data[start:]):
        return None
    size_limit.note_read(path, found.st_mtime)
    return data[start:]


def _write(folder: Path, key: str, code: bytes) -> None:
    """Puts an entry in place at once, so that a reader sees all of it or none."""
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + _checksum(key, code) + code)
            os.replace(temporary, folder / key)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        log.get_logger().log(logging.INFO, "machine code not kept: %s", error)
    else:
        size_limit.note_written(folder, len(code))


def _checksum(key: str, code: bytes) -> bytes:
    return hashlib.sha256(key.encode() + code).digest()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )

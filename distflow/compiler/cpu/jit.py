"""LLVM IR -> machine code in this process, kept on disk under a name made from its content.

The name of an entry (`store.py`) is made from all that decides its bytes: IR text, or what it is
written from; target, versions of LLVM, llvmlite and distflow.

Code that is not on disk is compiled in the background (`backlog.py`), while the caller goes on to
describe more; who needs it before it is there compiles it itself, or waits.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distflow.compiler.cpu import backlog, codegen, isa, store
from distflow.compiler.cpu.codegen import plain as plain
from distflow.compiler.cpu.codegen import vectors as vectors

# Guards linking, the table of modules and the counters. Held over a fork, so that no child
# inherits LLVM (which has a lock of its own) in the middle of something.
_lock = threading.RLock()
_modules: dict[str, Module] = {}
_counts = {"compiled": 0, "loaded": 0}
_engine: Any = None


class Module:
    """A compiled module: its functions stay valid for the life of the process.

    Args:
      name: for messages.
      key: names the code in the cache.
      symbols: the functions that can be looked up.
      code: the object code, or the task that makes it.

    Attributes:
      name, key, symbols: see above.
    """

    def __init__(
        self, name: str, key: str, symbols: Sequence[str], code: bytes | backlog.Task
    ):  # fmt: skip
        self.name = name
        self.key = key
        self.symbols = symbols
        self._code: bytes | backlog.Task | None = code
        self._library: Any = None

    def address(self, symbol: str) -> int:
        """Returns the address of a function of the module (one of `symbols` at its making)."""
        if self._library is None:
            self._link()
        return int(self._library[symbol])

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

    def ranged(self, symbol: str) -> Ranged:
        """Returns a function (pointers, begin, end) whose code need not be there yet."""
        return Ranged(self, symbol)

    def finish(self) -> bytes | None:
        """Waits for the object code and returns it; None where it is linked already."""
        code = self._code
        return code.result() if isinstance(code, backlog.Task) else code

    def _link(self) -> None:
        code = self.finish()
        with _lock:
            if self._library is not None:
                return
            assert code is not None
            llvm, global_engine = isa.binding(), _linker()
            builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
            for symbol in self.symbols:
                builder.export_symbol(symbol)
            # The name need only be unique: a module that was forgotten stays linked.
            _counts["linked"] = _counts.get("linked", 0) + 1
            self._library = builder.link(global_engine, f"{self.key}.{_counts['linked']}")
            self._code = None


_RANGED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Ranged:
    """A native function (pointers, begin, end) of a module, looked up when it is first needed.

    Attributes:
      module, symbol: where it is.
    """

    __slots__ = ("_address", "_call", "module", "symbol")

    def __init__(self, module: Module, symbol: str):
        self.module = module
        self.symbol = symbol
        self._address: int | None = None
        self._call: Any = None

    @property
    def address(self) -> int:
        """Its address; waits for the code."""
        if self._address is None:
            self._address = self.module.address(self.symbol)
        return self._address

    def __call__(self, pointers: int, begin: int, end: int) -> None:
        """Runs it in the calling thread, which lets go of the GIL."""
        if self._call is None:
            self._call = _RANGED(self.address)
        self._call(pointers, begin, end)


def compile_module(module: Any, name: str, *, later: bool = False) -> Module:
    """Returns the machine code of a module (LLVM IR as text, or an `llvmlite.ir.Module`).

    All functions that the module defines with external linkage can be looked up. The same IR for
    the same target gives the same Module; threads may call this at once.

    Args:
      module: the IR; its text must not vary from run to run, or the cache on disk cannot serve.
      name: for messages.
      later: the code may be made in the background; what is wrong with it is said when it is used.
    """
    text = str(module)
    target = isa.current()
    found = _module(name, _key(text, target), target, lambda: _symbols(text), lambda: text)
    if not later:
        found.finish()
    return found


def compile_described(
    description: str, symbols: Sequence[str], make: Callable[[], Any], *, explicit: bool = False
) -> Module:
    """Returns the machine code of a module that is written only if the cache has no code for it.

    It is compiled in the background.

    Args:
      description: all that decides the module but this package's sources, which are added.
      symbols: the functions that can be looked up.
      make: writes the module.
      explicit: its vectors are written out, as in `vectors`.
    """
    target = isa.current()
    key = _key(f"{sources()} {' '.join(symbols)} {description}", target)
    write = (lambda: vectors(make())) if explicit else (lambda: str(make()))
    return _module(symbols[0], key, target, lambda: symbols, write)


def load(key: str, name: str, symbols: Sequence[str]) -> Module | None:
    """Returns a module by its key (`Module.key`), if this process or the disk has it.

    Args:
      key, name, symbols: as its attributes were.
    """
    with _lock:
        found = _modules.get(key)
        folder = store.folder() if found is None else None
        code = None if folder is None else store.read(folder / key, key)
        if code is not None:
            _counts["loaded"] += 1
            found = _modules[key] = Module(name, key, symbols, code)
    return found


def wait() -> None:
    """Returns when nothing is compiled in the background any more, and all of it is on disk."""
    backlog.wait()


def counts() -> dict[str, int]:
    """Returns how many modules this process compiled, and how many it loaded from disk."""
    with _lock:
        return {name: _counts[name] for name in ("compiled", "loaded")}


def verify_for(module: Any, triple: str) -> bytes:
    """Returns the object code of a module for another machine (LLVM verifies it; it is not run)."""
    llvm = isa.binding()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(opt=3)
    return codegen.object_code(str(module), triple, machine)


@functools.cache
def sources() -> str:
    """Returns the digest of the sources of this folder, which write the modules."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(data)} ".encode() + data)
    return digest.hexdigest()


def _module(
    name: str, key: str, target: isa.Target, symbols: Callable[[], Sequence[str]],
    write: Callable[[], str],
) -> Module:  # fmt: skip
    with _lock:
        found = _modules.get(key)
        if found is None:
            folder = store.folder()
            code: Any = None if folder is None else store.read(folder / key, key)
            _counts["compiled" if code is None else "loaded"] += 1
            if code is None:
                code = backlog.Task(functools.partial(_compile, write(), target, folder, key))
            found = _modules[key] = Module(name, key, symbols(), code)
    return found


def _compile(text: str, target: isa.Target, folder: Path | None, key: str) -> bytes:
    code = codegen.object_code(text, target.triple, codegen.machine(target))
    if folder is not None:
        store.write(folder, key, code)
    return code


def _linker() -> Any:
    global _engine
    if _engine is None:
        _engine = isa.binding().create_lljit_compiler(codegen.machine(isa.current()))
    return _engine


def _symbols(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        if line.startswith("define ") and not line.startswith(
            ("define internal", "define private")
        ):
            found.append(line[line.index("@") + 1 : line.index("(", line.index("@"))].strip('"'))
    return found


def _key(text: str, target: isa.Target) -> str:
    digest = hashlib.sha256()
    for part in (versions(), target.triple, target.cpu, target.features, text):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


@functools.cache
def versions() -> str:
    """Returns the versions of what makes code: distflow, llvmlite, LLVM."""
    llvm = isa.binding()
    import llvmlite

    try:
        own = importlib.metadata.version("distflow")
    except importlib.metadata.PackageNotFoundError:
        own = "source"
    return f"{own} {llvmlite.__version__} {llvm.llvm_version_info}"


def _before_fork() -> None:
    backlog.hold()
    _lock.acquire()


def _after_fork() -> None:
    _lock.release()
    backlog.go_on()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )

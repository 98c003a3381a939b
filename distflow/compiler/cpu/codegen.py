"""LLVM IR as text -> object code, from several threads at once.

Optimised without any fast-math: LLVM may not reorder or contract floating-point operations, so the
bits are those that the IR spells out. Code whose vectors are written out goes through a few passes
only: all of level 3 makes it no faster, and takes most of the time of a first call.

Each module has an LLVM context and a target machine of its own, so that LLVM works on several at
once. llvmlite holds one lock around each call; the two long ones are made without it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from distflow.compiler.cpu import isa

# First lines of IR that code is made from as it stands, and after a few passes.
_PLAIN = "; as it stands\n"
_VECTORS = "; vectors are written out\n"
# What is left to do where vectors are written out: registers for what is in memory, shorter
# addresses, and each of them once.
_FEW_PASSES = ("sroa", "simplify_cfg", "instruction_combine", "new_gvn")


def plain(module: Any) -> str:
    """Returns a module's text, marked to be compiled without LLVM's passes over the IR.

    Kernels that are written vector by vector gain nothing by them and compile in half the time.
    """
    return f"{_PLAIN}{module}"


def vectors(module: Any) -> str:
    """Returns a module's text, marked as code whose vectors are written out: few passes do."""
    return f"{_VECTORS}{module}"


def machine(target: isa.Target) -> Any:
    """Returns LLVM's target machine for code of this process."""
    llvm = isa.binding()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="jitdefault",
        jit=True,
    )  # fmt: skip


def object_code(text: str, triple: str, made_for: Any) -> bytes:
    """Returns the object code of a module, which LLVM verifies first.

    Args:
      text: the IR.
      triple: what it is for.
      made_for: a target machine that no other thread uses meanwhile.
    """
    llvm = isa.binding()
    with llvm.create_context() as context, llvm.parse_assembly(text, context) as module:
        module.triple = triple
        module.data_layout = str(made_for.target_data)
        module.verify()
        if not text.startswith(_PLAIN):
            _optimize(llvm, module, made_for, text.startswith(_VECTORS))
        return _emitted(llvm, module, made_for)


def _optimize(llvm: Any, module: Any, made_for: Any, few: bool) -> None:
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    with llvm.create_pass_builder(made_for, options) as builder:
        if not few:
            builder.getModulePassManager().run(module, builder)
            return
        passes = llvm.create_new_module_pass_manager()
        for name in _FEW_PASSES:
            getattr(passes, f"add_{name}_pass")()
        _unlocked(llvm, "LLVMPY_RunNewModulePassManager")(passes, module, builder)


def _emitted(llvm: Any, module: Any, made_for: Any) -> bytes:
    """Does what `made_for.emit_object(module)` does."""
    library = llvm.ffi.lib
    with llvm.ffi.OutputString() as message:
        emit = _unlocked(llvm, "LLVMPY_TargetMachineEmitToMemory")
        buffer = emit(made_for, module, 1, message)
        if not buffer:
            raise RuntimeError(str(message))
    try:
        return ctypes.string_at(
            library.LLVMPY_GetBufferStart(buffer), library.LLVMPY_GetBufferSize(buffer)
        )
    finally:
        library.LLVMPY_DisposeMemoryBuffer(buffer)


def _unlocked(llvm: Any, name: str) -> Any:
    """Returns a function of llvmlite's library that does not wait for those of other threads."""
    function = getattr(llvm.ffi.lib, name)
    return getattr(function, "_cfn", function)

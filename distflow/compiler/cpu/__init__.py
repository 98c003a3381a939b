"""The cpu executor: machine code for this host's vector unit, made by LLVM through llvmlite."""

"""What two numeric fingerprints differ in, in words: the first operation, and the likely cause."""

from __future__ import annotations

import json

# What a difference in the fingerprint usually comes from, by the beginning of its name.
_CAUSES = {
    "version": "Install the same packages on all hosts (the same image, say).",
    "machine": "Workers of one job need CPUs of one kind.",
    "executor": "Set DISTFLOW_EXECUTOR to the same for all workers.",
    "NumPy": "The hosts' CPUs have other vector units: use CPUs of one kind, or switch the newer "
    "ones' features off for NumPy (NPY_DISABLE_CPU_FEATURES) on all hosts.",
    "BLAS": "BLAS takes other kernels on the hosts' CPUs: set OPENBLAS_CORETYPE to the same for "
    "all workers, Haswell say.",
    "denormal": "A library has switched denormal numbers off in one of the processes.",
    "kernel": "Set DISTFLOW_CPU to the same for all workers, avx2 say.",
}


def difference(here: str, mine: str, there: str, theirs: str) -> str:
    """Returns the message for two workers that compute different bits: where first, and why.

    Args:
      here, there: what the workers are called.
      mine, theirs: their fingerprints, JSON of [[what, digest or version], ...].
    """
    where = f"join: {there} computes other bits than {here}"
    try:
        ours, others = dict(json.loads(mine)), dict(json.loads(theirs))
        names = [*ours, *(name for name in others if name not in ours)]
        name = next(name for name in names if ours.get(name) != others.get(name))
    except (ValueError, TypeError, StopIteration):
        return f"{where}: a fingerprint cannot be read."
    cause = next((text for start, text in _CAUSES.items() if name.startswith(start)), "")
    return (
        f"{where}: {name} is {ours.get(name)} on {here}, {others.get(name)} on {there}.\n{cause}"
    ).rstrip()

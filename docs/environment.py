"""Writes docs/environment.md: every environment variable that distflow reads.

Its own settings are those of the table in `distflow/base/flags.py`; the variables of others stand
here. Run `python docs/environment.py` after adding one; tests/house/test_environment.py says
whether the page is fresh, and whether the code reads just these.
"""

from __future__ import annotations

import pathlib

from distflow.base.flags import FLAGS

HERE = pathlib.Path(__file__).resolve().parent
_RANKS = "rank and number of workers, of a job that `mpirun` or an MPI's own starter runs"
_STEP = "rank and number of workers, and who shares a host, of a job that `srun` runs"
_THREADS = "threads of libraries: 1 in workers of `distflow run` unless it is set"

# Variables of others, by name -> what is made of it.
OTHERS = {
    "TF_CONFIG": "cluster and task of a worker that was started by hand, as in TensorFlow",
    **dict.fromkeys(
        (
            "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
            "OMPI_COMM_WORLD_LOCAL_SIZE", "PMI_RANK", "PMI_SIZE", "PMI_LOCAL_SIZE", "PMIX_RANK",
            "MPI_LOCALRANKID", "MPI_LOCALNRANKS",
        ),
        _RANKS,
    ),
    **dict.fromkeys(
        (
            "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_JOB_ID",
            "SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST",
            "SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE",
        ),
        _STEP,
    ),
    "JOB_COMPLETION_INDEX": "rank of a pod of an Indexed Job",
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), _THREADS),
    "OMPI_ALLOW_RUN_AS_ROOT": "set for `mpirun` by `distflow run`, where it runs as root",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "the same",
    "OMPI_MCA_mpi_ft_enable": "where it is 0, elastic jobs over MPI do without ULFM",
    "OMPI_MCA_btl": "set to `^ofi` for `mpirun` by `distflow run` unless it is set",
    **dict.fromkeys(
        (
            "PRTE_MCA_prte_tmpdir_base", "OMPI_MCA_orte_tmpdir_base",
            "OMPI_MCA_btl_sm_backing_directory",
        ),
        "set for `mpirun` by `distflow run` unless it is set: a folder that ends with the job",
    ),
    "PYTHONUNBUFFERED": "set to 1 for workers by `distflow run` unless it is set",
    "GRPC_VERBOSITY": "set to NONE unless it is set: gRPC's own words, beside distflow's errors",
    "GRPC_ENABLE_FORK_SUPPORT": "set to 0 unless it is set",
    "GLIBC_TUNABLES": "where it or a `MALLOC_...` is set, distflow leaves the heap as it is",
    "KERAS_HOME": "folder of downloaded data sets and weights in place of `~/.keras`",
    "XDG_CACHE_HOME": "folder of caches in place of `~/.cache`; see `DISTFLOW_CACHE_DIR`",
    "KUBECONFIG": "cluster that `distflow submit --k8s` talks to, as for `kubectl`",
    "SSH_CONNECTION": "the address at which hosts that were reached over ssh reach back",
    "TERM": "whether a terminal can show a table that is drawn anew",
    "NO_COLOR": "output without colours",
}  # fmt: skip

# Of distflow's own processes, not to be set by anybody.
MARKS = {
    "DISTFLOW_AGENT": "which job's part of a host a process belongs to, in jobs over ssh",
    "DISTFLOW_AGENT_PROCESS": "the same, and which process started it there",
}

# Variables that only tests read.
OF_TESTS = {
    "DISTFLOW_TEST_DATA": "folder of data files that some tests need",
    "DISTFLOW_TEST_K8S_CRDS": "folder of the CRDs' own files, to hold manifests against",
}


def _default(value: object) -> str:
    if value is None:
        return ""
    return f"`{int(value) if isinstance(value, bool) else value}`"


def _table(head: str, rows: list[str]) -> list[str]:
    return [head, "| --- " * (head.count("|") - 1) + "|", *rows, ""]


def page() -> str:
    """Returns the text of the page."""
    own = [f"| `{n}` | {_default(f.default)} | {f.help} |" for n, f in sorted(FLAGS.items())]
    lines = [
        "# Environment variables",
        "",
        "Made by `python docs/environment.py`. A value that cannot be read is an error that says "
        "what is expected.",
        "",
        *_table("| distflow's own | default | meaning |", own),
        *_table("| of others | what distflow makes of it |", _rows(OTHERS)),
        *_table("| marks of processes | meaning |", _rows(MARKS)),
        *_table("| read by tests | meaning |", _rows(OF_TESTS)),
    ]
    return "\n".join(lines)


def _rows(table: dict[str, str]) -> list[str]:
    return [f"| `{name}` | {text} |" for name, text in sorted(table.items())]


if __name__ == "__main__":
    (HERE / "environment.md").write_text(page())

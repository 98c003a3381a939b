"""The batch script of a job on Slurm: what it asks for, and one srun of the program."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

MARK = "distflow"  # the comment by which our commands know their jobs


@dataclass(frozen=True)
class Script:
    """What the script says.

    Attributes:
      command: the program and its arguments, as each worker runs them.
      cpus: of each worker; as many threads for BLAS.
      settings: options of sbatch by name, None for those that are not given.
      more: further options of sbatch, as it takes them.
      setup: lines of shell before the program, for modules and environments.
      variables: environment of the workers.
      output: file of the output; %j is the job's number.
    """

    name: str
    command: Sequence[str]
    workers: int
    replicas: int
    cpus: int = 1
    settings: dict[str, str | None] = field(default_factory=dict)
    more: Sequence[str] = ()
    setup: Sequence[str] = ()
    variables: dict[str, str] = field(default_factory=dict)
    output: str = "%x-%j.out"

    def text(self) -> str:
        """Returns the script."""
        asked = {
            "job-name": self.name,
            "comment": MARK,
            "ntasks": str(self.workers),
            "cpus-per-task": str(self.cpus),
            "output": self.output,
            **{name: value for name, value in self.settings.items() if value is not None},
        }
        options = [f"--{name}={shlex.quote(value)}" for name, value in asked.items()]
        variables = {
            "DISTFLOW_REPLICAS": str(self.replicas),
            "PYTHONUNBUFFERED": "1",
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self.cpus)),
            **self.variables,
        }
        return "\n".join(
            [
                "#!/bin/bash",
                *(f"#SBATCH {option}" for option in [*options, *self.more]),
                "",
                *self.setup,
                *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
                "# The job's secret: made where it runs, kept nowhere.",
                "DISTFLOW_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')",
                "export DISTFLOW_TOKEN",
                "# One worker for each task; when one fails the others end as well. srun does not",
                "# take over --cpus-per-task by itself.",
                f"exec srun --label --kill-on-bad-exit=1 --cpus-per-task={self.cpus} "
                + shlex.join(self.command),
                "",
            ]
        )

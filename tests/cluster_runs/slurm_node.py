"""A real Slurm of one node: munged, slurmctld and slurmd with files and ports of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.support import ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue")
DEADLINE = 60.0
# Set up after slurm.conf(5) of Slurm 22.05: nothing that needs a database or control groups.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
ReturnToService=2
KillWait=3
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 CoresPerSocket=8 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Returns why there can be no Slurm here, or ""."""
    lost = [name for name in PROGRAMS if shutil.which(name) is None]
    if lost:
        return f"not installed: {', '.join(lost)} (Debian: slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "slurmd needs root"


class Slurm:
    """The daemons; `environment` is what Slurm's programs need to find them."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        controller_port, node_port = ports.held(2)
        conf = folder / "slurm.conf"
        conf.write_text(
            CONFIGURATION.format(
                host=host, folder=folder, ctld_port=controller_port, d_port=node_port
            )
        )
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DISTFLOW_", "SLURM_"))}
        self.environment = {**kept, "SLURM_CONF": str(conf)}
        self._daemons: list[subprocess.Popen[bytes]] = []
        try:
            files = [f"--{n}-file={folder}/munge.{n}" for n in ("pid", "log", "seed")]
            socket_file = f"--socket={folder}/munge.sock"
            self._start(
                "munged", "--foreground", "--force", f"--key-file={key}", *files, socket_file
            )
            self._until(lambda: (folder / "munge.sock").exists())
            self._start("slurmctld", "-D", "-c")
            self._start("slurmd", "-D")
            self._until(lambda: "idle" in self._ask("sinfo", "--noheader", "--format=%T"))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends every job, then the daemons, the last one first."""
        self._ask("scancel", "--user=root", "--signal=KILL")
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as output:
            self._daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL,
                    stdout=output, stderr=subprocess.STDOUT, env=self.environment,
                )
            )  # fmt: skip

    def _ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True,
                              timeout=DEADLINE, check=False)  # fmt: skip
        return done.stdout

    def _until(self, holds) -> None:  # type: ignore[no-untyped-def]
        over = time.monotonic() + DEADLINE
        while not holds():
            if time.monotonic() > over or any(d.poll() is not None for d in self._daemons):
                texts = [f"{f.name}:\n{f.read_text()}" for f in self.folder.glob("*.out")]
                raise RuntimeError("no Slurm:\n" + "\n".join(texts))
            time.sleep(0.1)

"""A worker with a part of a processor: placement by measured speed keeps the others busy."""

import contextlib
import os
import re
import secrets
import statistics
from pathlib import Path

import pytest

JOB = Path(__file__).with_name("unequal_job.py")
PERIOD_MICROSECONDS = 10_000
SHARE = 1 / 3  # of a processor, of the slow worker
SETTLED, STEPS = 32, 64  # steps until the placement has found its way, and in all


@contextlib.contextmanager
def processor_share(share):
    """Gives the file that takes the ids of processes which shall have a share of a processor."""
    old, new = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    name = f"distflow-test-{secrets.token_hex(6)}"
    quota = int(PERIOD_MICROSECONDS * share)
    limits = {
        old: {"cpu.cfs_period_us": PERIOD_MICROSECONDS, "cpu.cfs_quota_us": quota},
        new: {"cpu.max": f"{quota} {PERIOD_MICROSECONDS}"},
    }
    for parent, files in limits.items():
        folder = parent / name
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            for file, value in files.items():
                with (folder / file).open("r+") as limit:  # never makes the file
                    limit.write(str(value))
            yield folder / "cgroup.procs"
            return
        except FileNotFoundError:
            continue
        finally:
            folder.rmdir()
    pytest.skip("no control group can limit processor time here")


@pytest.fixture
def start(elastic):
    """Starts jobs of some workers with one thread each."""

    def begin(workers, steps):
        options = ["-n", workers, "--elastic", f"{workers}:{workers}"]
        options += ["--env", "DISTFLOW_THREADS=1"]
        return elastic(options, [steps], program=(str(JOB),))

    return begin


def step_seconds(run, first):
    """Returns how long a step of a job takes: the median of those from `first` on."""
    found = re.findall(r"rank 0\] step (\d+) pid \d+ at ([\d.]+)", run.text)
    at = {int(step): float(moment) for step, moment in found}
    return statistics.median(at[n + 1] - at[n] for n in range(first, max(at)))


def slow_down(run, rank, processes):
    """Lets a worker have its share of a processor from its first step on."""
    process = run.wait_for(rf"rank {rank}\] step 1 pid (\d+)")[1]
    processes.write_text(process)


@pytest.mark.soak
@pytest.mark.spawn
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs a processor for each worker")
def test_two_unequal_workers_are_nearly_as_fast_as_both_together(start):
    with processor_share(SHARE) as processes:
        slow = start(1, 1000)
        slow_down(slow, 0, processes)
        slow.wait_for("step 3 pid")
        # At the same time, as processors of a host share caches and memory.
        fast = start(1, STEPS)
        assert fast.end()[0] == 0, fast.text
        slow.close()
        both = start(2, STEPS)
        slow_down(both, 1, processes)
        assert both.end()[0] == 0, both.text
    assert "replicas are placed by speed" in both.text
    seconds = [step_seconds(fast, 8), step_seconds(slow, 3), step_seconds(both, SETTLED)]
    ideal = 1 / (1 / seconds[0] + 1 / seconds[1])
    milliseconds = [f"{1e3 * each:.1f} ms" for each in seconds]
    print(f"a step: fast {milliseconds[0]}, slow {milliseconds[1]}, both {milliseconds[2]}: "
          f"{ideal / seconds[2]:.2f} of the ideal")  # fmt: skip
    assert ideal / seconds[2] >= 0.8

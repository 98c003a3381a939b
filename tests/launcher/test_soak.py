"""Jobs ended in every way, again and again: nothing is left, exit codes and lines are as promised.

By hand: `pytest -m soak tests/launcher/test_soak.py`; SOAK_RUNS says how many jobs (50), SOAK_SEED
where to begin (0). Each job's seed is its number, so that one that failed can be run again alone.
"""

import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.soak, pytest.mark.spawn, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
WORKERS = 4
GONE_SECONDS = 2.0
DEADLINE = 60.0
MARK = "DISTFLOW_SOAK"
WAYS = (
    "well", "error", "control-c", "sigterm", "kill launcher", "kill worker", "kill mid-start",
    "stubborn grandchild", "stopped worker",
)  # fmt: skip
EXPECTED = {
    "well": 0, "error": 3, "control-c": 130, "sigterm": 143, "kill launcher": -9,
    "kill worker": 137, "kill mid-start": -9, "stubborn grandchild": 143, "stopped worker": 143,
}  # fmt: skip

# Lines of two streams, cut anywhere; a port that listens; shared memory; a grandchild that stays.
LINES = 300
PROGRAM = (
    f"LINES = {LINES}"
    + """
import os, random, signal, socket, subprocess, sys, time
way, rank = sys.argv[1], int(os.environ["DISTFLOW_RANK"])
chance = random.Random(int(sys.argv[2]) * 100 + rank)
signal.signal(signal.SIGINT, signal.SIG_DFL)
server = socket.create_server(("127.0.0.1", 0))
segment = open(f"/dev/shm/soak-{os.getpid()}", "wb")
os.unlink(segment.name)
if way == "stubborn grandchild":
    code = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; "
    code += "print('deaf', flush=True); time.sleep(100)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                             start_new_session=True)
    child.stdout.readline()
print(f"ready {os.getpid()} {server.getsockname()[1]}", flush=True)
left = {fd: "".join(f"<{rank} {fd} {number} " + "y" * chance.randrange(200) + ">\\n"
                    for number in range(LINES)) for fd in (1, 2)}
while left:
    fd, size = chance.choice(sorted(left)), chance.randrange(1, 2000)
    os.write(fd, left[fd][:size].encode())
    left[fd] = left[fd][size:]
    left = {fd: text for fd, text in left.items() if text}
if way == "well":
    sys.exit(0)
if way == "error" and rank == 2:
    sys.exit(3)
time.sleep(100)
"""
)


def everything_marked(mark):
    """Returns the processes that carry the mark of a run in their environment."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def listening():
    """Returns the TCP ports on which somebody listens."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A"}


def of_launcher(process):
    """Returns what a launcher has left in shared memory."""
    return list(Path("/dev/shm").glob(f"distflow-{process}-*"))


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "soak.py"
    path.write_text(PROGRAM)
    return path


def one_run(script, seed):
    """Runs a job, ends it in the way of its seed; returns what was not as promised."""
    chance = random.Random(seed)
    way = WAYS[seed % len(WAYS)]
    backend = chance.choice(("grpc", "shm", "auto"))
    mark = f"{os.getpid()}-{seed}"
    command = [sys.executable, "-m", "launcher", "run", "-n", str(WORKERS), "--backend", backend,
               "--grace", "1", "--linger", "0.1", str(script), way, str(seed)]  # fmt: skip
    terminal, inner = pty.openpty()
    become = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    become += "os.execv(sys.executable, sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", become, *command], cwd=ROOT, stdin=inner, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, MARK: mark, "NO_COLOR": "1"},
    ) as job:  # fmt: skip
        os.close(inner)
        text, ready = b"", []
        over = time.monotonic() + DEADLINE
        if way == "kill mid-start":
            time.sleep(chance.uniform(0.02, 0.3))  # anywhere in it: that is the point
        while way != "kill mid-start" and len(ready) < WORKERS and time.monotonic() < over:
            piece = os.read(job.stdout.fileno(), 65536)
            text += piece
            ready = re.findall(rb"ready (\d+) (\d+)\n", text)
            if not piece:
                break
        workers = [int(process) for process, _ in ready]
        end(way, chance, job, terminal, workers)
        rest, _ = job.communicate(timeout=DEADLINE)
        ended = time.monotonic()
        os.close(terminal)
    ports = {int(port) for _, port in ready}
    problems = [] if job.returncode == EXPECTED[way] else [f"exit code {job.returncode}"]
    problems += broken_lines((text + rest).decode(), way)
    left = everything_marked(mark)
    while (left or of_launcher(job.pid)) and time.monotonic() < ended + GONE_SECONDS:
        time.sleep(0.02)
        left = everything_marked(mark)
    for process in left:
        os.kill(process, signal.SIGKILL)
    problems += [f"process {process} is left" for process in left]
    problems += [f"{path} is left" for path in of_launcher(job.pid)]
    problems += [f"port {port} is open" for port in ports & listening()]
    return [f"seed {seed} ({way}, {backend}): {problem}" for problem in problems]


def end(way, chance, job, terminal, workers):
    time.sleep(chance.uniform(0.0, 0.1))
    if way == "control-c":
        os.write(terminal, b"\x03")
    elif way in ("sigterm", "stubborn grandchild"):
        job.send_signal(signal.SIGTERM)
    elif way in ("kill launcher", "kill mid-start"):
        job.kill()
    elif way == "kill worker":
        os.kill(chance.choice(workers), signal.SIGKILL)
    elif way == "stopped worker":
        os.kill(chance.choice(workers), signal.SIGSTOP)
        job.send_signal(signal.SIGTERM)


def broken_lines(text, way):
    """Returns what is no whole line of a worker, nor one of the launcher's own, and what lacks."""
    lines = text.split("\n")
    if way in ("kill launcher", "kill mid-start"):
        lines = lines[:-1]  # it may have been killed in the midst of its last line
    problems, seen, cut = [], {}, {}
    for line in filter(None, lines):
        match = re.fullmatch(r"\[rank (\d)\] <(\d) ([12]) (\d+) y*>", line)
        if match is not None and match[1] == match[2]:
            seen.setdefault((match[1], match[3]), []).append(int(match[4]))
        elif way != "well" and re.fullmatch(r"\[rank \d\] <[\d y]*", line):
            cut[line[6]] = cut.get(line[6], 0) + 1  # its last one: it was killed meanwhile
        elif not re.fullmatch(r"\[rank \d\] ready \d+ \d+|distflow run: .*|  .*", line):
            problems.append(f"a broken line: {line[:120]!r}")
    for (rank, fd), numbers in sorted(seen.items()):
        if numbers != list(range(len(numbers))):
            problems.append(f"lines of rank {rank}'s output {fd} are not in order")
    problems += [f"rank {rank} has {n} cut lines" for rank, n in sorted(cut.items()) if n > 2]
    if way == "well" and {k: len(v) for k, v in seen.items()} != {
        (str(rank), fd): LINES for rank in range(WORKERS) for fd in "12"
    }:
        problems.append("lines are missing")
    return problems


def test_jobs_ended_in_every_way_leave_nothing(script):
    first = int(os.environ.get("SOAK_SEED", "0"))
    problems = []
    for seed in range(first, first + int(os.environ.get("SOAK_RUNS", "50"))):
        problems += one_run(script, seed)
    assert problems == []


FLOOD = """
import os, sys, time
rank = int(os.environ["DISTFLOW_RANK"])
if rank == 0:
    line = b"x" * 1023 + b"\\n"
    for _ in range(int(sys.argv[1]) >> 20):
        os.write(1, line * 1024)
else:
    for beat in range(200):
        print("beat", beat, time.monotonic(), flush=True)
        time.sleep(0.02)
"""


def test_a_worker_that_prints_a_gigabyte_does_not_stall_the_others(tmp_path):
    script = tmp_path / "flood.py"
    script.write_text(FLOOD)
    command = [sys.executable, "-m", "launcher", "run", "-n", "4", script, str(1 << 30)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as job:
        flood, late, beats = 0, [], {}
        for line in job.stdout:
            if line.startswith(b"[rank 0] x"):
                assert len(line) == 9 + 1024
                flood += 1
                continue
            rank, _, beat, said = line.split()[1:]
            late.append(time.monotonic() - float(said))
            beats.setdefault(rank, []).append(int(beat))
        assert job.wait(DEADLINE) == 0
    assert flood == 1 << 20
    assert beats == {rank: list(range(200)) for rank in (b"1]", b"2]", b"3]")}
    print(f"lines of the others were shown after {sorted(late)[len(late) // 2]:.3f} s (median), "
          f"{max(late):.3f} s at most")  # fmt: skip
    assert max(late) < 10.0

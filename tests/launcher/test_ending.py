import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.spawn

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_handed_on_and_workers_may_end_well(run, backend, all_gone, number):
    job = run(["-n", "2", "--backend", backend], "polite")
    workers = job.wait_for("ready", 2)
    job.process.send_signal(number)
    assert job.end() == 128 + number
    assert sorted(line for line in job.out if "leaving" in line) == [
        f"[rank {rank}] leaving on {int(number)}" for rank in (0, 1)
    ]
    assert all_gone(workers, 0.5)
    assert "failed first" not in job.err


def test_a_worker_that_ignores_the_signal_is_killed_after_the_grace(run, backend, all_gone):
    job = run(["-n", "2", "--backend", backend, "--grace", "0.5"], "stubborn")
    workers = job.wait_for("ready", 2)
    start = time.monotonic()
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143
    assert 0.5 <= time.monotonic() - start < 10
    assert all_gone(workers, 0.5)


def test_a_second_signal_kills_at_once(run, backend, all_gone):
    job = run(["-n", "2", "--backend", backend, "--grace", "100"], "stubborn")
    workers = job.wait_for("ready", 2)
    job.process.send_signal(signal.SIGINT)
    job.wait_for("SIGINT handed on", 1)
    job.process.send_signal(signal.SIGINT)
    assert job.end() == 130
    assert "second signal: killing all workers" in job.err
    assert all_gone(workers, 0.5)


def test_mpirun_says_nothing_of_a_job_that_was_interrupted(run, mpi, all_gone):
    job = run(["-n", "2", "--backend", "mpi"], "hang")
    workers = job.wait_for("ready", 2)
    job.process.send_signal(signal.SIGINT)
    assert job.end() == 130
    assert "[mpirun]" not in job.err
    assert all_gone(workers, 0.5)


@pytest.mark.parametrize("mode", ["hang", "stubborn", "grandchild"])
def test_nothing_is_left_two_seconds_after_kill_9_of_the_launcher(run, backend, all_gone, mode):
    job = run(["-n", "2", "--backend", backend], mode)
    processes = job.wait_for("ready", 4 if mode == "grandchild" else 2)
    job.process.kill()
    job.process.wait(10)
    assert all_gone(processes, 2.0)


def test_kill_9_of_the_launcher_leaves_no_files(run, mpi, all_gone):
    job = run(["-n", "2", "--backend", "mpi"], "hang")
    workers = job.wait_for("ready", 2)
    pipe = os.readlink(f"/proc/{workers[0]}/fd/1")
    folder = Path(pipe).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    job.process.kill()
    assert all_gone(workers)
    over = time.monotonic() + 10
    while folder.exists() and time.monotonic() < over:
        time.sleep(0.01)
    assert not folder.exists()


def test_grandchildren_end_with_a_signalled_job(run, backend, all_gone):
    job = run(["-n", "2", "--backend", backend, "--grace", "5"], "grandchild")
    processes = job.wait_for("ready", 4)
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143
    assert all_gone(processes, 0.5)


def test_the_others_may_fail_by_themselves_before_they_are_stopped(run, all_gone):
    job = run(["-n", "2", "--backend", "grpc", "--linger", "0.2", "--grace", "20"], "fail", "exit")
    assert job.end() == 3
    assert "After that: rank 0 stopped by the launcher." in job.err


def test_a_reader_that_stops_does_not_keep_the_launcher_from_ending(program, all_gone):
    command = [sys.executable, "-m", "launcher", "run", "-n", "2", "--backend", "grpc"]
    with subprocess.Popen(
        [*command, program, "endless"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as launcher:
        try:
            start = launcher.stdout.read(10_000_000).decode()
            workers = [
                line.rsplit(maxsplit=1)[-1] for line in start.splitlines() if "ready" in line
            ]
            assert len(workers) == 2
            launcher.send_signal(signal.SIGTERM)
            assert launcher.wait(20) == 143
            assert all_gone(workers, 0.5)
        finally:
            launcher.kill()


@pytest.fixture
def on_terminal(program):
    """Runs a failing job on a terminal of 80 columns; returns what it shows."""

    def run(environment):
        primary, secondary = pty.openpty()
        fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = [sys.executable, "-m", "launcher", "run", "-n", "2", "--backend", "grpc"]
        with subprocess.Popen(
            [*command, "--linger", "0.1", program, "fail", "SIGSEGV"],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=secondary, stderr=secondary,
            env={**os.environ, "TERM": "xterm", **environment},
        ) as launcher:  # fmt: skip
            os.close(secondary)
            text = b""
            try:
                while piece := os.read(primary, 65536):
                    text += piece
            except OSError:
                pass  # the end of a terminal
            finally:
                launcher.kill()
                os.close(primary)
        assert launcher.returncode == 139
        return text.decode().replace("\r\n", "\n")

    return run


def test_the_screen_of_a_crash_fits_80_columns_and_tells_where_it_was(on_terminal, program):
    text = on_terminal({"NO_COLOR": "1"})
    assert "\x1b[3" not in text
    report = text.partition("distflow run: rank 1 failed first")[2].splitlines()
    assert max(len(line) for line in report if str(program) not in line) < 80
    assert report[0].endswith("killed by signal") or report[0].endswith("11 (SIGSEGV)")
    assert "    about to fail" in report
    assert "    Fatal Python error: Segmentation fault" in report
    assert any(line.startswith(f'      File "{program}"') for line in report)
    assert report[-1] == "  After that: rank 0 stopped by the launcher."


def test_tags_have_colours_on_a_terminal_only(on_terminal, run):
    assert "\x1b[33m[rank 1] \x1b[0mabout to fail" in on_terminal({"NO_COLOR": ""})
    job = run(["-n", "2", "--backend", "grpc", "--linger", "0.1"], "fail", "SIGSEGV")
    assert job.end() == 139
    assert "\x1b" not in job.err
    assert "[rank 1] about to fail" in job.err


def test_control_c_on_a_terminal_ends_the_job_once(program, all_gone):
    primary, secondary = pty.openpty()
    become = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    become += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [
        sys.executable,
        "-c",
        become,
        "-m",
        "launcher",
        "run",
        "-n",
        "2",
        "--backend",
        "grpc",
    ]
    with subprocess.Popen(
        [*command, program, "polite"],
        cwd=ROOT,
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        start_new_session=True,
        env={**os.environ, "NO_COLOR": "1"},
    ) as launcher:
        try:
            os.close(secondary)
            text = b""
            while text.count(b"ready") < 2 or not text.endswith(b"\n"):
                text += os.read(primary, 4096)
            workers = [line.split()[-1] for line in text.decode().splitlines() if "ready" in line]
            os.write(primary, b"\x03")
            assert launcher.wait(20) == 130
            text = os.read(primary, 1_000_000).decode()
            assert text.count("leaving on 2") == 2
            assert "SIGINT handed on" in text
            assert all_gone(workers, 0.5)
        finally:
            launcher.kill()
            os.close(primary)

import contextlib
import os
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.spawn

ROOT = Path(__file__).parents[2]
QUICK = ["--linger", "0.2", "--grace", "5"]


def test_output_has_the_rank_before_each_line(run, backend):
    job = run(["-n", "3", "--backend", backend], "hello")
    assert job.end() == 0
    assert sorted(job.out) == [f"[rank {r}] hello from {r} of 3" for r in range(3)]
    assert job.err == ""


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("exception", 1, "exit code 1"),
        ("import", 1, "exit code 1"),
        ("exit", 3, "exit code 3"),
        ("_exit", 4, "exit code 4"),
        ("SIGSEGV", 139, "killed by signal 11 (SIGSEGV)"),
        ("SIGKILL", 137, "killed by signal 9 (SIGKILL)"),
        ("SIGTERM", 143, "killed by signal 15 (SIGTERM)"),
    ],
)
def test_exit_code_is_that_of_the_first_failure(run, backend, how, code, words):
    job = run(["-n", "2", "--backend", backend, *QUICK], "fail", how)
    assert job.end() == code
    assert "distflow run: rank 1 failed first, after" in job.err
    assert words in job.err
    assert "    about to fail" in job.err


def test_the_rank_that_calls_mpi_abort_is_the_first_failure(run, mpi):
    job = run(["-n", "3", "--backend", "mpi"], "abort")
    assert job.end() == 7
    assert "distflow run: rank 1 failed first" in job.err


def test_report_shows_the_traceback_of_the_first_failure(run, backend):
    job = run(["-n", "2", "--backend", backend, *QUICK], "fail", "exception")
    job.end()
    report = job.err.partition("distflow run:")[2]
    assert "    ValueError: boom" in report
    assert "After that: rank 0 " in report
    assert "[mpirun]" not in job.err


def test_the_error_a_worker_tells_of_is_shown_with_its_step(run):
    job = run(["-n", "2", *QUICK, "--env", f"PYTHONPATH={ROOT}"], "crash")
    assert job.end() == 1
    report = job.err.partition("distflow run: rank 1 failed first, after")[2]
    assert (
        "s, 7 steps done: ValueError, exit code 1\n  The error of rank 1:\n    Traceback" in report
    )
    assert "characters left out" in report


@pytest.fixture
def small_cgroup():
    """A memory cgroup of 300 MiB."""
    folder = Path(f"/sys/fs/cgroup/memory/distflow-test-{os.getpid()}")
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(300 << 20))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made: {error}")
    yield folder
    folder.rmdir()


def test_a_worker_that_its_cgroup_kills_ran_out_of_memory(run, small_cgroup):
    join = lambda: (small_cgroup / "cgroup.procs").write_text(str(os.getpid()))
    job = run(["-n", "2", *QUICK], "devour", preexec_fn=join)
    assert job.end() == 137
    assert "killed by signal 9 (SIGKILL)\n  Out of memory: the kernel killed it (it had" in job.err
    assert "its cgroup allows 300 MiB)." in job.err


@pytest.mark.parametrize(
    ("tag", "expected"), [("", "hello from 0 of 1"), ("{rank}|", "0|hello from 0 of 1")]
)
def test_the_tag_stands_before_each_line(run, tag, expected):
    job = run(["-n", "1", "--tag", tag], "hello")
    assert job.end() == 0
    assert job.out == [expected]


def test_workers_meet_at_the_launchers_server(run):
    job = run(["-n", "3", "--backend", "grpc", "--env", f"PYTHONPATH={ROOT}"], "meet")
    assert job.end() == 0
    addresses = [f"127.0.0.1:{5000 + rank}" for rank in range(3)]
    assert sorted(job.out) == [f"[rank {rank}] {addresses}" for rank in range(3)]


def test_workers_that_wait_for_a_dead_one_are_told_so(run):
    options = ["-n", "3", "--backend", "grpc", "--linger", "30", "--env", f"PYTHONPATH={ROOT}"]
    job = run(options, "meet", "3")
    assert job.end() == 3
    for rank in (0, 2):
        assert re.search(
            rf"\[rank {rank}\] .*WorkerLostError: rendezvous: rank 1 was lost \(exit code 3\)",
            job.err,
        )
    assert "After that: ranks 0, 2 WorkerLostError, exit code 1." in job.err


def test_contract_is_in_the_environment(run, backend):
    names = ["DISTFLOW_BACKEND", "DISTFLOW_REPLICAS", "DISTFLOW_LOCAL_RANK", "MY_OWN",
             "DISTFLOW_LOCAL_WORLD_SIZE", "DISTFLOW_LOCAL_CORES"]  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    options = ["-n", "2", "--backend", backend, "--replicas", "8", "--env", "MY_OWN=a b"]
    job = run(options, "environment", *names)
    assert job.end() == 0
    expected = []
    for rank in (0, 1):
        values = [backend, "8", rank, "a b", 2, cores]
        expected += [f"[rank {rank}] {n}={v}" for n, v in zip(names, values, strict=True)]
    assert sorted(job.out) == sorted(expected)


def test_workers_get_one_blas_thread_unless_told(run, monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    job = run(
        ["-n", "1", "--env", "MKL_NUM_THREADS=3"],
        "environment",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
    )
    assert job.end() == 0
    assert [line.rpartition("=")[2] for line in job.out] == ["1", "1", "3"]


def test_log_dir_keeps_each_stream_as_it_was(run, backend, tmp_path):
    logs = tmp_path / "logs"
    options = ["-n", "2", "--backend", backend, "--log-dir", logs]
    job = run(options, "bytes", r"b'1%\r2%\n\xff no newline'")
    assert job.end() == 0
    assert sorted(p.name for p in logs.iterdir()) == [
        "rank-0.err",
        "rank-0.out",
        "rank-1.err",
        "rank-1.out",
    ]
    for rank in (0, 1):
        assert (logs / f"rank-{rank}.out").read_bytes() == b"1%\r2%\n\xff no newline"
        assert (logs / f"rank-{rank}.err").read_bytes() == b""
    assert sorted(job.out) == [f"[rank {r}] {t}" for r in (0, 1) for t in ("2%", "� no newline")]


def test_a_flood_of_output_neither_stalls_nor_loses_a_byte(run, backend):
    job = run(["-n", "2", "--backend", backend], "flood", str(25_000_000))
    assert job.end() == 0
    for rank in (0, 1):
        assert job.out.count(f"[rank {rank}] " + "x" * 99) == 250_100
    assert len(job.out) == 2 * 250_100


def test_what_workers_leave_behind_is_ended(run, backend, all_gone):
    job = run(["-n", "2", "--backend", backend], "abandon")
    processes = job.wait_for("ready", 4)
    assert job.end() == 0
    assert all_gone(processes, 0.5)


def test_module_form_runs_a_module(run):
    job = run(["-n", "1", "-m", "json.tool", "--help"], "ignored")
    assert job.end() == 0
    assert job.out[0].startswith("[rank 0] usage:")


def test_token_is_in_no_argument_list_and_no_output(run, backend):
    job = run(["-n", "2", "-v", "--backend", backend, "--grace", "5"], "hang")
    worker = job.wait_for("ready", 2)[0]
    environment = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    (token,) = [entry[15:] for entry in environment if entry.startswith(b"DISTFLOW_TOKEN=")]
    assert len(token) == 32
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            assert token not in (process / "cmdline").read_bytes()
    job.process.terminate()
    job.end()
    assert token.decode() not in job.err


def test_an_elastic_job_whose_workers_have_all_left_has_not_finished(start_program, tmp_path):
    script = tmp_path / "leave.py"
    script.write_text("import sys; sys.exit(143)")
    job = start_program(["-n", "2", "--elastic", "1:2", script])
    assert job.end() == 75, job.err

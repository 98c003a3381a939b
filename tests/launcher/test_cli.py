import importlib.metadata
import re

import pytest

from launcher import cli, doctor, env


def test_dry_run_prints_the_plan(capsys, monkeypatch, tmp_path):
    script = tmp_path / "train.py"
    script.write_text("")
    for name in (*env.THREAD_DEFAULTS, *env.OUTPUT_DEFAULTS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr("sys.executable", "/py")
    options = ["-n", "2", "--backend", "grpc", "--replicas", "4", "--dry-run"]
    assert cli.main(["run", *options, str(script), "-n", "7", "a b"]) == 0
    out = re.sub(r"DISTFLOW_JOB=\w+", "DISTFLOW_JOB=<id>", capsys.readouterr().out)
    assert out.replace(str(tmp_path), "DIR") == (
        "workers  2 on this host\n"
        "backend  grpc\n"
        "command  /py DIR/train.py -n 7 'a b'\n"
        "started  each in a session of its own, meeting at 127.0.0.1:<free port>\n"
        "env      OMP_NUM_THREADS=1\n"
        "env      OPENBLAS_NUM_THREADS=1\n"
        "env      MKL_NUM_THREADS=1\n"
        "env      PYTHONUNBUFFERED=1\n"
        "env      PYTHONFAULTHANDLER=1\n"
        "env      DISTFLOW_JOB=<id>\n"
        "env      DISTFLOW_BACKEND=grpc\n"
        "env      DISTFLOW_WORLD_SIZE=2\n"
        "env      DISTFLOW_LOCAL_WORLD_SIZE=2\n"
        "env      DISTFLOW_LOCAL_CORES=6\n"
        "env      DISTFLOW_TOKEN=<secret>\n"
        "env      DISTFLOW_REPLICAS=4\n"
        "per rank DISTFLOW_RANK, DISTFLOW_LOCAL_RANK\n"
        "at end   5 s after a failure SIGTERM, 25 s later SIGKILL\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["run"], "-n"),
        (["run", "-n", "0", "x.py"], "an integer from 1; received '0'"),
        (["run", "-n", "2"], "expected a Python file"),
        (["run", "-n", "2", "no_such.py"], "no_such.py"),
        (["run", "-n", "2", "--backend", "smoke", "x.py"], "smoke"),
        (["run", "-n", "2", "--env", "A", "x.py"], "NAME that is set here; received 'A'"),
        (["run", "-n", "2", "--tag", "{pid}", __file__], "{rank}, {host} and {time}"),
        (["run", "-n", "2", "--metrics-port", "70000", "x.py"], "a port from 1 to 65535"),
        (["run", "-n", "2", "--timeline", "/no/such/f.json", __file__], "a folder to write to"),
        (["run", "-n", "2", "--grace", "-1", "x.py"], "number of seconds; received '-1'"),
        (["run", "-n", "2", "--log-dir", __file__, __file__], "--log-dir must be a folder"),
    ],
)
def test_wrong_command_lines_end_with_64_and_one_line(capsys, arguments, words):
    try:
        code = cli.main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == cli.USAGE_ERROR
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "error:" in error
    assert words in error


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_each_help_has_an_example_and_fits_80_columns(capsys, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"  distflow {command}" in shown.partition("example")[2]
    assert [line for line in shown.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("command", ["bench-comm", "cancel", "run", "scale", "submit"])
def test_what_starts_or_changes_something_can_be_tried_dry(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert "--dry-run" in capsys.readouterr().out


def test_version_is_shown(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"distflow {cli.version()}\n"


def test_doctor_fails_only_if_something_needed_is_missing(capsys, monkeypatch):
    good = doctor.Finding("ok", "fine")
    bad = doctor.Finding("MISSING", "numpy", "pip install numpy")
    monkeypatch.setattr(doctor, "CHECKS", (("a", lambda: [good]),))
    assert doctor.run() == 0
    monkeypatch.setattr(doctor, "CHECKS", (("a", lambda: [good]), ("b", lambda: [bad])))
    assert doctor.run() == 1
    assert capsys.readouterr().out.endswith("MISSING numpy\n        -> pip install numpy\n")


def test_doctor_says_what_an_optional_package_is_for(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    notes = [finding.text for finding in doctor.check_versions() if finding.state == "note"]
    assert any("h5py is not installed (for .keras" in note for note in notes)
    assert any('mpi4py is not installed (for jobs over MPI: pip install "distflow[mpi]")' in note
               for note in notes)  # fmt: skip


def test_no_command_shows_the_commands(capsys):
    assert cli.main([]) == cli.USAGE_ERROR
    assert "start the workers of a job" in capsys.readouterr().err


@pytest.mark.spawn
def test_doctor_finds_what_the_tests_run_with(capsys):
    assert doctor.run() == 0
    out = capsys.readouterr().out
    assert "ok      numpy " in out
    assert "a gRPC server can listen" in out
    assert re.search(r"ok      executor \w+; fingerprint [0-9a-f]{16}: equal ones", out)
    assert "ok      BLAS: " in out

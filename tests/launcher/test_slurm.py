"""`distflow submit --slurm` without a Slurm: the script, and what is refused."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import slurm
from launcher.cli import main
from launcher.slurm_queue import entries
from launcher.slurm_script import Script


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("")
    return "train.py"


def script(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["submit", "--slurm", "--dry-run", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_script_asks_for_what_was_asked(program: str, capsys: pytest.CaptureFixture[str]):
    lines = script(
        capsys, "-n", "8", "--name", "cnn", "--time", "2:00:00", "--partition", "cpu", "--nodes",
        "2", "--cpus-per-task", "3", "--sbatch=--mem-per-cpu=4G", "--setup", "module load python",
        program, "--epochs", "10",
    )  # fmt: skip
    assert lines[0] == "#!/bin/bash"
    asked = [line for line in lines if line.startswith("#SBATCH")]
    assert asked == [
        "#SBATCH --job-name=cnn",
        "#SBATCH --comment=distflow",
        "#SBATCH --ntasks=8",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --output=%x-%j.out",
        "#SBATCH --partition=cpu",
        "#SBATCH --time=2:00:00",
        "#SBATCH --nodes=2",
        "#SBATCH --mem-per-cpu=4G",
    ]
    assert "module load python" in lines
    assert "export OMP_NUM_THREADS=3" in lines
    assert "export DISTFLOW_REPLICAS=8" in lines
    assert lines[-1] == (
        "exec srun --label --kill-on-bad-exit=1 --cpus-per-task=3 "
        f"{shlex.quote(sys.executable)} train.py --epochs 10"
    )


def test_the_secret_is_made_where_the_job_runs(program: str, capsys: pytest.CaptureFixture[str]):
    lines = script(capsys, "-n", "2", program)
    index = next(i for i, line in enumerate(lines) if line.startswith("DISTFLOW_TOKEN="))
    command = "\n".join([*lines[index : index + 2], 'echo "$DISTFLOW_TOKEN"'])
    tokens = {
        subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(tokens) == 2
    assert all(len(bytes.fromhex(token.strip())) == 32 for token in tokens)


def test_words_reach_the_program_as_they_are():
    words = ["python", "train.py", "a b", "$HOME", "it's", ""]
    last = Script("j", words, 1, 1).text().splitlines()[-1]
    assert shlex.split(last)[-len(words) :] == words


def test_variables_are_quoted():
    text = Script("j", ["x"], 1, 1, variables={"A": "b c; rm"}).text()
    assert "export A='b c; rm'" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-n", "2", "absent.py"], "'absent.py', which is not there"),
        (["-n", "2"], "a Python file, or -m and a module; received neither"),
        (["-n", "2", "--elastic", "1:2", "train.py"], "--elastic needs somebody"),
        (["-n", "4", "--replicas", "2", "train.py"], "--replicas must be 4"),
    ],
)
def test_what_cannot_be_is_refused(
    program: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
):
    assert main(["submit", "--slurm", *words]) == 64
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["submit", "--slurm", "-n", "1", "train.py"], ["status", "--slurm"]],
    ids=lambda w: w[0],
)
def test_without_slurm_its_package_is_named(
    program: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(words) == 64
    assert "slurm-client" in capsys.readouterr().err


def test_a_job_keeps_its_size(capsys: pytest.CaptureFixture[str]):
    assert main(["scale", "--slurm", "12", "4"]) == 64
    assert "cannot change its number of workers" in capsys.readouterr().err


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """Makes a program of Slurm's that prints the text."""
    program = folder / name
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def fake_squeue(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    fake(folder, monkeypatch, "squeue", text)


def test_jobs_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_squeue(
        tmp_path, monkeypatch,
        "7|cnn|RUNNING|4|n1|1:00|n[1-2]|distflow\n8|bash|RUNNING|1|n1|9:00|n1|(null)",
    )  # fmt: skip
    (job,) = entries()
    assert (job.id, job.name, job.is_over, job.nodes) == ("7", "cnn", False, "n[1-2]")


def test_an_unknown_job_names_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    fake_squeue(tmp_path, monkeypatch, "7|cnn|TIMEOUT|4|TimeLimit|1:00||distflow")
    assert main(["cancel", "--slurm", "rnn"]) == 64
    assert "received rnn. Known: 7 (cnn)." in capsys.readouterr().err
    assert main(["cancel", "--slurm", "cnn"]) == 1
    assert "has ended already: TIMEOUT" in capsys.readouterr().out


@pytest.mark.parametrize("output", [None, "0: boom"])
def test_the_status_of_a_job_that_failed_has_its_output_if_there_is_any(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: str | None,
):
    path = tmp_path / "cnn-7.out"
    if output is not None:
        path.write_text(f"{output}\n")
    fake_squeue(tmp_path, monkeypatch, "7|cnn|CANCELLED|4|None|0:00||distflow")
    fake(tmp_path, monkeypatch, "scontrol", f"JobId=7\n   ExitCode=0:15\n   StdOut={path}")
    assert main(["status", "--slurm", "7"]) == 1
    *_, last = said = capsys.readouterr().out.splitlines()
    if output is None:
        assert last == "exit code 0:15 (code:signal); it has written no output"
    else:
        assert said[-2:] == [
            "exit code 0:15 (code:signal); the end of its output:",
            "[rank 0] boom",
        ]


def test_the_end_of_a_job_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    fake_squeue(tmp_path, monkeypatch, "7|cnn|COMPLETING|4|None|1:00|n1|distflow")
    fake(tmp_path, monkeypatch, "scancel", "")
    monkeypatch.setattr(slurm, "CANCEL_SECONDS", 0.1)
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.01)
    assert main(["cancel", "--slurm", "7"]) == 1
    said = capsys.readouterr()
    assert said.err == "job 7 (cnn), COMPLETING, has not ended after 0.1 s\n"
    assert said.out == ""

import shutil
import subprocess

import pytest

from launcher import cli, completion

pytestmark = pytest.mark.spawn


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """Returns the file of a shell's script; skips where there is no such shell."""

    def write(shell):
        if shutil.which(shell) is None:
            pytest.skip(f"no {shell}")
        path = tmp_path_factory.mktemp("completion") / f"_distflow.{shell}"
        path.write_text(completion.SCRIPTS[shell]())
        return path

    return write


def output_of(command):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert done.stderr == ""
    return done.stdout.split()


def completed_by_bash(script, *words):
    listed = " ".join(f"'{word}'" for word in words)
    code = f"source {script('bash')}; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; "
    code += "_distflow; printf '%s\\n' \"${COMPREPLY[@]}\""
    return output_of(["bash", "--norc", "-c", code])


def test_bash_completes_commands_options_and_values(script, monkeypatch, tmp_path):
    (tmp_path / "train.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert completed_by_bash(script, "distflow", "do") == ["doctor"]
    assert completed_by_bash(script, "distflow", "run", "--back") == ["--backend"]
    assert completed_by_bash(script, "distflow", "run", "--backend", "") == [
        "auto", "mpi", "grpc", "shm",
    ]  # fmt: skip
    assert completed_by_bash(script, "distflow", "run", "tr") == ["train.py"]


def test_zsh_takes_the_script(script):
    assert output_of(["zsh", "-f", "-n", script("zsh")]) == []


def test_fish_completes_commands_and_values(script):
    def completed(line):
        code = f"source {script('fish')}; complete -C {line!r}"
        return output_of(["fish", "--no-config", "-c", code])

    assert "doctor" in completed("distflow do")
    assert {"auto", "mpi", "grpc", "shm"} <= set(completed("distflow run --backend "))


@pytest.mark.parametrize("shell", sorted(completion.SCRIPTS))
def test_every_command_is_in_every_script(shell):
    text = completion.SCRIPTS[shell]()
    for command in cli.COMMANDS:
        assert command in text

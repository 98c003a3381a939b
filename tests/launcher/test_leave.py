"""A host that is about to go asks its MPI ranks to end, and waits for them."""

import os
import subprocess
import sys

import pytest

from launcher import leave

RANK = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}
# Says when it listens, then which signals came, and ends 0.3 s after SIGUSR1; its child has the
# variables of a rank as well, and must not be asked: it would be killed.
PROGRAM = """
import os, signal, subprocess, sys, threading
asked = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: asked.set())
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"],
                         stdin=subprocess.PIPE)
print(os.getpid(), child.pid, flush=True)
while not asked.wait(0.02):
    pass
child.stdin.close()
print("child", child.wait(20), flush=True)
"""


@pytest.fixture
def rank():
    """A process as mpirun's daemon starts it."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PROGRAM], stdout=subprocess.PIPE, text=True,
        env={**os.environ, **RANK},
    ) as process:  # fmt: skip
        process.numbers = [int(word) for word in process.stdout.readline().split()]
        yield process
        process.kill()


@pytest.mark.spawn
def test_ranks_are_found_without_what_they_have_started(rank):
    parent, child = rank.numbers
    found = leave.ranks()
    assert parent in found
    assert child not in found


@pytest.mark.spawn
def test_ranks_are_asked_and_waited_for(rank, monkeypatch):
    # Other tests of this machine may run ranks of their own: these are not asked.
    everybody = leave.ranks
    monkeypatch.setattr(leave, "ranks", lambda: [p for p in everybody() if p == rank.numbers[0]])
    assert leave.main(["20"]) == 0
    assert rank.stdout.read() == "child 0\n"
    assert rank.wait(20) == 0


def test_who_does_not_end_is_not_waited_for_longer(monkeypatch):
    monkeypatch.setattr(leave, "ranks", lambda: [2**22 + 1])  # beyond all processes
    assert leave.main(["0"]) == 0


@pytest.mark.parametrize("words", [[], ["x"], ["1", "2"], ["--end-sshd"]])
def test_a_wrong_command_line_is_64(words, capsys):
    assert leave.main(words) == 64
    assert "usage" in capsys.readouterr().err

"""Hosts that a program prints or a file lists, asked again and again."""

import select

import pytest

from launcher import arguments, cli, discovery, plan
from launcher.arguments import UsageError
from launcher.discovery import Listed, Poller, Printed, first_slots, slots_of
from launcher.hosts import Host
from launcher.mpirun import Mpirun


def script(tmp_path, text, mode=0o755):
    path = tmp_path / "discover_hosts.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o755, 0o644])
def test_hosts_are_what_the_program_of_the_mpi_operator_prints(tmp_path, mode):
    path = script(tmp_path, "echo a-0.a.ns.svc\necho a-1.a.ns.svc:2", mode)
    assert Printed(path).look() == [Host("a-0.a.ns.svc"), Host("a-1.a.ns.svc", 2)]


def test_a_program_may_print_no_host(tmp_path):
    assert Printed(script(tmp_path, ":")).look() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo oops >&2; exit 3", "received 3 and 'oops'"),
        ("echo a b c", ":1 must be `name`"),
        ("echo -oProxyCommand=x", "expected [user@]host"),
        ("echo a; echo a", "a stands there twice"),
    ],
)
def test_a_program_that_does_something_else_is_refused(tmp_path, text, words):
    with pytest.raises(UsageError) as caught:
        Printed(script(tmp_path, text)).look()
    assert words in str(caught.value)


def test_a_program_that_is_not_there_or_does_not_end_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="there is none"):
        Printed(tmp_path / "none").look()
    monkeypatch.setattr(discovery, "ANSWER_SECONDS", 0.2)
    with pytest.raises(UsageError, match=r"hosts within 0\.2 s"):
        Printed(script(tmp_path, "exec sleep 60")).look()


def test_the_first_workers_take_the_first_slots():
    found = [Host("a", 2), Host("b", 2), Host("c", 2)]
    assert first_slots(found, 3) == [Host("a", 2), Host("b", 1)]
    assert first_slots(found, 9) == found
    assert slots_of(found) == 6


def test_a_poller_tells_of_changes_and_keeps_what_it_knew(tmp_path, monkeypatch):
    monkeypatch.setattr(discovery, "POLL_SECONDS", 0.02)
    path, said = tmp_path / "hosts", []
    path.write_text("a\n")
    poller = Poller(Listed(path), said.append)
    try:

        def until(wanted):
            while poller.take()[0] != wanted:
                assert select.select([poller.fd], [], [], 20)[0], poller.take()

        until([Host("a")])
        path.write_text("a\nb:2\n")
        until([Host("a"), Host("b", 2)])
        since = poller.take()[1]
        path.write_text("a b c\n")
        while not said:
            assert select.select([poller.fd], [], [], 20)[0]
            poller.take()
        assert poller.take() == ([Host("a"), Host("b", 2)], since)
        assert "must be `name`" in said[0]
    finally:
        poller.close()


def test_a_poller_without_an_answer_keeps_the_hosts_it_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr(discovery, "POLL_SECONDS", 0.02)
    said = []
    poller = Poller(Listed(tmp_path / "none"), said.append, [Host("a")])
    try:
        assert select.select([poller.fd], [], [], 20)[0]
        assert poller.take()[0] == [Host("a")]
        assert len(said) == 1
    finally:
        poller.close()


def test_a_variable_without_a_value_is_handed_on(monkeypatch):
    monkeypatch.setenv("SOMETHING", "a=b")
    assert arguments.assignment("SOMETHING") == ("SOMETHING", "a=b")
    assert arguments.assignment("SOMETHING=") == ("SOMETHING", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--backend", "grpc"], "needs --backend mpi"),
        (["--backend", "mpi", "--hosts", "a"], "no other hosts"),
    ],
)
def test_hosts_are_discovered_for_mpi_alone(tmp_path, capsys, words, expected):
    path = script(tmp_path, "echo a")
    program = tmp_path / "train.py"
    program.touch()
    command = ["run", "--host-discovery-script", str(path), *words, str(program)]
    assert cli.main(command) == 64
    assert expected in capsys.readouterr().err


def test_no_hosts_at_the_start_need_the_number_of_workers(tmp_path, capsys):
    path = script(tmp_path, "true")
    program = tmp_path / "train.py"
    program.touch()
    command = ["run", "--host-discovery-script", str(path), "--backend", "mpi", str(program)]
    assert cli.main(command) == 64
    assert "give -n, or --elastic" in capsys.readouterr().err


def test_the_plan_tells_where_hosts_come_from(tmp_path, capsys, monkeypatch):
    known = Mpirun("/x/mpirun", "Open MPI", "5.0.11", ())
    monkeypatch.setattr(plan, "find_mpirun", lambda: known)
    monkeypatch.setattr(plan.importlib.util, "find_spec", lambda name: name)
    path = script(tmp_path, "echo a")
    program = tmp_path / "train.py"
    program.touch()
    command = ["run", "--host-discovery-script", str(path), "--backend", "mpi"]
    command += ["--elastic", "1:4", "--replicas", "4", "--dry-run", str(program)]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert f"hosts    those that {path} prints" in said
    assert "started  by one mpirun, again when the hosts change or one is lost" in said
    assert "env      DISTFLOW_LEAVE=1" in said
    monkeypatch.setattr(plan, "find_mpirun", lambda: Mpirun("/x", "MPICH", "4", ()))
    assert cli.main(command) == 64
    assert "Open MPI's mpirun; received MPICH" in capsys.readouterr().err

import json
import socket
import tempfile
from pathlib import Path

import pytest

from launcher.pulse import Pulse
from launcher.rank import Rank
from launcher.reports import NAME, Reports, parsed, remove_left_behind


@pytest.fixture
def reports():
    found = Reports()
    yield found
    found.close()


def send(reports, data):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, reports.path)


def test_messages_come_in_order_and_noise_is_passed_over(reports):
    for data in (b'{"rank": 1, "step": 2}', b"\xff\x00", b"[]", b'{"rank": "x"}', b'{"rank": 0}'):
        send(reports, data)
    assert reports.read() == [{"rank": 1, "step": 2}, {"rank": 0}]
    assert reports.read() == []


def test_the_socket_is_this_users_alone_and_goes_with_the_job(reports):
    assert reports.folder.stat().st_mode & 0o777 == 0o700
    reports.close()
    assert not reports.folder.exists()


@pytest.fixture
def short_folder():
    """A folder whose name leaves room for that of a socket."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_folders_of_killed_launchers_go_and_those_of_others_stay(short_folder):
    folders = {
        name: short_folder / f"distflow-1-{name}" for name in ("dead", "alive", "new", "full")
    }
    for folder in folders.values():
        folder.mkdir()
    (folders["full"] / "kept").write_text("no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(folders["alive"] / NAME))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
            killed.bind(str(folders["dead"] / NAME))
        remove_left_behind(short_folder)
    assert sorted(path.name for path in short_folder.iterdir()) == sorted(
        folders[name].name for name in ("alive", "new", "full")
    )


def test_deeply_nested_noise_is_no_message():
    assert parsed(b"[" * 100_000) is None


def test_rates_are_those_of_the_last_seconds():
    pulse = Pulse({"step": 0, "exposed": 0.0}, 0.0)
    assert pulse.steps_per_second is None
    for second in range(1, 101):
        steps = second * (1 if second < 50 else 10)
        pulse.update({"step": steps, "exposed": second / 4}, float(second))
    assert pulse.steps_per_second == pytest.approx(10.0)
    assert pulse.exposed_share == pytest.approx(0.25)


def test_a_message_may_hold_anything():
    pulse = Pulse({"step": "x", "loss": None, "exposed": [], "generation": {}}, 0.0)
    pulse.update({"step": 3, "loss": 0.5}, 1.0)
    assert (pulse.step, pulse.loss, pulse.generation) == (3, 0.5, 0)


def test_an_error_is_kept_apart_from_pulses():
    rank = Rank(0)
    rank.hear({"rank": 0, "step": 5}, 1.0)
    rank.hear(json.loads('{"rank": 0, "error": "ValueError", "traceback": "t"}'), 2.0)
    assert rank.pulse.step == 5
    assert rank.error["error"] == "ValueError"

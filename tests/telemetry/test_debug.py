"""`distflow debug`: who waited for whom, from files as the flight recorder writes them."""

import json
import threading

import numpy as np
import pytest

from distflow.base import errors, flags
from distflow.comm import Communicator, InProcessHub
from launcher import debug

HEAD = {"format": "distflow flight 1", "host": "node", "job": "abc", "world_size": 3}


def write(folder, rank, *events):
    lines = [{**HEAD, "rank": rank, "process": 100 + rank}, *({"rank": rank, **e} for e in events)]
    path = folder / f"flight-{rank}-{100 + rank}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def done(what, time, **more):
    return {"what": what, "time": time, "seconds": 0.001, "step": 6, "generation": 0, **more}


def late(what, time, seconds, peer, text=""):
    return {
        "what": what, "time": time, "seconds": seconds, "step": 7, "generation": 0, "waits": peer,
        "longest": [peer, seconds], "blames": peer,
        "error": f"WorkerLateError: {what}: waited for rank {peer}{text}",
    }  # fmt: skip


def test_the_chain_of_waits_leads_to_the_rank_that_wrote_nothing(tmp_path):
    write(tmp_path, 0, done("a (call 3)", 10.0), late("b (call 4)", 11.0, 5.0, 1))
    write(tmp_path, 1, done("a (call 3)", 10.0), late("b (call 4)", 11.0, 5.5, 2))
    text = debug.report(debug.read(tmp_path))
    assert "rank 0 waited for rank 1 waited for rank 2" in text
    assert "so rank 2 is where to look: wrote nothing" in text
    assert (
        "rank 0 (node, process 100): waited 5.00 s in b (call 4), after step 7 for rank 1" in text
    )
    assert "before that it had done a (call 3)" in text
    assert text.startswith("job abc, 3 workers on node; 2 wrote their last events")


def test_the_stack_that_the_waiting_rank_has_heard_is_shown(tmp_path):
    heard = '\nThe program of rank 2 is at:\n  File "train.py", line 7 in load'
    write(tmp_path, 0, late("b (call 4)", 11.0, 5.0, 2, heard))
    lines = debug.report(debug.read(tmp_path)).splitlines()
    at = lines.index("  the program of rank 2 was at:")
    assert lines[at + 1].strip() == 'File "train.py", line 7 in load'


def test_the_stack_of_a_rank_that_was_ended_is_shown(tmp_path):
    write(tmp_path, 0, late("b (call 4)", 11.0, 5.0, 1))
    (tmp_path / "stack-1-101.txt").write_text('Current thread:\n  File "train.py", line 9\n')
    (tmp_path / "stack-2-102.txt").write_text("")
    text = debug.report(debug.read(tmp_path))
    assert "rank 1 was ended by SIGTERM while it was at:" in text
    assert "rank 2 was ended" not in text


def test_calls_that_differ_are_said_to(tmp_path):
    event = late("b (call 4)", 11.0, 0.1, 1)
    event |= {"error": "CollectiveMismatchError: b: rank 0 and rank 1 disagree.", "blames": None}
    write(tmp_path, 0, event)
    assert "the workers do different things" in debug.report(debug.read(tmp_path))


def test_events_of_all_ranks_are_in_the_order_of_time_before_the_first_error(tmp_path):
    write(tmp_path, 0, done("first", 10.0), late("fourth", 10.6, 0.4, 1))
    write(tmp_path, 1, done("second", 10.2), done("third", 10.4))
    lines = debug.report(debug.read(tmp_path)).splitlines()
    rows = [line.split() for line in lines[lines.index("") :] if " ms " in line and "rank" in line]
    assert [row[5] for row in rows] == ["first", "second", "third", "fourth"]
    assert [float(row[0]) for row in rows] == [-1.0, -0.8, -0.6, -0.4]


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    write(tmp_path, 0, late("b", 1.0, 1.0, 1))
    with (tmp_path / "flight-0-100.jsonl").open("a") as file:
        file.write('{"rank": 0, "wh')
    assert len(debug.read(tmp_path)[0].events) == 1


@pytest.mark.parametrize("folder", ["nothing", "."])
def test_a_folder_without_recorders_is_an_error_that_says_how(tmp_path, folder, capsys):
    options = type("", (), {"stacks": False, "folder": tmp_path / folder, "events": 8})
    assert debug.run(options) == 64
    assert "--log-dir" in capsys.readouterr().err


def test_recorders_of_real_workers_are_understood(tmp_path):
    hub = InProcessHub(3)

    def work(rank):
        with Communicator(hub.endpoint(rank), timeout_seconds=0.5) as communicator:
            communicator.all_reduce({rank: [np.zeros(3, np.float32)]}, name="one")
            if rank != 2:
                with pytest.raises(errors.OpError):
                    communicator.all_reduce({rank: [np.zeros(3, np.float32)]}, name="two")
            else:
                released.wait(30)

    released = threading.Event()
    with flags.override(DISTFLOW_FLIGHT_DIR=str(tmp_path)):
        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads[:2]:
            thread.join(30)
        released.set()
        threads[2].join(30)
    text = debug.report(debug.read(tmp_path))
    assert "so rank 2 is where to look" in text
    assert "all_reduce 'two'" in text

"""A job that must end as a whole is kept, and goes on where it ended, with the same bits."""

import signal

import numpy as np
import pytest

from distflow.distribute import elastic_rescue as rescue

STEPS = 8


def kept(folder, events):
    messages = [np.full(3, n, np.uint8) for n in range(events)]
    return rescue.save(folder, messages, ({"digest": "x"}, [np.arange(4.0), np.ones((), bool)]))


def test_what_is_kept_comes_back(tmp_path):
    kept(tmp_path, 2)
    kept(tmp_path, 5)
    messages, (head, arrays) = rescue.load(tmp_path)
    assert [message.tolist() for message in messages] == [[n] * 3 for n in range(5)]
    assert head == {"digest": "x"}
    assert arrays[0].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert arrays[1].shape == ()


def test_a_damaged_file_gives_the_one_before(tmp_path):
    kept(tmp_path, 2)
    path = kept(tmp_path, 5)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert len(rescue.load(tmp_path)[0]) == 2


def test_an_empty_folder_gives_nothing(tmp_path):
    assert rescue.load(tmp_path) is None


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.parametrize("kind", ["fit", "loop"])
def test_a_job_that_is_ended_goes_on_with_other_workers(elastic, golden, tmp_path, kind):
    options = ["--elastic", "1:4", "--state-dir", tmp_path]
    first = elastic(["-n", 3, *options], [kind, STEPS, 0.1])
    first.at_step(0, 5)
    first.process.send_signal(signal.SIGTERM)
    code, hashes = first.end()
    assert (code, hashes) == (143, []), first.text
    second = elastic(["-n", 2, *options], [kind, STEPS])
    code, hashes = second.end()
    assert code == 0, second.text
    assert hashes == [golden(kind, STEPS)] * 2, second.text
    events = int(second.wait_for(r"generation 1 at event (\d+)")[1])
    assert events > 10, second.text
    assert not list(tmp_path.iterdir())

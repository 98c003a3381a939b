"""A worker's record for newcomers, also at the worst moment to be asked for it."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ASKED_WHILE_IT_ENDS = """
    import atexit, threading, time
    from distflow.distribute import elastic_donor
    from distflow.distribute.elastic_record import Record

    donor = elastic_donor.Donor(Record(), host="127.0.0.1", token="t" * 32)
    answered = threading.Event()

    def ask():
        while True:
            elastic_donor.fetch(donor.address, 0, token="t" * 32)
            answered.set()

    threading.Thread(target=ask, daemon=True).start()
    assert answered.wait(60)
    atexit.register(donor.close)
    atexit.register(time.sleep, 0.3)  # Python's pools have ended by now
"""


@pytest.mark.spawn
def test_a_worker_that_is_asked_while_it_ends_does_not_hang():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ASKED_WHILE_IT_ENDS)], cwd=ROOT, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cannot schedule new futures" not in done.stderr

import os

import pytest

from launcher import view
from launcher.printer import Printer
from launcher.rank import Rank


def ranks_at(steps, now=10.0, **more):
    """Workers that have come so far in the last five seconds, at a step every half second."""
    found = [Rank(number) for number in range(len(steps))]
    for rank, step in zip(found, steps):
        for back in range(10, -1, -1):
            message = {"step": step - back, "exposed": 1.0 - 0.05 * back, "loss": 0.25, **more}
            rank.hear(message, now - back / 2)
    return found


def rows(ranks, now=10.0, columns=80, lines=24):
    size = os.terminal_size((columns, lines))
    return [line.rstrip() for line in view.table(ranks, now, 65.0, size, False).splitlines()]


def test_each_worker_has_a_row():
    assert rows(ranks_at([120, 118])) == [
        "── 0:01:05 · step 120, 2 steps/s, loss 0.25, 10% of the time waiting for gradi…",
        "rank  step  steps/s  loss  waits  heard",
        "   0   120        2  0.25    10%  0.0 s",
        "   1   118        2  0.25    10%  0.0 s",
    ]


def test_silent_stuck_failed_and_starting_workers_are_named():
    ranks = ranks_at([100] * 4)
    ranks.append(Rank(4))
    ranks[0].hear({"step": 100, "exposed": 1.0}, 39.9)
    ranks[2].code, ranks[3].code = -9, 0
    found = rows(ranks, now=40.0)[2:]
    assert "STUCK in a step for 30 s" in found[0]
    assert "SILENT for 30 s" in found[1]
    assert "killed by signal 9 (SIGKILL)" in found[2]
    assert found[3].endswith("done")
    assert found[4].endswith("starting")
    assert "ranks 0, 1 late" in view.summary(ranks, 40.0)


def test_many_workers_leave_half_the_terminal_and_show_who_is_behind():
    steps = [100] * 50
    steps[37] = 3
    found = rows(ranks_at(steps), lines=24)
    assert len(found) <= 12
    assert found[-1] == "and 41 more"
    assert any(row.split()[:2] == ["37", "3"] for row in found[2:-1])


@pytest.mark.parametrize("columns", [20, 40, 200])
def test_no_line_is_wider_than_the_terminal(columns):
    ranks = ranks_at([123456, 1])
    ranks[0].host = "a-host-with-a-long-name.example.org"
    found = rows(ranks, columns=columns)
    assert max(map(len, found)) < columns
    assert len(found) == (3 + 1 if columns > 60 else 1)


@pytest.fixture
def terminal(monkeypatch):
    """A printer whose stderr is a terminal; what it writes is kept instead."""
    monkeypatch.setattr(os, "isatty", lambda fd: fd == 2)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    written = []
    monkeypatch.setattr(Printer, "_write", lambda self, fd, data: written.append((fd, data)))
    printer = Printer(lambda: None)
    yield printer, written
    printer.close()


def test_the_view_is_erased_before_a_line_and_drawn_again_below_it(terminal):
    printer, written = terminal
    printer.view("a\nb\nc")
    while not written:
        pass
    printer.line(2, "[rank 0] ", "hello")
    printer.close()
    text = b"".join(data for _, data in written)
    erase = b"\r\x1b[2A\x1b[J"
    assert text.startswith(b"a\nb\nc" + erase + b"[rank 0] hello\n")
    assert text.endswith(b"hello\n") or text.endswith(b"a\nb\nc" + erase)


def test_a_progress_bar_stands_above_the_view(terminal, monkeypatch):
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((20, 10)))
    printer, written = terminal
    printer.view("table")
    printer.rewrite(2, "[rank 1] ", "50% of a long epoch")
    while not any(b"50%" in data for _, data in written):
        pass
    assert written[-1][1].endswith(b"[rank 1] 50% of a l\ntable")


def test_a_program_that_tells_no_step_has_no_view(terminal):
    printer, written = terminal
    shown = view.View("auto", [Rank(0)], printer)
    shown.show(1.0)
    assert written == []
    assert shown.due_at == 1.0 + view.TABLE_SECONDS


def test_elsewhere_a_line_says_the_same_in_short(monkeypatch):
    monkeypatch.setattr(os, "isatty", lambda fd: False)
    said = []
    monkeypatch.setattr(Printer, "text", lambda self, fd, text: said.append((fd, text)))
    printer = Printer(lambda: None)
    view.View("live", ranks_at([27, 28]), printer).show(10.0)
    printer.close()
    line = "distflow run: step 28, 2 steps/s, loss 0.25, 10% of the time waiting for gradients\n"
    assert said == [(2, line)]

from launcher.ending import numbers, report
from launcher.rank import Rank


def test_report_names_the_first_failure_and_folds_the_others():
    ranks = [Rank(number) for number in range(4)]
    ranks[2].code, ranks[2].ended_at = -9, 3.14
    ranks[0].code, ranks[1].code, ranks[3].code = 1, -15, 0
    for line in ("first", "", "last"):
        ranks[2].keep(line)
    assert report(ranks, ranks[2], {1}) == (
        "distflow run: rank 2 failed first, after 3.1 s: killed by signal 9 (SIGKILL)\n"
        "  Not sent by distflow run; the kernel sends it when memory runs out.\n"
        "  The last lines of rank 2's stderr:\n"
        "    first\n"
        "    last\n"
        "  After that: rank 0 exit code 1; rank 1 stopped by the launcher.\n"
    )


def test_ranks_that_ended_alike_are_one_entry():
    ranks = [Rank(number) for number in range(7)]
    for rank in ranks:
        rank.code = 75
        rank.hear({"rank": rank.number, "error": "WorkerLostError", "traceback": ""}, 0.0)
    ranks[3].code, ranks[5].code = -11, 0
    assert report(ranks, ranks[3], set()).splitlines()[-1] == (
        "  After that: ranks 0-2, 4, 6 WorkerLostError, exit code 75."
    )


def test_the_traceback_a_worker_sent_comes_before_the_end_of_its_stderr():
    rank = Rank(0, code=1)
    rank.keep("noise")
    text = "Traceback (most recent call last):\n  here\nValueError: boom\n"
    rank.hear({"rank": 0, "error": "ValueError", "traceback": text, "step": 12}, 0.0)
    assert report([rank], rank, set()) == (
        "distflow run: rank 0 failed first, after 0.0 s, 12 steps done: ValueError, exit code 1\n"
        "  The error of rank 0:\n"
        "    Traceback (most recent call last):\n"
        "      here\n"
        "    ValueError: boom\n"
    )


def test_prose_is_broken_between_words_at_the_edge_of_a_terminal_and_code_is_not():
    rank = Rank(0, code=1)
    code = "      File " + "x" * 90
    message = "ValueError: " + "several words of an error " * 5
    text = f"Traceback (most recent call last):\n{code[4:]}\n{message.rstrip()}\n"
    rank.hear({"rank": 0, "error": "ValueError", "traceback": text, "step": 12}, 0.0)
    lines = report([rank], rank, set(), columns=60).splitlines()
    assert code in lines
    assert max(len(line) for line in lines if line != code) < 60
    assert lines[0] == "distflow run: rank 0 failed first, after 0.0 s, 12 steps"
    assert lines[1] == "  done: ValueError, exit code 1"
    assert "      an error several words" in "\n".join(lines)
    assert report([rank], rank, set()).splitlines()[-1] == f"    {message.rstrip()}"


def test_ranks_that_had_told_their_error_before_they_were_stopped_are_named_with_it():
    ranks = [Rank(0, code=1), Rank(1, code=-15), Rank(2, code=-15)]
    ranks[1].hear({"rank": 1, "error": "AbortedError", "traceback": ""}, 0.0)
    assert report(ranks, ranks[0], {1, 2}).endswith(
        ": rank 1 AbortedError, stopped by the launcher; rank 2 stopped by the launcher.\n"
    )


def test_of_a_crash_the_stack_of_the_thread_that_crashed_is_shown():
    rank = Rank(0, code=-11)
    for line in (
        "loading", "Fatal Python error: Segmentation fault", "Thread 0x01 (most recent):",
        '  File "threading.py", line 1 in wait', "Current thread 0x02 (most recent):",
        '  File "train.py", line 7 in load', "Extension modules: numpy (total: 1)",
    ):  # fmt: skip
        rank.keep(line)
    assert report([rank], rank, set()).splitlines()[1:] == [
        "  The last lines of rank 0's stderr:",
        "    loading",
        "    Fatal Python error: Segmentation fault",
        "    Current thread 0x02 (most recent):",
        '      File "train.py", line 7 in load',
    ]


def test_a_kill_for_want_of_memory_is_named():
    rank = Rank(0, code=-9)
    rank.memory = "out of memory: the kernel killed it (it had used 1.9 GiB)"
    assert report([rank], rank, set()).splitlines()[1] == (
        "  Out of memory: the kernel killed it (it had used 1.9 GiB)."
    )


def test_sorted_ranks_are_shown_as_spans():
    assert numbers([3]) == "rank 3"
    assert numbers([0, 1]) == "ranks 0, 1"
    assert numbers([0, 1, 2, 5, 7, 8]) == "ranks 0-2, 5, 7, 8"

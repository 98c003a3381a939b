from launcher.rank import TAIL_LINES, Rank, ending, exit_status


def test_endings_in_words_and_as_a_shell_reports_them():
    assert (ending(3), exit_status(3)) == ("exit code 3", 3)
    assert (ending(-11), exit_status(-11)) == ("killed by signal 11 (SIGSEGV)", 139)
    assert ending(-200) == "killed by signal 200 (unknown)"


def test_only_the_end_of_a_long_stderr_is_kept():
    rank = Rank(0)
    for number in range(1000):
        rank.keep(f"{number} " + "x" * 10_000)
    assert len(rank.tail) == TAIL_LINES
    assert rank.tail[-1].startswith("999 ")
    assert max(map(len, rank.tail)) == 500


def test_a_rank_that_is_started_again_has_said_nothing():
    rank = Rank(0, code=-9)
    rank.keep("Abort(75) on node 0")
    rank.restart()
    assert rank.code is None
    assert list(rank.tail) == []

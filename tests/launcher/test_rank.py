from launcher.rank import Rank, ending, exit_status, report


def test_endings_in_words_and_as_a_shell_reports_them():
    assert (ending(3), exit_status(3)) == ("exit code 3", 3)
    assert (ending(-11), exit_status(-11)) == ("killed by signal 11 (SIGSEGV)", 139)
    assert ending(-200) == "killed by signal 200 (unknown)"


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


def test_only_the_end_of_a_long_stderr_is_kept():
    rank = Rank(0)
    for number in range(1000):
        rank.keep(f"{number} " + "x" * 10_000)
    assert len(rank.tail) == 30
    assert rank.tail[-1].startswith("999 ")
    assert max(map(len, rank.tail)) == 500

"""The pool: every unit runs once, whatever the number of threads; forks get a pool of their own."""

import ctypes
import os
import signal
import threading
import timeit

import numpy as np
import pytest

from distflow.base import flags, local_world
from distflow.compiler.cpu import cores, threads, worker

pytest.importorskip("llvmlite")

ranged = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def covered(units, count, work=1 << 30):
    """The units that ran, and the number of ranges."""
    seen, ranges, lock = [], [], threading.Lock()

    @ranged
    def function(arguments, begin, end):
        with lock:
            assert arguments == 1234
            seen.extend(range(begin, end))
            ranges.append((begin, end))

    with flags.override(DISTFLOW_THREADS=count):
        threads.parallel_for(function, 1234, units, work)
    return sorted(seen), len(ranges)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("units", [1, 2, 3, 7, 100])
def test_every_unit_runs_once(units, count):
    seen, ranges = covered(units, count)
    assert seen == list(range(units))
    assert ranges == min(units, count)


def test_little_work_runs_in_the_calling_thread():
    assert covered(100, 4, work=10)[1] == 1


def test_several_callers_share_the_pool():
    found = []
    callers = [threading.Thread(target=lambda: found.append(covered_plain(50))) for _ in range(6)]
    with flags.override(DISTFLOW_THREADS=3):
        for t in callers:
            t.start()
        for t in callers:
            t.join(30)
    assert found == [list(range(50))] * 6


def covered_plain(units):
    seen, lock = [], threading.Lock()

    @ranged
    def function(arguments, begin, end):
        with lock:
            seen.extend(range(begin, end))

    threads.parallel_for(function, 0, units, 1 << 30)
    return sorted(seen)


@pytest.mark.spawn
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_works_after_a_fork():
    covered(10, 3)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        status = 1
        try:
            status = 0 if covered(10, 3)[0] == list(range(10)) else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


# -- the share of one worker ---------------------------------------------------------------


@pytest.fixture
def host(monkeypatch, tmp_path):
    """Says what host and container this is: CPUs, those in the mask, control groups' files."""
    monkeypatch.setattr(cores, "_MOUNT", tmp_path)
    monkeypatch.setattr(cores, "_MEMBERSHIP", tmp_path / "membership")
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)

    def be(cpus, mask=None, groups="", **files):
        monkeypatch.setattr(os, "cpu_count", lambda: cpus)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(mask or cpus)))
        (tmp_path / "membership").write_text(groups)
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("DOT", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        cores.share.cache_clear()
        local_world._started_beside.cache_clear()

    yield be
    cores.share.cache_clear()
    local_world._started_beside.cache_clear()


FOREIGN = ("DISTFLOW_LOCAL", "DISTFLOW_THREADS", "DISTFLOW_WORLD", "OMPI_", "PMI", "MPI_", "SLURM_")


def share(workers):
    with flags.override(DISTFLOW_LOCAL_WORLD_SIZE=workers):
        return threads.num_threads()


def test_one_process_takes_all_cores_of_its_mask(host):
    host(8)
    assert threads.num_threads() == 8
    host(8, mask=3)
    assert threads.num_threads() == 3


@pytest.mark.parametrize(("workers", "expected"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_workers_of_a_host_share_its_cores(host, workers, expected):
    host(8)
    assert share(workers) == expected


@pytest.mark.parametrize(
    ("mask", "workers", "expected"), [(1, 4, 1), (2, 4, 2), (4, 2, 4), (1, 20, 1), (6, 2, 3)]
)
def test_mask_of_a_bound_process_is_not_divided_again(host, mask, workers, expected):
    host(8, mask=mask)
    assert share(workers) == expected


def test_mask_of_the_whole_job_is_divided(host):
    host(8, mask=2)
    with flags.override(DISTFLOW_LOCAL_CORES=2):
        assert share(2) == 1
    host(8, mask=4)
    with flags.override(DISTFLOW_LOCAL_CORES=8):
        assert share(2) == 4


def test_cpuset_of_the_container_is_divided(host):
    host(8, mask=4, groups="0::/a/b\n", a__cpusetDOTcpusDOTeffective="0-2,6\n")
    assert share(2) == 2
    host(8, mask=4, groups="5:cpuset:/a\n", cpuset__cpusetDOTeffective_cpus="0-2,6\n")
    assert share(4) == 1


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", {"cpuDOTmax": "350000 100000\n"}),
        ("0::/a/b\n", {"a__cpuDOTmax": "350000 100000\n", "a__b__cpuDOTmax": "max 100000\n"}),
        ("0::/../a\n", {"cpuDOTmax": "350000 100000\n", "a__cpuDOTmax": "900000 100000"}),
        (
            "3:memory:/x\n2:cpu,cpuacct:/of/the/host\n",
            {"cpu__cpuDOTcfs_quota_us": "175000\n", "cpu__cpuDOTcfs_period_us": "50000\n"},
        ),
    ],
)
def test_quota_of_the_container_bounds_the_cores(host, groups, files):
    host(8, groups=groups, **files)
    assert [share(workers) for workers in (1, 2, 3, 4)] == [3, 1, 1, 1]
    host(2, groups=groups)
    assert share(1) == 2


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", {"cpuDOTmax": "max 100000\n"}),
        ("0::/\n", {"cpuDOTmax": "nonsense"}),
        ("nonsense\n", {}),
        (
            "1:cpu:/\n",
            {"cpu__cpuDOTcfs_quota_us": "-1\n", "cpu__cpuDOTcfs_period_us": "100000\n"},
        ),
    ],
)
def test_no_quota_is_no_bound(host, groups, files):
    host(8, groups=groups, **files)
    assert threads.num_threads() == 8


def test_threads_that_were_asked_for_are_not_divided(host):
    host(8)
    with flags.override(DISTFLOW_THREADS=5):
        assert share(4) == 5


def test_workers_of_an_mpirun_share_the_cores(host, monkeypatch):
    host(8)
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "4")
    assert threads.num_threads() == 2


def test_share_is_found_in_less_than_the_time_of_a_kernel(monkeypatch):
    monkeypatch.setenv("DISTFLOW_LOCAL_WORLD_SIZE", "2")
    assert min(timeit.repeat(threads.num_threads, number=1000, repeat=20)) / 1000 < 5e-6


# -- programs ------------------------------------------------------------------------------


def program(*records):
    words = [w for record in (*records, (worker.END, 0, 0, 0)) for w in record]
    return (ctypes.c_int64 * len(words))(*words)


def run(programs, alone=None, times=0):
    threads.run(
        [ctypes.addressof(p) for p in programs], ctypes.addressof(alone or programs[0]), times
    )


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_nobody_passes_a_barrier_before_all_are_there(count):
    rounds, here, errors = 200, [0] * count, []

    def work(arguments, begin, end):
        # begin: the thread, end: the round. All others have done the round before.
        if min(here) < end:
            errors.append((begin, end, list(here)))
        here[begin] = end + 1

    function = ranged(work)
    address = threads.function_address(function)
    barrier = (worker.BARRIER, 0, 0, 0)
    run([
        program(*[r for i in range(rounds) for r in ((address, 0, t, i), barrier)])
        for t in range(count)
    ])  # fmt: skip
    assert not errors
    assert here == [rounds] * count


def test_repeat_goes_back_and_counts_anew_the_next_time():
    seen = []
    function = ranged(lambda arguments, begin, end: seen.append(begin))
    address = threads.function_address(function)
    counter = np.zeros(1, np.int64)
    looped = program(
        (address, 0, 1, 0), (address, 0, 2, 0), (worker.REPEAT, counter.ctypes.data, 3, 2),
        (address, 0, 9, 0),
    )  # fmt: skip
    run([looped])
    assert seen == [1, 2, 1, 2, 1, 2, 9]
    run([looped])
    assert seen[7:] == seen[:7]


def test_times_of_records_are_added_up():
    function = ranged(lambda arguments, begin, end: None)
    address = threads.function_address(function)
    times = np.zeros(4, np.int64)
    timed = program((address, 0, 0, 0), (worker.BARRIER, 0, 0, 0), (address, 0, 0, 0))
    run([timed, program((worker.BARRIER, 0, 0, 0))], timed, times.ctypes.data)
    assert times[0] > 0
    assert times[2] > 0
    assert times[1] == times[3] == 0


def test_threads_that_fell_asleep_wake_up():
    ours = threading.Event()
    function = ranged(lambda arguments, begin, end: None)
    address = threads.function_address(function)
    programs = [program((address, 0, 0, 0), (worker.BARRIER, 0, 0, 0)) for _ in range(2)]
    for _ in range(20):
        ours.wait(0.002)  # long enough to fall asleep; nothing is lost if they do not
        threads.wake()
        run(programs)

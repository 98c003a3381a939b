import pytest

from launcher import bench_comm, bench_worker, cli
from launcher.arguments import UsageError


def test_sizes_grow_by_four():
    assert bench_comm.sizes_of("1K:64K") == [1024, 4096, 16384, 65536]
    assert bench_comm.sizes_of("12") == [12]
    assert bench_comm.sizes_of("1M:5M") == [1 << 20, 4 << 20]


@pytest.mark.parametrize("text", ["", "x", "2K:1K", "1", "1K:2G", "1K:", "1k"])
def test_sizes_that_cannot_be_are_refused(text):
    with pytest.raises(UsageError, match="--sizes must"):
        bench_comm.sizes_of(text)


def test_a_line_is_found_again():
    points = [(size, 5e-6 + size * 2e-10) for size in (1024, 4096, 65536, 1 << 20)]
    alpha, beta = bench_worker.fit(points)
    assert alpha == pytest.approx(5e-6)
    assert beta == pytest.approx(2e-10)


def test_the_table_has_both_bandwidths():
    lines = bench_worker.table("all_reduce", 4, [(1000, 1e-6), (3000, 2e-6)]).splitlines()
    assert lines[1].split() == ["1000", "1.0", "1.000", "1.500"]
    assert lines[-1] == "fit: alpha 0.5 us, 1 / beta 2.00 GB/s"


@pytest.mark.parametrize(
    ("operation", "factor"),
    [("all_reduce", 1.5), ("all_gather", 3), ("reduce_scatter", 0.75), ("broadcast", 1),
     ("all_to_all", 0.75)],
)  # fmt: skip
def test_bus_factors_are_those_of_nccl_tests_for_each_workers_array(operation, factor):
    assert bench_worker.bus_factor(operation, 4) == factor


@pytest.mark.spawn
@pytest.mark.parametrize("operation", [*bench_worker.OPERATIONS[:1], bench_worker.OPERATIONS[-1]])
def test_operations_are_measured_and_shown(capfd, operation):
    options = ["--op", operation, "--sizes", "64:1K", "--seconds", "0.01"]
    assert cli.main(["bench-comm", *options]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith(f"{operation}, 2 workers, float32, over ")
    assert [line.split()[0] for line in lines[2:5]] == ["64", "256", "1024"]
    assert lines[5].startswith("fit: alpha ")

import pytest

from tests.comm import battery
from tests.comm.groups import RUNNERS, values


@pytest.mark.parametrize("algorithm", battery.ALGORITHMS)
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("transport", sorted(RUNNERS))
def test_all_reduce_gives_the_bytes_of_the_definition(transport, world_size, algorithm):
    wrong = RUNNERS[transport](world_size, lambda t: battery.failures(t, algorithm))
    assert values(wrong) == [[]] * world_size

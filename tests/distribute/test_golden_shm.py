"""The golden hash over shared memory, and over whatever `--backend auto` finds."""

import pytest

from tests.distribute.test_golden_hash import golden as golden  # a fixture
from tests.distribute.test_golden_hash import one_of_four, train_on_processes

pytestmark = [pytest.mark.slow, pytest.mark.spawn]


@pytest.mark.parametrize("world_size", one_of_four(4))
def test_processes_that_share_memory_give_the_golden_hash(golden, world_size):
    assert train_on_processes(world_size, "shm") == [golden] * world_size


@pytest.mark.soak
def test_what_auto_chooses_gives_the_golden_hash(golden):
    assert train_on_processes(2, "auto") == [golden] * 2

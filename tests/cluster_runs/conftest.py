import secrets

import pytest

from tests.cluster_runs.cluster import Cluster
from tests.fakekube import network


@pytest.fixture(scope="session")
def _no_network():
    return network.missing()


@pytest.fixture
def cluster(_no_network, tmp_path_factory):
    """A cluster of one node, or a skip that says what it lacks."""
    if _no_network:
        pytest.skip(f"no pods as processes here: {_no_network}")
    folder = tmp_path_factory.mktemp("node")
    with Cluster(folder) as made:
        made.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "distflow-token"},
                "stringData": {"token": secrets.token_hex(32)},
            }
        )
        yield made

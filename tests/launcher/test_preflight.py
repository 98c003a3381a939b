"""What is found of hosts before a job is started on them."""

import importlib.metadata

import pytest

from launcher import inventory, preflight


class Host:
    """A session of a host that has told what it has."""

    def __init__(self):
        self.info = inventory.of_this_host("/", "")


@pytest.fixture
def uncached():
    inventory.versions.cache_clear()
    yield
    inventory.versions.cache_clear()


def test_the_versions_here_are_looked_up_once_for_all_hosts(monkeypatch, uncached):
    asked = []

    def version(name):
        asked.append(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    hosts, rows = [Host() for _ in range(3)], [preflight.Row(f"h{i}") for i in range(3)]
    for host, row in zip(hosts, rows):
        preflight.judge_look(host, row, "/", "")
    assert [row.cells["versions"] for row in rows] == ["ok"] * 3
    assert sorted(asked) == sorted(inventory.COMPARED)

"""Workers on hosts of their own (network namespaces), whose links go down without a word or are
slow."""

import os
import shutil
import subprocess
import time

import pytest

pytestmark = [pytest.mark.spawn, pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(240)]

STEPS = 8
COUNT = 3


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, timeout=20, text=True)


class Network:
    """Namespaces joined by a bridge, which this process reaches as well."""

    def __init__(self):
        # Others may run these tests at the same time, on the same machine.
        self.bridge = f"dfe{os.getpid() % 100_000}"
        self.subnet = f"10.{100 + os.getpid() % 90}.{os.getpid() // 90 % 250}"
        self.address = f"{self.subnet}.254"
        self.hosts = []
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.address}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def add(self):
        """Returns the words before a command that is to run on a new host."""
        number = len(self.hosts)
        host, inner, outer = (f"{self.bridge}{kind}{number}" for kind in "nio")
        run("ip", "netns", "add", host)
        self.hosts.append(host)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
        run("ip", "link", "set", inner, "netns", host)
        run("ip", "link", "set", outer, "master", self.bridge, "up")
        run("ip", "-n", host, "addr", "add", f"{self.subnet}.{number + 1}/24", "dev", inner)
        run("ip", "-n", host, "link", "set", inner, "up")
        run("ip", "-n", host, "link", "set", "lo", "up")
        return ["ip", "netns", "exec", host]

    def set_link(self, number, state):
        run("ip", "link", "set", f"{self.bridge}o{number}", state)

    def delay(self, number, milliseconds):
        device = f"{self.bridge}o{number}"
        try:
            run("tc", "qdisc", "add", "dev", device, "root", "netem", "delay", f"{milliseconds}ms")
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            pytest.skip(f"this kernel has no netem: {getattr(error, 'stderr', error)}")

    def close(self):
        for host in self.hosts:
            subprocess.run(["ip", "netns", "del", host], capture_output=True, timeout=20)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, timeout=20)


@pytest.fixture
def network():
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs root and ip (iproute2) for network namespaces")
    found = None
    try:
        found = Network()
        yield found
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr}")
    finally:
        if found is not None:
            found.close()


def start(workers, network, seconds):
    job = workers(1, COUNT, host=network.address)
    places = [network.add() for _ in range(COUNT)]
    for place in places:
        job.start(["fit", STEPS, seconds], prefix=place, DISTFLOW_SILENCE="5")
    return job


def test_a_host_that_falls_silent_is_lost_within_five_seconds_and_may_come_back(
    workers, network, golden, capsys
):
    job = start(workers, network, 0.3)
    job.at_step(0, 4)
    network.set_link(1, "down")
    cut = time.monotonic()
    job.wait_for(0, "generation 1 ends")
    found = time.monotonic() - cut
    job.wait_for(0, "generation 2 at event")
    again = time.monotonic() - cut
    network.set_link(1, "up")
    ended = job.end(range(COUNT))
    with capsys.disabled():
        print(f"\nsilent host found after {found:.2f} s, training again after {again:.2f} s")
    right = golden("fit", STEPS)
    assert [code for code, _ in ended] == [0, 0, 0], job.texts
    assert (ended[0][1], ended[2][1]) == (right, right), job.texts
    assert ended[1][1] in (right, None), job.texts
    assert "no sign of life" in job.text(0)
    assert found <= 5.0


def test_slow_links_change_no_bits(workers, network, golden):
    job = workers(1, COUNT, host=network.address)
    places = [network.add() for _ in range(COUNT)]
    network.delay(1, 20)
    for place in places:
        job.start(["fit", STEPS], prefix=place)
    assert job.end(range(COUNT)) == [(0, golden("fit", STEPS))] * COUNT, job.texts

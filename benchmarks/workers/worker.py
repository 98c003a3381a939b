"""One worker of a contestant's job: answers commands of job.py, a line of JSON each.

Started by the contestant's launcher as: python worker.py FRAMEWORK VARIANT MODEL BATCH
with MULTI_WORKER_CONTROL=host:port in the environment, where job.py listens. BATCH is the
worker's own part of the global batch.
"""

import importlib
import json
import os
import socket
import sys
import time
from pathlib import Path

STEPS = {
    "distflow": "workers.tf_steps",
    "tensorflow": "workers.tf_steps",
    "torch": "workers.torch_steps",
}


class Worker:
    """The commands: each method's result goes back as JSON."""

    def __init__(self, framework, variant, model, batch):
        steps = importlib.import_module(STEPS[framework])
        self._steps = steps.Steps(framework, variant, model, int(batch))

    def first(self):
        """Trains once: the loss of this worker's rows, and who measured it."""
        return {"loss": self._steps.step(), "version": self._steps.version}

    def train(self, steps):
        """Returns the milliseconds of as many training steps on every worker."""
        samples = []
        for _ in range(steps):
            start = time.perf_counter()
            loss = self._steps.step()
            samples.append((time.perf_counter() - start) * 1e3)
        return {"samples": samples, "loss": loss}

    def report(self):
        """Returns what the framework says of its communication."""
        return self._steps.report()


def main():
    sys.path.insert(0, str(Path(__file__).parents[1]))
    host, _, port = os.environ["MULTI_WORKER_CONTROL"].rpartition(":")
    with socket.create_connection((host, int(port))) as link, link.makefile("rw") as lines:
        worker = None
        for line in lines:
            command = json.loads(line)
            try:
                worker = worker or Worker(*sys.argv[1:])
                answer = {"answer": getattr(worker, command.pop("do"))(**command)}
            except Exception as error:  # noqa: BLE001 - whatever a framework raises is its answer
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=lines, flush=True)
    # Frameworks wait for their peers as they end; nobody measures that.
    os._exit(0)


if __name__ == "__main__":
    main()

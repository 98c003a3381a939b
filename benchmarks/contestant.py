"""One contestant in its own process: answers commands of session.py, a line of JSON each.

Run by session.py as: python contestant.py FRAMEWORK VARIANT MODEL BORN_SECONDS
where BORN_SECONDS is the host's monotonic clock just before the process was started.
"""

import importlib
import json
import os
import re
import sys
import time

STEPS = {
    "distflow": "steps.tf_steps",
    "tensorflow": "steps.tf_steps",
    "torch": "steps.torch_steps",
    "jax": "steps.jax_steps",
}
LEAST_WARM_UP_STEPS = 5
WAKING_SECONDS = 0.02  # untimed, at the start of a turn: threads and caches went cold meanwhile


class Contestant:
    """The commands: each method's result goes back as JSON."""

    def __init__(self, framework, variant, model, born):
        self._arguments = framework, variant, model
        self._born = float(born)
        self._infer = {}

    def first(self):
        """Builds the model and trains it once: seconds of each part, loss and peak memory."""
        framework, variant, model = self._arguments
        start = time.monotonic()
        steps = importlib.import_module(STEPS[framework])
        self._steps = steps.Steps(framework, variant, model)
        built = time.monotonic()
        loss = self._steps.step()
        done = time.monotonic()
        return {
            "build": built - start,
            "first_call": done - built,
            "first_trained": done - self._born,
            "loss": loss,
            "memory": peak_memory(),
            "version": self._steps.version,
        }

    def warm_up(self, steps, seconds):
        """Trains a few more steps, fewer if they take long: the last loss, and the peak memory."""
        end = time.monotonic() + seconds
        for done in range(1, steps + 1):
            loss = self._steps.step()
            if done >= LEAST_WARM_UP_STEPS and time.monotonic() > end:
                break
        return {"loss": loss, "steps": done, "memory": peak_memory()}

    def train(self, steps, seconds):
        """Returns the milliseconds of training steps."""
        return _time(self._steps.step, steps, seconds)

    def prepare_inference(self, batch):
        """Makes the inference function of a batch size: seconds of its first call."""
        start = time.monotonic()
        self._infer[batch] = self._steps.inference(batch)
        self._infer[batch]()
        return {"first_call": time.monotonic() - start}

    def infer(self, batch, steps, seconds):
        """Returns the milliseconds of inference steps."""
        return _time(self._infer[batch], steps, seconds)


def peak_memory():
    """Returns the largest resident size of this process so far, in MiB."""
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) / 1024


def _time(step, steps, seconds):
    """Returns the milliseconds of one step at least, after one untimed at least."""
    end = time.perf_counter() + WAKING_SECONDS
    step()
    while time.perf_counter() < end:
        step()
    samples = []
    end = time.perf_counter() + seconds
    while not samples or (len(samples) < steps and time.perf_counter() < end):
        start = time.perf_counter()
        step()
        samples.append((time.perf_counter() - start) * 1e3)
    return samples


def main():
    # Frameworks print what they like: the answers keep the real standard output for themselves.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    contestant = Contestant(*sys.argv[1:])
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"answer": getattr(contestant, command.pop("do"))(**command)}
        except Exception as error:  # noqa: BLE001 - whatever a framework raises is its answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()

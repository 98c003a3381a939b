"""Training steps of several workers on distflow, torch DDP over gloo and TensorFlow's strategy.

python benchmarks/multi_worker.py --peer tensorflow=tf-venv/bin/python \\
    --peer torch=torch-venv/bin/python
"""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import peers
from field import Contestant
from models import spec
from session import ContestantError
from workers.job import Job

OURS = Contestant("distflow", "distflow", "function")
PEERS = (
    Contestant("torch DDP", "torch", "eager"),
    Contestant("torch DDP channels_last", "torch", "channels_last", only_images=True),
    Contestant("TF MultiWorkerMirrored", "tensorflow", "function"),
)
WARM_UP_STEPS = 20


@dataclass(frozen=True)
class Task:
    """A model: rows of each of two workers, timed steps of a turn, and the bars of our step."""

    rows: int
    steps: int
    step_bar: float


TASKS = {"cnn": Task(32, 150, 0.25), "mlp": Task(64, 100, 0.25), "resnet": Task(32, 10, 0.7)}
START_BAR = 1 / 3
SCALING_BARS = {"auto": 1.7, "grpc": 1.5}  # of the model below, by backend of distflow
SCALING_MODEL = "resnet"


def main():
    arguments = parse()
    interpreters = {"distflow": sys.executable, **dict(arguments.peer)}
    bars = []
    with tempfile.TemporaryDirectory() as cache:
        for model in arguments.models:
            results = compare(model, interpreters, arguments, Path(cache))
            print_model(model, results)
            bars += verdict(model, results)
        if SCALING_MODEL in arguments.models and arguments.scaling:
            results = compare_scaling(interpreters, arguments, Path(cache))
            print_scaling(results)
            bars += scaling_verdict(results)
    print("\n## Bars\n\n| what | measured | bar | |\n| --- | --- | --- | --- |")
    for what, found, bar, met in bars:
        print(f"| {what} | {found:.3g} | {bar:.3g} | {'met' if met else 'MISSED'} |")


def compare(model, interpreters, arguments, cache):
    """Returns {contestant: its measurements} of two workers, the contestants taking turns."""
    task = TASKS[model]
    entries = {}
    for contestant in (OURS, *PEERS):
        is_there = contestant.framework in interpreters
        if is_there and (spec.SPECS[model].is_image or not contestant.only_images):
            entries[contestant.name] = (contestant, 2, task.rows, arguments.backend)
    return take_turns(model, entries, interpreters, arguments, cache)


def compare_scaling(interpreters, arguments, cache):
    """Returns the measurements of one worker and of two at an equal global batch."""
    rows = TASKS[SCALING_MODEL].rows
    entries = {"1 worker": (OURS, 1, 2 * rows, "auto")}
    for backend in SCALING_BARS:
        entries[f"2 workers, {backend}"] = (OURS, 2, rows, backend)
    return take_turns(SCALING_MODEL, entries, interpreters, arguments, cache)


def take_turns(model, entries, interpreters, arguments, cache):
    """Returns {name: row} of jobs that all live at once and train in turn, round after round."""
    jobs, results = {}, {}
    try:
        for name, (contestant, workers, rows, backend) in entries.items():
            row = results[name] = {"starts": [], "samples": [], "trouble": None}

            def start(contestant=contestant, workers=workers, rows=rows, backend=backend):
                python = interpreters[contestant.framework]
                return Job(
                    contestant, python, model, workers=workers, batch=rows, backend=backend,
                    cache=cache,
                )  # fmt: skip

            try:
                jobs[name] = _started(start, row, arguments.starts)
            except ContestantError as error:
                row["trouble"] = str(error)
        steps = TASKS[model].steps
        for _ in range(arguments.rounds):
            for name, job in list(jobs.items()):
                try:
                    # The first steps after a wait find everything cold.
                    job.ask("train", steps=max(steps // 10, 2))
                    answers = job.ask("train", steps=steps)
                except ContestantError as error:
                    results[name]["trouble"] = str(error)
                    jobs.pop(name).close()
                    continue
                results[name]["samples"] += [x for a in answers for x in a["samples"]]
                results[name]["loss"] = answers[0]["loss"]
        for name, job in jobs.items():
            results[name]["report"] = job.ask("report")[0]
    finally:
        for job in jobs.values():
            job.close()
    return results


def _started(start, row, starts):
    """Returns a job that has trained a little; the time of the first step is that of each start."""
    job = None
    for _ in range(starts):
        if job is not None:
            job.close()
        job = start()
        try:
            first = job.ask("first")
            row["starts"].append(time.monotonic() - job.born)
        except ContestantError:
            job.close()
            raise
    row["version"] = first[0]["version"]
    row["first_loss"] = first[0]["loss"]
    try:
        job.ask("train", steps=WARM_UP_STEPS)
    except ContestantError:
        job.close()
        raise
    return job


def print_model(model, results):
    print(f"\n## {model}: {spec.SPECS[model].title}, 2 workers x {TASKS[model].rows} rows\n")
    print("|  | step, ms | ours / it | start to first step, s | ours / it | loss |")
    print("| --- | --- | --- | --- | --- | --- |")
    own = results[OURS.name]
    for name, row in results.items():
        if row["samples"]:
            print(
                f"| {name} {row['version']} | {step(row):.3g} | {step(own) / step(row):.2f} "
                f"| {begin(row):.3g} | {begin(own) / begin(row):.2f} "
                f"| {row['first_loss']:.3f} → {row['loss']:.3f} |"
            )
    for name, row in results.items():
        if row["trouble"]:
            print(f"- {name}: {row['trouble']}")
        if row.get("report"):
            print(f"- {name}: {row['report']}")
    sys.stdout.flush()


def print_scaling(results):
    model = SCALING_MODEL
    print(f"\n## {model}: the same global batch of {2 * TASKS[model].rows} rows\n")
    print("|  | step, ms | speed-up |\n| --- | --- | --- |")
    alone = results["1 worker"]
    for name, row in results.items():
        if row["samples"]:
            print(f"| {name} | {step(row):.3g} | {step(alone) / step(row):.2f} |")
        if row["trouble"]:
            print(f"| {name} | {row['trouble']} | |")
    sys.stdout.flush()


def verdict(model, results):
    """Returns (what, measured, bar, whether it is met) of a model, against its fastest peer."""
    own = results[OURS.name]
    others = {n: r for n, r in results.items() if n != OURS.name and r["samples"]}
    if not own["samples"] or not others:
        return []
    fastest = min(others, key=lambda name: step(others[name]))
    quickest = min(others, key=lambda name: begin(others[name]))
    ratio = step(own) / step(others[fastest])
    start = begin(own) / begin(others[quickest])
    bar = TASKS[model].step_bar
    return [
        (f"{model}: step / best peer ({fastest})", ratio, bar, ratio <= bar),
        (f"{model}: start / best peer ({quickest})", start, START_BAR, start <= START_BAR),
    ]


def scaling_verdict(results):
    """Returns the same of the speed-up from one worker to two."""
    alone = results["1 worker"]
    rows = []
    for backend, bar in SCALING_BARS.items():
        row = results[f"2 workers, {backend}"]
        if row["samples"] and alone["samples"]:
            found = step(alone) / step(row)
            rows.append((f"{SCALING_MODEL}: speed-up, {backend}", found, bar, found >= bar))
    return rows


def step(row):
    """Returns the median milliseconds of a step, over all workers and rounds."""
    return statistics.median(row["samples"])


def begin(row):
    """Returns the median seconds from the start of the job to its first step done."""
    return statistics.median(row["starts"])


def parse():
    parser = peers.parser(__doc__.splitlines()[0])
    names = list(TASKS)
    parser.add_argument(
        "--models", type=lambda text: text.split(","), default=names, metavar="A,B",
        help=f"of {','.join(names)} (all)",
    )  # fmt: skip
    parser.add_argument("--starts", type=int, default=3, help="starts of each job (3)")
    parser.add_argument("--backend", default="auto", help="of distflow run (auto)")
    parser.add_argument("--no-scaling", dest="scaling", action="store_false")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.models if name not in TASKS]
    if unknown:
        parser.error(f"not a model: {unknown[0]!r}; there are {names}")
    return arguments


if __name__ == "__main__":
    main()

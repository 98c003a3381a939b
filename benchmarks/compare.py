"""Training steps and inference of five models on distflow, TensorFlow, PyTorch and JAX.

python benchmarks/compare.py --peer tensorflow=tf-venv/bin/python \\
    --peer torch=torch-venv/bin/python --peer jax=jax-venv/bin/python
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import field
import peers
import report
from models import spec
from session import ContestantError, Session

WARM_UP = {"steps": 10, "seconds": 10}


def main():
    arguments = parse()
    interpreters = {"distflow": sys.executable, **dict(arguments.peer)}
    print_host(arguments)
    peers.byte_compile(sys.executable, "distflow")
    results = {}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as caches:
        for model in arguments.models:
            results[model] = compare(model, interpreters, arguments, Path(caches, model))
            report.print_model(model, results[model])
            sys.stdout.flush()
    report.print_verdict(results)
    versions = {
        n: r["version"] for rows in results.values() for n, r in rows.items() if "version" in r
    }
    print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{time.monotonic() - start:.0f} s in all")
    if arguments.json:
        found = {"host": host(arguments), "versions": versions, "models": results}
        Path(arguments.json).write_text(json.dumps(found, indent=1))


def compare(model, interpreters, arguments, caches):
    """Returns {contestant: its measurements} of one model, the contestants taking turns."""
    sessions, results = {}, {}
    try:
        for contestant in field.entered(interpreters, model):
            row = results[contestant.name] = {"troubles": []}
            reason = field.obstacle(contestant)
            if reason is not None:
                row["troubles"].append(reason)
                continue
            open_session = lambda one=contestant: Session(
                interpreters[one.framework], one, model,
                threads=arguments.threads, cache=caches / one.name.replace(" ", "_"),
            )  # fmt: skip
            session = _start(contestant, open_session, row)
            if session is not None:
                sessions[contestant.name] = session
        _take_turns(sessions, results, "train", arguments, "train")
        for batch in spec.SPECS[model].inference if arguments.inference else ():
            _each(sessions, results, lambda one, _, n=batch: one.ask("prepare_inference", batch=n))
            _take_turns(sessions, results, f"infer {batch}", arguments, "infer", batch=batch)
    finally:
        for session in sessions.values():
            session.close()
    return results


def _start(contestant, open_session, row):
    """Returns a warmed-up session; the first start's cache, where there is one, serves the second.

    None if the contestant cannot run the model: its reason is then among the row's troubles.
    """
    session = open_session()
    try:
        first = row["cold"] = session.ask("first")
        if contestant.cache_setting:
            session.close()
            session = open_session()
            row["warm"] = session.ask("first")
        warmed = session.ask("warm_up", **WARM_UP)
    except ContestantError as error:
        row["troubles"].append(_words(error))
        session.close()
        return None
    row["version"] = first["version"]
    row["losses"] = [first["loss"], warmed["loss"]]
    row["loss_steps"] = warmed["steps"]
    row["memory"] = max(first["memory"], warmed["memory"])
    return session


def _take_turns(sessions, results, phase, arguments, do, **options):
    """Times a phase of all sessions, each in its turn, round after round."""

    def turn(session, row):
        samples = session.ask(
            do,
            **options,
            steps=-(-arguments.steps // arguments.rounds),
            seconds=arguments.seconds / arguments.rounds,
        )
        row.setdefault(phase, []).extend(samples)

    for _ in range(arguments.rounds):
        _each(sessions, results, turn)


def _each(sessions, results, action):
    """Gives every session its turn; one that fails leaves the field."""
    for name in list(sessions):
        try:
            action(sessions[name], results[name])
        except ContestantError as error:
            results[name]["troubles"].append(_words(error))
            sessions.pop(name).close()


def _words(error):
    first = str(error).strip().splitlines()[0]
    return f"not there: {first[:200]}"


def parse():
    parser = peers.parser(__doc__.splitlines()[0])

    def option(name, default, text, **how):
        parser.add_argument(name, default=default, help=text, **how)

    names, cores = list(spec.SPECS), len(os.sched_getaffinity(0))
    option("--models", names, f"of {','.join(names)} (all)", type=_models, metavar="A,B")
    option("--steps", 500, "timed steps of a contestant at most, in all rounds (500)", type=int)
    option("--seconds", 2.0, "timed seconds of a contestant at most, in all (2)", type=float)
    option("--threads", cores, "threads and processors of a contestant (all)", type=int)
    option("--no-inference", True, "training only", dest="inference", action="store_false")
    option("--json", None, "also write all samples to FILE", metavar="FILE")
    return parser.parse_args()


def host(arguments):
    """Returns what of the host and the settings the figures depend on."""
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    own = {name: text for name, text in os.environ.items() if name.startswith("DISTFLOW_")}
    return {
        "processor": names[0] if names else platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "load": os.getloadavg()[0],
        "settings": own,
    }


def print_host(arguments):
    found = host(arguments)
    settings = " ".join(f"{name}={text}" for name, text in found["settings"].items())
    print(
        f"{found['processor']}, {found['threads']} of {found['processors']} processors, "
        f"{found['rounds']} rounds, load {found['load']:.1f} before; {settings or 'no settings'}"
    )
    if found["load"] > 0.5:
        print("WARNING: the host is busy; these figures say little.")


def _models(text):
    names = text.split(",")
    unknown = [name for name in names if name not in spec.SPECS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"not a model: {unknown[0]!r}; there are {list(spec.SPECS)}"
        )
    return names


if __name__ == "__main__":
    main()

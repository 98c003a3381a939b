"""Tables of compare.py's results, and the verdict on the bars."""

import statistics

import field
from models import spec

COLD_SECONDS, WARM_SECONDS = 3.0, 0.3  # the most the first call may take, without and with a cache
MEMORY_RATIO = 0.6  # of the lightest peer
START_RATIO = 1 / 3  # of TensorFlow's


def median(result, phase):
    """Returns the median milliseconds of a phase ("train", "infer 1"), None if it was not timed."""
    samples = result.get(phase)
    return statistics.median(samples) if samples else None


def best_peer(results, phase):
    """Returns (milliseconds, name) of the fastest contestant that is not distflow's, or None."""
    peers = [
        (median(result, phase), name)
        for name, result in results.items()
        if name not in (field.OURS, field.OUR_EAGER) and median(result, phase) is not None
    ]
    return min(peers, default=None)


def torch_best(results, phase):
    """Returns the milliseconds of the fastest of torch's ways, or None."""
    times = [median(row, phase) for name, row in results.items() if name.startswith("torch")]
    return min((time for time in times if time is not None), default=None)


def print_model(model, results):
    """Prints the table of one model: a row a contestant."""
    one = spec.SPECS[model]
    phases = ["train"] + [f"infer {batch}" for batch in one.inference]
    print(f"\n## {model}: {one.title}, batch {one.batch}\n")
    heads = ["", "step, ms", "ours / it"]
    for batch in one.inference:
        heads += [f"inference {batch}, ms", "ours / it"]
    heads += ["first call cold, s", "warm, s", "start to trained cold, s", "warm, s"]
    heads += ["memory, MiB", "loss, steps"]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    ours = {phase: median(results.get(field.OURS, {}), phase) for phase in phases}
    for name, row in results.items():
        cells = [name]
        for phase in phases:
            time = median(row, phase)
            cells += [_number(time), _ratio(ours[phase], time)]
        cold, warm = row.get("cold", {}), row.get("warm", {})
        cells += [_number(part.get("first_call")) for part in (cold, warm)]
        cells += [_number(part.get("first_trained")) for part in (cold, warm)]
        cells += [f"{row['memory']:.0f}" if "memory" in row else "", _loss(row)]
        print("| " + " | ".join(cells) + " |")
    times = {phase: torch_best(results, phase) for phase in phases}
    if times["train"] is not None:
        cells = [field.TORCH_BEST]
        for phase in phases:
            cells += [_number(times[phase]), _ratio(ours[phase], times[phase])]
        print("| " + " | ".join(cells) + " |" + " |" * (len(heads) - len(cells)))
    troubles = [f"- {name}: {text}" for name, row in results.items() for text in row["troubles"]]
    if troubles:
        print("\n" + "\n".join(troubles))


def print_verdict(all_results):
    """Prints each bar that can be judged: what was measured, the most it may be, and whether."""
    lines = [line for model, results in all_results.items() for line in verdict(model, results)]
    if not lines:
        return
    print("\n## Bars\n\n| what | measured | at most | |\n| --- | --- | --- | --- |")
    for what, value, most in lines:
        print(f"| {what} | {value:.3g} | {most:.3g} | {'met' if value <= most else 'MISSED'} |")


def verdict(model, results):
    """Returns [(what, measured, at most)] of one model, leaving out what was not measured."""
    lines = []
    own, eager = results.get(field.OURS, {}), results.get(field.OUR_EAGER, {})
    step, best = median(own, "train"), best_peer(results, "train")
    if step is not None and best is not None:
        name = f"{model}: step / best peer ({best[1]})"
        lines.append((name, step / best[0], spec.SPECS[model].bar))
    for batch in spec.SPECS[model].inference:
        step, best = median(own, f"infer {batch}"), best_peer(results, f"infer {batch}")
        if step is not None and best is not None:
            lines.append((f"{model}: inference {batch} / best peer ({best[1]})", step / best[0], 1))
    slow, torch = median(eager, "train"), median(results.get("torch eager", {}), "train")
    if model == "cnn" and slow is not None and torch is not None:
        lines.append((f"{model}: eager step / torch eager", slow / torch, 1))
    for key, most in (("cold", COLD_SECONDS), ("warm", WARM_SECONDS)):
        if key in own:
            lines.append((f"{model}: first call {key}, s", own[key]["first_call"], most))
    memories = {
        name: row["memory"]
        for name, row in results.items()
        if "memory" in row and name not in (field.OURS, field.OUR_EAGER)
    }
    if "memory" in own and memories:
        lightest = min(memories, key=memories.get)
        name = f"{model}: memory / lightest peer ({lightest})"
        lines.append((name, own["memory"] / memories[lightest], MEMORY_RATIO))
    tf = results.get("TF function", {})
    if "cold" in tf:
        for key in ("cold", "warm"):
            if key in own:
                ratio = own[key]["first_trained"] / tf["cold"]["first_trained"]
                lines.append(
                    (f"{model}: start to trained, {key} / TF function", ratio, START_RATIO)
                )
    return lines


def _number(value):
    return "" if value is None else f"{value:.3g}"


def _ratio(ours, other):
    return "" if ours is None or other is None else f"{ours / other:.2f}"


def _loss(row):
    if "losses" not in row:
        return ""
    first, last = row["losses"]
    return f"{first:.3f} → {last:.3f} in {row['loss_steps']}" + (
        "" if last < first else " (does not train)"
    )

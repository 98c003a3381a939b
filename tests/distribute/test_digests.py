"""Digests of weights: equal on all numbers of workers, and `verify` names what differs."""

import json

import numpy as np
import pytest
from distflow_launcher import cli, verify

from distflow.base import errors, flags
from distflow.distribute import MirroredStrategy
from tests.distribute import golden_job
from tests.distribute.workers import on_threads

V, STEPS = golden_job.REPLICAS, 6
VARIABLES = 8 + 1 + 2 + 2 * 6  # weights, seed of Dropout, iteration and rate, Adam's slots


def recorded(folder, world_size, train=lambda s: golden_job.train(s, STEPS), every=1):
    """Trains with digests in a folder; returns what each worker gave."""
    with flags.override(DISTFLOW_DIGEST_DIR=str(folder), DISTFLOW_DIGEST_EVERY=every):
        return on_threads(world_size, V, train)


def said(capsys, first, second):
    code = verify.run(str(first), str(second))
    return code, capsys.readouterr().out


def rewrite(folder, change, rank=0):
    path = folder / f"digests-rank-{rank}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(row) or row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    recorded(folder, 1)
    return folder


def test_runs_on_one_and_three_workers_are_equal(one, tmp_path, capsys):
    hashes = recorded(tmp_path / "three", 3)
    assert len(set(hashes)) == 1
    code, text = said(capsys, one, tmp_path / "three")
    assert code == 0
    assert text.startswith(
        f"equal: {STEPS} steps (1 to {STEPS}), {VARIABLES} variables, {V} replicas"
    )
    assert "on 1 worker and 3 workers" in text


def test_each_worker_writes_its_replicas_and_all_variables(tmp_path):
    recorded(tmp_path, 3)
    replicas = []
    for rank in range(3):
        lines = (tmp_path / f"digests-rank-{rank}.jsonl").read_text().splitlines()
        head, *steps = map(json.loads, lines)
        assert (head["rank"], head["workers"], head["replicas"]) == (rank, 3, V)
        assert len(head["variables"]) == len(steps[0]["variables"]) == VARIABLES
        assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
        replicas += [int(r) for r in steps[0]["replicas"]]
    assert sorted(replicas) == list(range(V))


def test_every_few_steps_only(tmp_path):
    recorded(tmp_path, 1, every=3)
    lines = (tmp_path / "digests-rank-0.jsonl").read_text().splitlines()
    assert [json.loads(line).get("step") for line in lines] == [None, 3, 6]


def test_other_data_is_found_with_its_first_step_variable_and_replica(
    one, tmp_path, capsys, monkeypatch
):
    data = golden_job.data

    def changed():
        images, labels = data()
        # Step 4 (the fourth batch), replica 2 (its rows 12 to 17).
        images[3 * golden_job.BATCH + 13] += 1
        return images, labels

    monkeypatch.setattr(golden_job, "data", changed)
    recorded(tmp_path, 2)
    code, text = said(capsys, one, tmp_path)
    assert code == 1
    assert "first difference: step 4, variable " in text
    assert "conv/kernel" in text
    assert "all are equal in step 3" in text
    assert "replica 2 computed other gradients; the others the same" in text


def test_a_difference_of_the_sum_is_told_from_one_of_a_replica(one, tmp_path, capsys):
    recorded(tmp_path, 1)

    def change(row):
        if row.get("step") == 5:
            row["variables"][3] = "0" * 32

    rewrite(tmp_path, change)
    _, text = said(capsys, one, tmp_path)
    assert "step 5, variable 3" in text
    assert "All replicas computed the same: the sum" in text


def test_a_run_that_disagrees_with_itself_is_named(one, tmp_path, capsys):
    recorded(tmp_path, 2)

    def change(row):
        if row.get("step", 0) >= 2:
            row["variables"][0] = "0" * 32

    rewrite(tmp_path, change, rank=1)
    code, text = said(capsys, one, tmp_path)
    assert code == 1
    assert "disagrees with itself at step 2: digests-rank-1.jsonl" in text


def test_a_line_cut_off_by_death_is_left_out(one, tmp_path, capsys):
    recorded(tmp_path, 1)
    path = tmp_path / "digests-rank-0.jsonl"
    path.write_text(path.read_text()[:-30])
    code, text = said(capsys, one, tmp_path)
    assert code == 0
    assert f"{STEPS - 1} steps" in text


@pytest.mark.parametrize("content", [None, "", "{", '{"format": "x"}\n{}\n'])
def test_what_cannot_be_compared_is_said(one, tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "digests-rank-0.jsonl").write_text(content)
    code, text = said(capsys, one, tmp_path)
    assert code == 64
    assert text.startswith("distflow verify: error: ")


def test_other_replicas_are_not_comparable(one, tmp_path, capsys):
    with flags.override(DISTFLOW_DIGEST_DIR=str(tmp_path)):
        golden_job.train(MirroredStrategy(logical_replicas=2), 2)
    code, text = said(capsys, one, tmp_path)
    assert code == 1
    assert "4 logical replicas" in text


def test_the_command_line_knows_verify(one, capsys):
    assert cli.main(["verify", str(one), str(one)]) == 0
    assert "equal" in capsys.readouterr().out


def test_workers_with_other_weights_stop_at_the_next_digest(tmp_path):
    def work(strategy):
        with strategy.scope():
            model = golden_job.build()
        variable = model.get_layer("dense").kernel

        strategy.run(lambda: None)
        if strategy.worker_rank == 2:
            value = np.array(variable.storage.read())
            value.view(np.uint32)[0, 0] ^= 1  # one bit, as a broken memory would
            variable.storage.restore(value)
        strategy.run(lambda: None)

    results = recorded(tmp_path, 3, work, every=2)
    for error in results:
        assert isinstance(error, errors.NumericMismatchError)
        assert "digest of step 2" in str(error)
        assert "dense/kernel" in str(error)
        assert "rank 0 and 1: " in str(error)
        assert "rank 2: " in str(error)


def test_without_the_flags_nothing_is_digested():
    assert MirroredStrategy(logical_replicas=2)._digests is None

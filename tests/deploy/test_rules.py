"""Mutation tests: each broken manifest is refused, by the rule that it is meant for.

Without them a green run of test_manifests.py would say nothing.
"""

from __future__ import annotations

import dataclasses

import pytest
from distflow_launcher.kubernetes.lint import rules
from distflow_launcher.kubernetes.lint.bundle import Bundle
from distflow_launcher.kubernetes.render import render
from distflow_launcher.kubernetes.spec import SpecError, quantity

from tests.deploy import kustomize, schemas, sources
from tests.deploy.broken import BROKEN, CLAIM, CODE, ELASTIC, Broken
from tests.deploy.specs import SPECS


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken.refused_by}:{broken.fault}")
def test_broken_manifest_is_refused(broken: Broken):
    manifests = broken.manifests()
    if broken.refused_by != "schema":
        assert broken.refused_by in rules.broken(Bundle(manifests))
        return
    crds = sources.crds()
    if crds is None and any(schemas.is_custom(m) for m in manifests):
        pytest.skip("no CRD files: set DISTFLOW_TEST_K8S_CRDS to a folder that holds them")
    for version in schemas.VERSIONS:
        assert [e for m in manifests for e in schemas.errors(m, version, crds)]


@pytest.mark.parametrize(
    "asked", [{}, ELASTIC, CLAIM, CODE, {"tls_secret": "distflow-tls"}, {"metrics_port": 9117}]
)
def test_what_the_mutations_start_from_is_not_refused(asked: dict[str, object]):
    assert rules.broken(Bundle(render(dataclasses.replace(SPECS["job-grpc"], **asked)))) == {}


def test_every_rule_has_a_broken_manifest():
    expected = {rule.name for rule in rules.RULES} | {"schema", rules.SHAPE}
    assert {b.refused_by for b in BROKEN} == expected


def test_rule_names_are_unique():
    names = [rule.name for rule in rules.RULES]
    assert len(set(names)) == len(names)


def test_a_skipped_rule_says_nothing():
    manifests = render(SPECS["job-grpc"])
    operation = {"op": "replace", "path": "/spec/backoffLimit", "value": 0}
    kustomize.apply_operation(manifests[-1], operation)
    assert list(rules.broken(Bundle(manifests))) == ["backoff"]
    assert rules.broken(Bundle(manifests), frozenset({"backoff"})) == {}


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("1", 1), ("1Gi", 2**30), ("256Mi", 2**28), ("2k", 2000)]
)
def test_quantities(text: str, value: float):
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "1 Gi", "1e", "Gi", "1.2.3"])
def test_what_is_no_quantity_is_refused(text: str):
    with pytest.raises(SpecError, match="expected a number and a unit"):
        quantity(text)

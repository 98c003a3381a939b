"""`distflow lint-k8s`: checks the manifests of a job by named rules."""

from __future__ import annotations

import argparse
import sys

from ..arguments import UsageError
from .lint import files, rules
from .lint.bundle import EXTERNAL, Bundle

FOUND = 1

EXAMPLE = """examples:
  distflow submit --k8s -n 4 --image example.com/distflow:0.1.0 train.py \\
      --dry-run -o yaml | distflow lint-k8s -
  distflow lint-k8s deploy/k8s/overlays/job-grpc
  distflow lint-k8s manifests/ --skip network-policy --external Secret/registry

exit code: 0 if nothing was found, 1 if a rule is broken, 64 if there is nothing to check."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the paths and what to leave out."""
    parser.description = (
        "Says what a schema cannot say about the manifests of a distflow job. A file or a folder\n"
        "is checked as one set of objects, as `kubectl apply` would send it; a folder with a\n"
        "kustomization.yaml is rendered first (with kustomize or kubectl)."
    )
    parser.epilog = EXAMPLE
    parser.add_argument("paths", nargs="*", metavar="FILE|DIR|-", help="manifests; -: from stdin")
    parser.add_argument(
        "--skip", action="append", default=[], metavar="RULE", help="do not look at this rule"
    )
    parser.add_argument(
        "--external",
        action="append",
        default=[],
        metavar="KIND/NAME",
        help="an object that is in the cluster already, such as Secret/registry",
    )
    parser.add_argument("--rules", action="store_true", help="list the rules and why they are")


def run(options: argparse.Namespace) -> int:
    """Checks the paths; returns the exit code."""
    if options.rules:
        width = max(len(rule.name) for rule in rules.RULES)
        for rule in sorted(rules.RULES, key=lambda rule: rule.name):
            print(f"{rule.name:{width}}  {rule.why}")
        return 0
    known = {rule.name for rule in rules.RULES}
    unknown = sorted(set(options.skip) - known)
    if unknown or not options.paths:
        what = f"the name of a rule; received {unknown[0]!r}" if unknown else (
            "a FILE, a DIR or -; received none"
        )  # fmt: skip
        raise UsageError(f"expected {what}.")
    number = 0
    for path in options.paths:
        bundle = Bundle(files.read(path), EXTERNAL | frozenset(options.external))
        found = rules.broken(bundle, frozenset(options.skip))
        for name in sorted(found):
            for message in found[name]:
                print(f"{path}: {message} [{name}]")
                number += 1
    if number:
        print(f"distflow lint-k8s: {number} fault(s).", file=sys.stderr)
        return FOUND
    return 0

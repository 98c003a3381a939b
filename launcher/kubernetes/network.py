"""How the pods of a job find each other, and who else may reach them."""

from __future__ import annotations

from typing import Any

from .pods import INSTANCE, NAME
from .spec import Spec

Object = dict[str, Any]

# NodeLocal DNSCache, where the cluster has it.
_NODE_LOCAL_DNS = "169.254.20.10/32"


def service(spec: Spec) -> Object:
    """Returns the Service that gives every pod the name <job>-<index>.<job>.

    It has no cluster IP, as workers connect to each other, and it tells of pods that are not ready:
    workers look each other up while they start.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": spec.name},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {NAME: "distflow", INSTANCE: spec.name},
            "ports": [{"name": "coordinator", "port": spec.port, "targetPort": "coordinator"}],
        },
    }


def network_policy(spec: Spec) -> Object:
    """Returns the policy that lets the job's pods reach each other and DNS, and nothing else.

    Any TCP port, as workers and MPI pick their own.
    """
    own = {"podSelector": {"matchLabels": {NAME: "distflow", INSTANCE: spec.name}}}
    dns = {
        "to": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": _NODE_LOCAL_DNS}}],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": spec.name},
        "spec": {
            **own,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [own]}],
            "egress": [{"to": [own]}, dns],
        },
    }


def disruption_budget(spec: Spec) -> list[Object]:
    """Returns the budget of an elastic job: drains must leave its least number of workers.

    A job of fixed size has none: it restarts all its workers when it loses one, so a budget could
    only block drains. Where the least is all there are, it would block them too.
    """
    if spec.elastic is None or spec.elastic[0] >= spec.workers:
        return []
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": spec.name},
            "spec": {
                # Jobs have no scale subresource: neither a percentage nor maxUnavailable works.
                "minAvailable": spec.elastic[0],
                "selector": {"matchLabels": {NAME: "distflow", INSTANCE: spec.name}},
            },
        }
    ]

"""What a manager may do in its namespace: the role that is shipped, or less of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.real.kubernetes.namespace import Rule

ROLE = Path(__file__).parents[3] / "kubernetes/role.yaml"
# Whose lack costs a drained node's jobs, or has another cluster taken for this one, and is told by `mayfly
# doctor`: nothing else fails.
SPARED = ("poddisruptionbudgets", "namespaces")
CLAIMS = "resourceclaims"  # which pools without claims of devices need none of


def rules(*without: tuple[str, str]) -> list[Rule]:
    """The role's rules, but for some pairs of resource and verb."""
    return [
        {
            **{key: rule[key] for key in ("apiGroups", "resourceNames") if key in rule},
            "resources": [resource],
            "verbs": [verb for verb in rule["verbs"] if (resource, verb) not in without],
        }
        for rule in _rules()
        for resource in rule["resources"]
        if any((resource, verb) not in without for verb in rule["verbs"])
    ]


def each() -> Iterator[tuple[str, str]]:
    """All pairs of resource and verb that cannot be spared."""
    return (pair for pair in _pairs() if pair[0] not in (*SPARED, CLAIMS))


def each_of_claims() -> Iterator[tuple[str, str]]:
    """Those that cannot be spared where devices are claimed, beside these."""
    return (pair for pair in _pairs() if pair[0] == CLAIMS)


def _pairs() -> Iterator[tuple[str, str]]:
    return (
        (resource, verb)
        for rule in _rules()
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )


def _rules() -> list[Rule]:
    documents = yaml.safe_load_all(ROLE.read_text())
    (role,) = [one for one in documents if one["kind"] == "Role"]
    found: list[Rule] = role["rules"]
    return found

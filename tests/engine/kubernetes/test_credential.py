"""When the manager's token ends is what it says itself, and is told before and after."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from mayfly.core.model import Severity
from mayfly.core.token_end import DAY, Credential, credential_conditions
from mayfly.edge.faults import Refused
from mayfly.edge.jwt import end_of
from mayfly.engines.kubernetes.engine import KubernetesEngine
from tests.fakes.kubernetes import NAMESPACE, FakeCluster

Make = Callable[[FakeCluster], KubernetesEngine]


def token(**claims: Any) -> str:
    """One that says this of itself."""
    parts = ({"alg": "RS256"}, claims)
    said = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join((*said, b"c2lnbmVk")).decode()


def of_account(days: float) -> str:
    """As an API server makes one, whatever was asked for."""
    return token(exp=int(time.time() + days * DAY), sub=f"system:serviceaccount:{NAMESPACE}:mayfly")


@pytest.mark.parametrize(
    ("said", "end"),
    [
        (token(exp=1795860009), 1795860009.0),
        (token(exp="soon"), None),
        (token(exp=10**400), None),
        (token(exp=-1), None),
        (token(), None),
        ("secret", None),
        ("a.b.c", None),
        (f"a.{base64.urlsafe_b64encode(b'[' * 9000).decode()}.c", None),
        ("a." + "A" * 70_000 + ".c", None),
    ],
)
def test_an_end_is_what_a_token_says(said: str, end: float | None) -> None:
    assert end_of(said) == end


@pytest.mark.parametrize(
    ("days", "well", "told"),
    [(365, True, "ends in 364 days"), (20, True, "ends in 19 days"), (10, False, "ends in 9 days")],
)
def test_a_doctor_is_told_when_a_token_ends_and_how_another_is_made(
    fake: FakeCluster, engine_of: Make, days: float, well: bool, told: str
) -> None:
    fake.token = of_account(days)
    engine = engine_of(fake)
    (found,) = [one for one in engine.examine() if one.text.startswith("the token in ")]
    assert (found.well, told in found.text) == (well, True)
    kubeconfig = engine.cluster.kubeconfig
    assert found.fix == (
        f"sudo kubectl --kubeconfig {kubeconfig} config set-credentials me "
        f'--token "$(kubectl create token mayfly --namespace {NAMESPACE} --duration 8760h)"'
    )
    known = engine.facts().credential
    assert known is not None
    assert (known.place, known.fix) == (kubeconfig, found.fix)


def test_a_token_that_has_ended_is_told_by_whom_it_fails(
    fake: FakeCluster, engine_of: Make
) -> None:
    fake.token = of_account(-1)
    engine = engine_of(fake)
    fake.token = "another"
    with pytest.raises(Refused, match=r"the token in \S+ has ended \(.*does not know who this is"):
        engine.list()


def test_a_token_that_is_replaced_is_used_by_a_manager_that_runs(
    fake: FakeCluster, engine_of: Make
) -> None:
    engine = engine_of(fake)
    fake.token = of_account(30)
    with pytest.raises(Refused):
        engine.list()
    engine_of(fake)  # writes the kubeconfig anew
    assert engine.list() == ()
    engine.close()


ENDS = 1_000_000.0


@pytest.mark.parametrize(
    ("left", "renewed", "severity"),
    [
        (31 * DAY, False, None),
        (29 * DAY, False, Severity.INFO),
        (13 * DAY, False, Severity.WARNING),
        (2 * DAY, False, Severity.ERROR),
        (-1.0, False, Severity.ERROR),
        (60.0, True, None),
        (-1.0, True, Severity.ERROR),
    ],
)
def test_a_condition_tells_of_it_in_time(
    left: float, renewed: bool, severity: Severity | None
) -> None:
    one = Credential("/etc/mayfly/kubeconfig", ENDS, "type this", renewed)
    found = credential_conditions(one, ENDS - left)
    assert [line.severity for line in found] == ([] if severity is None else [severity])
    assert all(line.fix == "type this" for line in found)


def test_nothing_is_told_where_no_end_is_known() -> None:
    assert credential_conditions(None, ENDS) == []

"""What a doctor is told of a cluster beside Mayfly's rights there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.surroundings import amount
from mayfly.engines.protocol import Finding
from tests.fakes.kubernetes import FakeCluster


@pytest.fixture
def engine(
    fake: FakeCluster, engine_of: Callable[[FakeCluster], KubernetesEngine]
) -> Iterator[KubernetesEngine]:
    one = engine_of(fake)
    yield one
    one.close()


def wrong(engine: KubernetesEngine) -> list[Finding]:
    """What is not well."""
    return [one for one in engine.examine() if not one.well]


def told(engine: KubernetesEngine) -> list[str]:
    return [one.text for one in engine.examine()]


def quota(used: dict[str, str], hard: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": "lab"}, "status": {"used": used, "hard": hard}}


def test_a_cluster_that_is_well_is_told_so(engine: KubernetesEngine) -> None:
    assert wrong(engine) == []
    assert "the API server's clock and this host's agree" in told(engine)
    assert "no quota bounds namespace agents" in told(engine)


@pytest.mark.parametrize(("ahead", "said"), [(60.0, "ahead of"), (-60.0, "behind")])
def test_a_clock_that_is_wrong_is_told_with_how_much(
    fake: FakeCluster, engine: KubernetesEngine, ahead: float, said: str
) -> None:
    fake.ahead = ahead
    (one,) = wrong(engine)
    assert f" s {said} this host's" in one.text
    seconds = float(one.text.partition(" clock is ")[2].partition(" s ")[0])
    assert 55 <= seconds <= 65
    fake.ahead = ahead / 30
    assert wrong(engine) == []


def test_a_quota_that_is_used_up_is_told_with_what_is(
    fake: FakeCluster, engine: KubernetesEngine
) -> None:
    fake.quotas = [quota({"pods": "3", "limits.cpu": "500m"}, {"pods": "4", "limits.cpu": "1"})]
    assert wrong(engine) == []
    assert "quota lab of namespace agents has room" in told(engine)
    fake.quotas = [
        quota({"pods": "3", "limits.memory": "8192Mi"}, {"pods": "4", "limits.memory": "8Gi"})
    ]
    (one,) = wrong(engine)
    assert one.text == "quota lab of namespace agents is used up: limits.memory 8192Mi of 8Gi"
    assert one.fix == "kubectl describe resourcequotas lab --namespace agents"
    fake.fails("GET", "/resourcequotas$", 403, "forbidden", "Forbidden")
    assert any("may not list resourcequotas" in text for text in told(engine))


def test_classes_that_agents_name_and_nobody_has_are_told(
    fake: FakeCluster, engine: KubernetesEngine
) -> None:
    engine.cluster = replace(engine.cluster, pools_runtimes=("gvisor",), priority_class="ci")
    texts = [one.text for one in wrong(engine)]
    assert texts == [
        "there is no runtime class gvisor, so no agent that names it is made; see `security.runtime`",
        (
            "there is no priority class ci, so no agent that names it is made; see "
            "host.kubernetes.priority_class"
        ),
    ]
    fake.classes = {"gvisor", "ci"}
    assert wrong(engine) == []
    assert "there is a runtime class gvisor" in told(engine)
    fake.fails("GET", "/runtimeclasses/", 403, "forbidden", "Forbidden")
    assert any("class gvisor is not seen: Mayfly may not get it" in one for one in told(engine))


def test_an_agent_whose_image_cannot_be_pulled_is_told_in_the_clusters_words(
    fake: FakeCluster, engine: KubernetesEngine
) -> None:
    fake.starts = False
    fake.create({"metadata": {"name": "cpu-0-x"}, "spec": {"containers": [{"name": "agent"}]}})
    assert "of the 1 agents there none waits for its image" in told(engine)
    waiting = {"reason": "ImagePullBackOff", "message": "lab/x:1 not found"}
    fake.pods["cpu-0-x"].document["status"] = {
        "phase": "Pending",
        "containerStatuses": [{"name": "agent", "state": {"waiting": waiting}}],
    }
    (one,) = wrong(engine)
    assert one.text == "pod cpu-0-x does not come to run: ImagePullBackOff: lab/x:1 not found"
    assert one.fix == "kubectl describe pod cpu-0-x --namespace agents"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2", Decimal(2)),
        ("500m", Decimal("0.5")),
        ("8Gi", Decimal(8 * 1024**3)),
        ("1k", Decimal(1000)),
        ("1e3", Decimal(1000)),
        ("", None),
        ("much", None),
        ("1Xi", None),
        ("NaN", None),
    ],
)
def test_an_amount_is_read_as_the_cluster_writes_it(text: str, wanted: Decimal | None) -> None:
    assert amount(text) == wanted

"""GPUs by claims: a slot's agents share one, which is made, kept, replaced and left alone as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.model import ContainerId, DeviceKind, Generation
from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.gate import frame
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.manifest import pod
from mayfly.engines.kubernetes.pods import container_id
from tests.engine.contract import TRUE, World
from tests.fakes.kubernetes import NAMESPACE, FakeCluster
from tests.fakes.kubernetes_claims import uuid_of
from tests.waiting import Until

Claiming = Callable[..., KubernetesEngine]
NEXT = Generation("0m1abcd2efgh4")
THIRD = Generation("0m1abcd2efgh5")


@pytest.fixture
def claiming(fake: FakeCluster, tmp_path: Path) -> Claiming:
    """What makes an engine that claims devices there."""

    def made(**keys: Any) -> KubernetesEngine:
        file = tmp_path / "kubeconfig"
        file.write_text(fake.kubeconfig())
        file.chmod(0o600)
        settings = Cluster(namespace=NAMESPACE, kubeconfig=str(file), start_seconds=5.0)
        keys = {"device_class": "gpu.fake", **keys}
        return KubernetesEngine(replace(settings, **keys), timeout=5)

    return made


@pytest.fixture
def world(claiming: Claiming, tmp_path: Path) -> Iterator[World]:
    made = World(claiming(), tmp_path / "state")
    yield made
    made.close()


def plan_of(world: World) -> AgentPlan:
    """An agent of a slot with two GPUs."""
    return replace(world.plan(), devices=2, slot_key="the slot's")


def following(world: World, plan: AgentPlan, generation: Generation) -> AgentPlan:
    """The next agent of that slot."""
    world.witnesses.make(generation)
    labels = {**plan.labels, "io.mayfly.generation": generation}
    environment = {**plan.environment, "MAYFLY_GENERATION": generation}
    return replace(plan, generation=generation, labels=labels, environment=environment)


def owners(fake: FakeCluster, name: str) -> set[str]:
    """The pods that a claim belongs to."""
    about = fake.claims.there[name]["metadata"]
    return {one["name"] for one in about["ownerReferences"]}


def name_of(container: ContainerId) -> str:
    return container.partition("@")[0]


def test_the_first_agent_of_a_slot_makes_its_claim_and_asks_for_no_counted_device(
    fake: FakeCluster, world: World
) -> None:
    container = world.engine.prepare(plan_of(world))
    (claim,) = fake.claims.there.values()
    assert claim["metadata"]["name"] == name_of(container)
    (request,) = claim["spec"]["devices"]["requests"]
    assert request["exactly"]["deviceClassName"] == "gpu.fake"
    assert request["exactly"]["count"] == 2
    spec = fake.pods[name_of(container)].document["spec"]
    assert spec["containers"][0]["resources"]["claims"] == [{"name": "gpus"}]
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]


def test_the_next_agent_shares_it_and_it_goes_with_the_last(
    fake: FakeCluster, world: World, until: Until
) -> None:
    plan = plan_of(world)
    first = world.engine.prepare(plan)
    second = world.engine.prepare(following(world, plan, NEXT))
    name = name_of(first)
    assert fake.pods[name_of(second)].claim == name
    assert owners(fake, name) == {name, name_of(second)}
    world.engine.remove(first)
    assert set(fake.claims.there) == {name}
    world.engine.remove(second)
    until(lambda: not fake.claims.there)


def test_another_manager_of_the_same_state_goes_on_with_it(
    fake: FakeCluster, world: World, claiming: Claiming
) -> None:
    plan = plan_of(world)
    first = world.engine.prepare(plan)
    later = claiming()
    second = later.prepare(following(world, plan, NEXT))
    assert fake.pods[name_of(second)].claim == name_of(first)


@pytest.mark.parametrize(
    "changed",
    [{"device_selector": "true"}, {"device_class": "gpu.other"}],
    ids=["selector", "class"],
)
def test_a_slot_whose_configuration_has_changed_gets_another(
    fake: FakeCluster, world: World, claiming: Claiming, changed: dict[str, str]
) -> None:
    plan = plan_of(world)
    first = world.engine.prepare(plan)
    second = claiming(**changed).prepare(following(world, plan, NEXT))
    assert fake.pods[name_of(second)].claim == name_of(second)
    assert owners(fake, name_of(first)) == {name_of(first)}


@pytest.mark.parametrize("how", ["copied", "without a seal", "another's"])
def test_what_a_stranger_has_made_is_left_alone(fake: FakeCluster, world: World, how: str) -> None:
    plan = plan_of(world)
    first = world.engine.prepare(plan)
    ours = fake.claims.there.pop(name_of(first))
    seals = {"copied": ours["metadata"]["annotations"], "without a seal": {}}
    about = {
        **ours["metadata"],
        "name": "a-strangers",
        "annotations": seals.get(how, {"io.mayfly.claim": "0" * 32}),
        "ownerReferences": [],
    }
    fake.claims.there["a-strangers"] = {**ours, "metadata": about}
    second = world.engine.prepare(following(world, plan, NEXT))
    assert fake.pods[name_of(second)].claim == name_of(second)
    assert fake.claims.there["a-strangers"]["metadata"]["ownerReferences"] == []


def test_a_strangers_of_the_very_name_is_left_alone_too(fake: FakeCluster, world: World) -> None:
    plan = plan_of(world)
    name = f"{plan.slot}-{plan.generation}"
    fake.claims.there[name] = {"metadata": {"name": name}}
    with pytest.raises(Refused, match="is not Mayfly's"):
        world.engine.prepare(plan)
    assert "ownerReferences" not in fake.claims.there[name]["metadata"]
    assert name not in fake.pods


def test_a_claim_that_is_going_takes_no_agent_with_it(fake: FakeCluster, world: World) -> None:
    plan = plan_of(world)
    first = world.engine.prepare(plan)
    claim = fake.claims.there[name_of(first)]
    fake.fails("PATCH", "/resourceclaims/", 404, "not found", "NotFound")
    with pytest.raises(Passing, match="another is made"):
        world.engine.prepare(following(world, plan, NEXT))
    assert set(fake.pods) == {name_of(first)}
    claim["metadata"]["deletionTimestamp"] = "2026-11-29T12:00:00Z"
    third = world.engine.prepare(following(world, plan, THIRD))
    assert fake.pods[name_of(third)].claim == name_of(third)


def made_and_no_more(world: World, plan: AgentPlan, claim: str) -> ContainerId:
    """A pod whose manager was killed once the cluster had made it."""
    engine = world.engine
    assert isinstance(engine, KubernetesEngine)
    made = engine._api.call("POST", engine._path, "", body=pod(plan, engine.cluster, claim))
    return container_id(made)


def test_an_agent_whose_manager_was_killed_after_its_creation_owns_its_claim_after_the_next_look(
    fake: FakeCluster, world: World, claiming: Claiming, until: Until
) -> None:
    plan = plan_of(world)
    first = world.engine.prepare(plan)
    name = name_of(first)
    second = made_and_no_more(world, following(world, plan, NEXT), name)
    assert owners(fake, name) == {name}
    later = claiming()
    later.witnesses(world.witnesses.root)
    fake.fails("PATCH", "/resourceclaims/", 503, "leader changed")
    later.list()
    assert owners(fake, name) == {name}
    later.list()
    assert owners(fake, name) == {name, name_of(second)}
    asked = sum(call.startswith("PATCH") for call in fake.calls)
    later.list()
    assert sum(call.startswith("PATCH") for call in fake.calls) == asked
    later.remove(first)
    assert set(fake.claims.there) == {name}
    later.remove(second)
    until(lambda: not fake.claims.there)
    later.close()


def test_an_agent_whose_claim_goes_because_it_never_came_to_own_it_gets_no_job(
    fake: FakeCluster, world: World, claiming: Claiming, until: Until
) -> None:
    plan = plan_of(world)
    first = world.engine.prepare(plan)
    name = name_of(first)
    nxt = following(world, plan, NEXT)
    second = made_and_no_more(world, nxt, name)
    until(lambda: fake.pods[name_of(second)].runs)
    fake.claims.there[name]["metadata"]["deletionTimestamp"] = "2026-11-29T12:00:00Z"
    later = claiming()
    later.witnesses(world.witnesses.root)
    later.list()
    with pytest.raises(Passing, match="another is made"):
        later.open(nxt.generation, second, frame(nxt.generation, TRUE))
    assert not any(call.endswith("/attach") for call in fake.calls)
    later.remove(second)
    third = later.prepare(following(world, plan, THIRD))
    assert fake.pods[name_of(third)].claim == name_of(third)
    later.close()


def test_an_agent_that_was_not_made_here_is_given_no_claim(fake: FakeCluster, world: World) -> None:
    plan = plan_of(world)
    name = name_of(world.engine.prepare(plan))
    labels = {**plan.labels, "io.mayfly.generation": NEXT}
    made_and_no_more(world, replace(plan, generation=NEXT, labels=labels), name)
    world.engine.list()
    assert owners(fake, name) == {name}


def test_a_claim_whose_last_owner_goes_while_a_pod_joins_takes_that_pod_with_it(
    fake: FakeCluster, world: World
) -> None:
    plan = plan_of(world)
    first = name_of(world.engine.prepare(plan))
    fake.between = lambda: fake.force_delete(first)
    with pytest.raises(Passing, match="another is made"):
        world.engine.prepare(following(world, plan, NEXT))
    assert fake.pods == {}
    assert fake.claims.there == {}
    third = name_of(world.engine.prepare(following(world, plan, THIRD)))
    assert owners(fake, third) == {third}


def test_what_a_claim_was_given_is_told_by_uuid(fake: FakeCluster, world: World) -> None:
    plan = plan_of(world)
    first = world.engine.prepare(plan)
    second = world.engine.prepare(following(world, plan, NEXT))
    given = (uuid_of(0), uuid_of(1))
    assert {one.id: one.devices for one in world.engine.list()} == {first: given, second: given}


def test_where_mayfly_may_not_read_what_drivers_say_devices_are_told_by_name(
    fake: FakeCluster, world: World
) -> None:
    fake.fails("GET", "/resourceslices", 403, "forbidden", "Forbidden")
    container = world.engine.prepare(plan_of(world))
    seen = world.seen(container)
    assert seen is not None
    assert seen.devices == ("gpu.fake/node-1/gpu-0", "gpu.fake/node-1/gpu-1")


def test_a_bad_moment_of_the_cluster_names_no_device_otherwise(
    fake: FakeCluster, world: World
) -> None:
    fake.fails("GET", "/resourceslices", 503, "leader changed")
    container = world.engine.prepare(plan_of(world))
    for devices in ((), (uuid_of(0), uuid_of(1))):
        seen = world.seen(container)
        assert seen is not None
        assert seen.devices == devices


def test_what_is_known_of_devices_is_told_in_a_bad_moment_and_not_asked_for_again(
    fake: FakeCluster, world: World
) -> None:
    container = world.engine.prepare(plan_of(world))
    world.engine.list()
    waiting = world.engine.prepare(plan_of(world))
    claim = fake.claims.there[name_of(waiting)]
    given = claim.pop("status")
    fake.fails("GET", "/resourceclaims", 503, "leader changed")
    for _ in range(3):
        assert [one.devices for one in world.engine.list() if one.id == container] == [
            (uuid_of(0), uuid_of(1))
        ]
    assert sum("resourceslices" in call for call in fake.calls) == 1
    claim["status"] = given
    seen = world.seen(waiting)
    assert seen is not None
    assert seen.devices == (uuid_of(2), uuid_of(3))


def unwell(fake: FakeCluster, world: World, plan: AgentPlan, code: int = 69) -> ContainerId:
    """An agent of that plan that ended at its gate, as those do whose GPUs do not answer, and is gone."""
    fake.unwell = code
    container = world.engine.prepare(plan)
    fake.unwell = None
    assert world.seen(container)
    world.engine.remove(container)
    return container


def tainted(fake: FakeCluster) -> list[str]:
    return [one["spec"]["deviceSelector"]["device"] for one in fake.taints]


def well(world: World, plan: AgentPlan) -> None:
    """An agent of that plan's image whose devices answer, so that it stands at its gate."""
    container = world.engine.prepare(plan)
    assert world.seen(container)
    assert world.witness(plan).ready is not None


@pytest.mark.parametrize(("code", "devices"), [(69, ["gpu-0", "gpu-1"]), (70, [])])
def test_devices_that_do_not_answer_their_agent_are_tainted_once(
    fake: FakeCluster, world: World, code: int, devices: list[str]
) -> None:
    plan = plan_of(world)
    fake.unwell = code
    container = world.engine.prepare(plan)
    for _ in range(2):
        assert world.seen(container)
    assert tainted(fake) == devices


def test_an_image_that_finds_every_device_sick_costs_its_pool_one_claim(
    fake: FakeCluster, world: World, claiming: Claiming
) -> None:
    unwell(fake, world, plan_of(world))
    unwell(fake, world, plan_of(world))
    again = World(claiming(), world.witnesses.root.parent)
    again.host = world.host
    unwell(fake, again, following(again, plan_of(again), THIRD))
    again.close()
    assert tainted(fake) == ["gpu-0", "gpu-1"]


def test_a_slot_whose_image_has_seen_devices_answer_taints_one_claim_until_a_person_has_looked(
    fake: FakeCluster, world: World
) -> None:
    well(world, plan_of(world))
    plan = plan_of(world)
    unwell(fake, world, plan)
    unwell(fake, world, following(world, plan, NEXT))
    assert tainted(fake) == ["gpu-2", "gpu-3"]
    unwell(fake, world, plan_of(world))
    assert tainted(fake)[2:] == ["gpu-6", "gpu-7"]
    fake.taints.clear()
    unwell(fake, world, following(world, plan, THIRD))
    assert tainted(fake) == ["gpu-8", "gpu-9"]


@pytest.mark.parametrize("status", [503, 429])
def test_a_taint_that_the_cluster_does_not_take_at_once_is_tried_again(
    fake: FakeCluster, world: World, status: int
) -> None:
    fake.fails("POST", "/devicetaintrules", status, "not now")
    unwell(fake, world, plan_of(world))
    world.engine.list()
    assert tainted(fake) == ["gpu-0", "gpu-1"]


def test_where_mayfly_may_not_taint_it_asks_once(fake: FakeCluster, world: World) -> None:
    fake.fails("POST", "/devicetaintrules", 403, "forbidden", "Forbidden")
    unwell(fake, world, plan_of(world))
    world.engine.list()
    assert tainted(fake) == []


def test_a_doctor_is_told_which_devices_wait_for_a_person(fake: FakeCluster, world: World) -> None:
    plan = plan_of(world)
    unwell(fake, world, plan)
    (found,) = [one for one in world.engine.examine() if "until you have looked" in one.text]
    assert not found.well
    assert f"gpu.fake/node-1/gpu-0 (of {plan.slot}; rule mayfly-" in found.text


def test_what_is_tainted_is_told_until_a_person_has_taken_the_rule_away(
    fake: FakeCluster, world: World
) -> None:
    plan = plan_of(world)
    assert world.engine.facts().tainted == ()
    unwell(fake, world, plan)
    found = world.engine.facts().tainted
    assert [(one.device, one.pool, one.slot, one.host) for one in found] == [
        (f"gpu.fake/node-1/gpu-{number}", plan.pool, plan.slot, plan.host) for number in (0, 1)
    ]
    assert [one.rule for one in found] == [one["metadata"]["name"] for one in fake.taints]
    fake.fails("GET", "/devicetaintrules", 503, "leader changed")
    assert world.engine.facts().tainted == found, "what is not known now has not gone"
    fake.taints.clear()
    assert world.engine.facts().tainted == ()


def test_what_mayfly_may_not_list_is_not_told(fake: FakeCluster, world: World) -> None:
    unwell(fake, world, plan_of(world))
    fake.denied = {("list", "devicetaintrules")}
    assert world.engine.facts().tainted == ()


OTHER = DeviceKind(device_class="mig.fake", device_selector="true")
COUNTED = DeviceKind(gpu_resource="nvidia.com/mig-1g.10gb")


@pytest.mark.parametrize(
    ("host", "own", "asked"),
    [
        ({}, OTHER, ("mig.fake", "true")),
        ({"device_class": None}, OTHER, ("mig.fake", "true")),
        ({"device_selector": "false"}, DeviceKind(device_class="mig.fake"), ("mig.fake", None)),
        ({}, DeviceKind(device_selector="true"), ("gpu.fake", "true")),
    ],
)
def test_a_pool_claims_from_a_class_of_its_own(
    fake: FakeCluster,
    claiming: Claiming,
    tmp_path: Path,
    host: dict[str, str | None],
    own: DeviceKind,
    asked: tuple[str, str | None],
) -> None:
    world = World(claiming(**host), tmp_path / "state")
    container = world.engine.prepare(replace(plan_of(world), device_kind=own))
    (claim,) = fake.claims.there.values()
    (request,) = claim["spec"]["devices"]["requests"]
    (one,) = request["exactly"].get("selectors") or [None]
    found = one and one["cel"]["expression"]
    assert (request["exactly"]["deviceClassName"], found) == asked
    assert fake.pods[name_of(container)].claim == name_of(container)
    world.close()


def test_a_pool_counts_its_gpus_where_others_claim_theirs(fake: FakeCluster, world: World) -> None:
    plan = replace(plan_of(world), device_kind=COUNTED)
    container = world.engine.prepare(plan)
    assert fake.claims.there == {}
    spec = fake.pods[name_of(container)].document["spec"]
    assert spec["containers"][0]["resources"]["limits"][COUNTED.gpu_resource] == "2"
    assert [one["key"] for one in spec["tolerations"]] == [COUNTED.gpu_resource]


def test_a_pool_that_claims_where_nobody_can_is_told_so(
    fake: FakeCluster, claiming: Claiming, tmp_path: Path
) -> None:
    fake.has_claims = False
    world = World(claiming(device_class=None), tmp_path / "state")
    with pytest.raises(Refused, match=r"has no resource\.k8s\.io/v1, which `device_class` wants"):
        world.engine.prepare(replace(plan_of(world), device_kind=OTHER))
    assert fake.pods == {}
    world.close()


def test_a_doctor_looks_at_the_kinds_of_all_pools(fake: FakeCluster, claiming: Claiming) -> None:
    engine = claiming(device_class=None, pools_kinds=(OTHER, COUNTED))
    texts = [one.text for one in engine.examine()]
    assert any("device class mig.fake" in text for text in texts)
    assert any(COUNTED.gpu_resource in text for text in texts if COUNTED.gpu_resource)
    fake.denied = {("patch", "resourceclaims")}
    assert any("patch resourceclaims" in one.text for one in engine.examine())
    fake.has_claims = False
    with pytest.raises(Refused, match=r"without resource\.k8s\.io/v1"):
        engine.facts()


@pytest.mark.parametrize(
    ("denied", "well", "said"),
    [
        (set(), True, "are tainted; none is now"),
        ({("list", "devicetaintrules")}, True, "may not list devicetaintrules"),
        ({("create", "devicetaintrules")}, True, "may not create devicetaintrules"),
        ({("patch", "resourceclaims")}, False, "may not patch resourceclaims"),
    ],
)
def test_a_doctor_is_told_what_may_be_done_with_devices(
    fake: FakeCluster, claiming: Claiming, denied: set[tuple[str, str]], well: bool, said: str
) -> None:
    fake.denied = denied
    found = claiming().examine()
    assert any(one.well is well and said in one.text for one in found)


def test_a_cluster_that_gives_no_devices_by_claims_says_so(
    fake: FakeCluster, claiming: Claiming
) -> None:
    assert claiming().facts().capabilities.claims
    fake.has_claims = False
    with pytest.raises(Refused, match=r"without resource\.k8s\.io/v1"):
        claiming().facts()

"""What ought to be, from configuration and host: leases, images, ways in, and what is in the way."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.capabilities import EVERYTHING, Capabilities
from mayfly.core.desire import Hardware, ImageSeen, Survey, desired, fingerprint, references
from mayfly.core.gpu_health import Reading
from mayfly.core.gpus import Gpus
from mayfly.core.leases import Gpu
from mayfly.core.model import (
    GATE_PROTOCOL,
    LABEL_GATE,
    LABEL_PROVIDER,
    Config,
    Desired,
    GpuLabel,
    HostSpec,
    Injection,
    PoolName,
    PoolSpec,
    Registry,
    Removal,
    SlotName,
    SlotSpec,
    Traits,
)
from mayfly.edge.catalogue import catalogue

TRAIT = Traits(embedded=True)
GPUS = (
    Gpu("GPU-a", 0, capability=(9, 0)),
    Gpu("GPU-b", 1, capability=(9, 0)),
    Gpu("GPU-old", 2, capability=(7, 0)),
)
HARDWARE = Hardware(GPUS[:2], (13, 0), catalogue=catalogue())
SEEN = ImageSeen("sha256:1", GATE_PROTOCOL)
CUDA13, CPU = "mayfly/local:cuda13.0", "mayfly/local:cpu"
SURVEY = Survey(images={CUDA13: SEEN, CPU: SEEN}, runtimes=frozenset({"nvidia", "runc"}))


def pool(name: str = "g", **keys: object) -> PoolSpec:
    return PoolSpec(name=PoolName(name), **{"gpus": 1, **keys})  # type: ignore[arg-type]


def config(*pools: PoolSpec) -> Config:
    return Config(HostSpec("box"), pools)


def want(*pools: PoolSpec, survey: Survey = SURVEY, hardware: Hardware = HARDWARE) -> Desired:
    traits = {entry.name: TRAIT for entry in pools}
    return desired(config(*pools), survey, traits, hardware=hardware)


@pytest.mark.parametrize(
    ("lacks", "keys", "told"),
    [
        ("networks", {"gpus": 0}, "gives a pool no network of its own: say `network`"),
        ("networks", {"gpus": 0, "network": "host"}, None),
        ("picks_gpu", {}, "does not let Mayfly say which GPU an agent gets: leave out `gpus`"),
        ("picks_gpu", {"gpus": 0}, None),
        ("sandbox", {"gpus": 0, "sandbox": "slot"}, "for a slot: leave out `sandbox`"),
        ("standby", {"gpus": 0}, None),
    ],
)
def test_what_an_engine_cannot_do_holds_the_pools_that_ask_for_it(
    lacks: str, keys: dict[str, Any], told: str | None
) -> None:
    engine = replace(EVERYTHING, **{lacks: False})  # type: ignore[arg-type]
    found = want(pool(**keys), survey=replace(SURVEY, engine=engine))
    assert {spec.engine for spec in found.slots} == {engine}
    if told is None:
        assert not found.obstacles
    else:
        assert all(told in sentence for sentence in found.obstacles.values())
        assert found.obstacles.keys() == {spec.name for spec in found.slots}


def test_why_an_engine_keeps_no_network_is_told() -> None:
    engine = EVERYTHING.without_sandbox("it is rootless")
    found = want(pool(gpus=0, sandbox="slot"), survey=replace(SURVEY, engine=engine))
    (sentence,) = found.obstacles.values()
    assert sentence.endswith("namespace for a slot, as it is rootless: leave out `sandbox`")


def test_every_capability_is_asked_for_by_somebody_who_decides() -> None:
    root = Path(__file__).parents[2] / "manager/mayfly"
    text = "".join(
        path.read_text()
        for room in ("core", "service")
        for path in sorted((root / room).glob("*.py"))
    )
    # What a restart of the engine costs is told in the engine's own sentence.
    asked = {one.name for one in fields(Capabilities)} - {"outlives_restart"}
    assert {
        name for name in asked if not re.search(rf"(engine|capabilities)\.{name}\b", text)
    } == set()


def test_a_slot_gets_its_lease_its_image_and_its_way_in() -> None:
    found = want(pool(slots=2), pool("c", gpus=0))
    assert not found.obstacles
    assert not found.undetermined
    first, second, plain = found.slots
    assert (first.lease, second.lease, plain.lease) == (("GPU-a",), ("GPU-b",), ())
    assert first.injection == Injection("runtime", ("GPU-a",))
    assert plain.injection is None
    assert (first.reference, plain.reference) == (CUDA13, CPU)
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(
    ("keys", "reference"),
    [
        ({}, "mayfly/local:cuda13.0"),
        ({"cuda": "12.8"}, "mayfly/local:cuda12.8"),
        ({"provider": "azure"}, "mayfly/azure:cuda13.0"),
        ({"image": "ours/own:1"}, "ours/own:1"),
        ({"gpus": 0}, "mayfly/local:cpu"),
        ({"gpus": 0, "provider": "github"}, "mayfly/github:cpu"),
        ({"gpus": 0, "cuda": "12.8"}, "mayfly/local:cuda12.8"),
    ],
)
def test_the_image_is_the_pool_s_own_or_the_newest_that_the_host_takes(
    keys: dict[str, Any], reference: str
) -> None:
    assert references(config(pool(**keys)), HARDWARE) == {reference}


@pytest.mark.parametrize(
    ("embedded", "keys", "unsafe", "removal"),
    [
        (True, {}, False, Removal.MANAGER),  # an embedded job's output is nowhere else
        (True, {"removal": Removal.ENGINE}, False, Removal.ENGINE),
        (False, {}, False, Removal.ENGINE),
        (False, {}, True, Removal.MANAGER),
        (False, {"hold_failed": 60.0}, False, Removal.MANAGER),
        (False, {"removal": Removal.MANAGER}, False, Removal.MANAGER),
    ],
)
def test_who_removes_ended_containers(
    embedded: bool, keys: dict[str, Any], unsafe: bool, removal: Removal
) -> None:
    one = pool(gpus=0, **keys)
    survey = replace(SURVEY, removal_unsafe=unsafe)
    found = desired(config(one), survey, {one.name: Traits(embedded=embedded)}, hardware=HARDWARE)
    assert found.slots[0].removal is removal


def test_the_gpus_of_a_pool_decide_its_image_and_not_those_of_another() -> None:
    mixed = replace(HARDWARE, gpus=GPUS)
    pools = pool("new", gpus=(0,)), pool("old", gpus=(2,))
    assert references(config(*pools), mixed) == {CUDA13, "mayfly/local:cuda12.9"}


def test_a_pin_that_the_driver_does_not_run_holds_its_pool_in_one_sentence() -> None:
    older = replace(HARDWARE, cuda=(12, 4))
    found = want(pool(cuda="12.8"), pool("c", gpus=0), hardware=older)
    survey = replace(SURVEY, images={**SURVEY.images, "mayfly/local:cuda12.8": SEEN})
    found = want(pool(cuda="12.8"), pool("c", gpus=0), survey=survey, hardware=older)
    assert found.obstacles == {
        SlotName(
            "g-0"
        ): 'pool "g": the driver runs CUDA up to 12.4; CUDA 12.8 wants driver 570.26 or newer'
    }


def test_before_nvml_has_answered_slots_with_gpus_are_left_as_they_are() -> None:
    awaits_roster = replace(HARDWARE, gpus=None, cuda=None, unknown="not yet", pending=True)
    found = want(pool(), pool("c", gpus=0), hardware=awaits_roster)
    assert found.undetermined == {SlotName("g-0")}
    assert not found.obstacles


def test_a_driver_that_fails_holds_the_pools_with_gpus_and_says_why() -> None:
    failing = replace(HARDWARE, gpus=None, cuda=None, unknown="no driver")
    found = want(pool(slots=2), pool("c", gpus=0), hardware=failing)
    assert set(found.obstacles) == {"g-0", "g-1"}
    assert all("no driver" in sentence for sentence in found.obstacles.values())
    assert found.slots[-1].reference == CPU


def test_what_is_missing_is_named_with_its_remedy() -> None:
    missing = replace(SURVEY, images={CUDA13: None, CPU: SEEN})
    (sentence,) = want(pool(), survey=missing).obstacles.values()
    assert "`mayfly images build 13.0`" in sentence
    for tag, remedy in (
        ("mayfly/local:wheels", "`mayfly images build wheels`"),
        (
            "mayfly/local:nope",
            "none of those that `mayfly images list` shows",
        ),  # no pull would help
        ("lab/own:1", "`mayfly images pull`"),
    ):
        survey = replace(SURVEY, images={tag: None})
        (sentence,) = want(pool("c", gpus=0, image=tag), survey=survey).obstacles.values()
        assert remedy in sentence
    runtimes = replace(SURVEY, runtimes=frozenset({"runc"}))
    (sentence,) = want(pool(), survey=runtimes).obstacles.values()
    assert "nvidia-ctk runtime configure" in sentence


@pytest.mark.parametrize(
    ("label", "images", "told"),
    [
        (None, None, False),
        ("local", None, False),
        ("github", None, True),
        ("github", "own/x", False),
    ],
)
def test_an_image_with_another_provider_s_launcher_holds_its_pool(
    label: str | None, images: str | None, told: bool
) -> None:
    labels = {LABEL_GATE: GATE_PROTOCOL} | ({LABEL_PROVIDER: label} if label is not None else {})
    seen = ImageSeen.labelled("sha256:1", labels)
    one = replace(pool(gpus=0, image="lab/agent:7"), images=images)
    found = want(one, survey=replace(SURVEY, images={"lab/agent:7": seen})).obstacles.values()
    assert [("lab/agent:7 is for provider github" in sentence) for sentence in found] == [
        True
    ] * told


@pytest.mark.parametrize("label", [LABEL_GATE, LABEL_PROVIDER])
def test_a_label_of_an_image_puts_no_line_to_type_into_our_words(label: str) -> None:
    labels = {LABEL_GATE: GATE_PROTOCOL, label: "9`: `sudo make it so`"}
    seen = ImageSeen.labelled("sha256:1", labels)
    found = want(
        pool(gpus=0, image="lab/agent:1"), survey=replace(SURVEY, images={"lab/agent:1": seen})
    )
    told = set(found.obstacles.values())
    assert told
    assert not [sentence for sentence in told if "`" in sentence or "sudo" in sentence]


def test_another_place_of_a_registry_s_password_is_another_grant() -> None:
    def made(**of: str) -> str:
        registry = Registry("registry.lab", "ci", of)
        (slot,) = want(pool(containers=True, registries=(registry,))).slots
        return slot.fingerprint

    assert made(file="/a") == made(file="/a") != made(file="/b")


def test_another_way_in_is_another_container() -> None:
    cdi = replace(SURVEY, cdi=frozenset({"nvidia.com/gpu=GPU-a"}))
    (before,) = want(pool(), survey=cdi).slots
    (after,) = want(pool(injection="cdi"), survey=cdi).slots
    assert after.injection == Injection("cdi", ("nvidia.com/gpu=GPU-a",))
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(("containers", "replaced"), [(True, True), (False, False)])
def test_an_agent_that_is_told_of_its_builder_is_made_again_for_another(
    containers: bool, replaced: bool
) -> None:
    pools = [
        PoolSpec(PoolName("a"), containers=containers, builder=one)
        for one in (None, "lab/b", "lab/c")
    ]
    told = {fingerprint(one, "id", (), Removal.ENGINE) for one in pools}
    assert len(told) == (3 if replaced else 1)


def test_jobs_at_a_service_may_ask_for_the_gpu_and_the_cuda_that_a_slot_has() -> None:
    named = replace(GPUS[0], name="NVIDIA H100 80GB HBM3")
    hardware = replace(HARDWARE, gpus=(named, GPUS[1]))
    first, second, plain = want(pool(slots=2), pool("c", gpus=0), hardware=hardware).slots
    assert first.labels == ("nvidia-h100-80gb-hbm3", "cuda-13.0")
    assert second.labels == ("cuda-13.0",)
    assert plain.labels == ()


def test_a_slot_that_was_made_for_another_driver_is_made_again() -> None:
    old, new = (
        want(pool(), hardware=replace(HARDWARE, driver=one)).slots[0] for one in ("570.1", "580.1")
    )
    plain, same = (
        want(pool(gpus=0), hardware=replace(HARDWARE, driver=one)).slots[0]
        for one in ("570.1", "580.1")
    )
    assert old.fingerprint != new.fingerprint
    assert plain.fingerprint == same.fingerprint


def test_an_agent_that_waits_at_its_service_is_made_again_for_other_labels() -> None:
    def wanted(*kinds: GpuLabel, embedded: bool) -> SlotSpec:
        spec, hardware = pool(gpu_labels=kinds), replace(HARDWARE, driver="570.1")
        config = Config(HostSpec("h", driver_branches=("580",)), (spec,))
        return desired(
            config, SURVEY, {spec.name: Traits(embedded=embedded)}, hardware=hardware
        ).slots[0]

    few, more = (wanted("count", embedded=False), wanted("count", "driver", embedded=False))
    assert few.labels == ("gpus-1",)
    assert more.labels == ("gpus-1", "driver-570", "driver-570.1", "driver-earliest")
    assert few.fingerprint != more.fingerprint
    here = (wanted("count", embedded=True), wanted("count", "driver", embedded=True))
    assert here[0].fingerprint == here[1].fingerprint


def test_what_is_desired_follows_the_driver_that_nvml_says() -> None:
    gpus = Gpus(catalogue=catalogue()).use_config(config(pool()))
    slots: list[SlotSpec] = []
    for driver in ("570.1", "580.1"):
        gpus = gpus.read(Reading(1.0, 1.1, driver, (13, 0), GPUS[:1]))
        slots += want(pool(gpu_labels=("driver",)), hardware=gpus.hardware).slots
    old, new = slots
    assert (old.labels[:1], new.labels[:1]) == (("driver-570",), ("driver-580",))
    assert old.fingerprint != new.fingerprint

"""GPUs by claims on a real cluster: a slot's agents share one, and hand it over."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.edge.faults import Fault
from mayfly.edge.gate import frame
from mayfly.engines.kubernetes.engine import KubernetesEngine
from tests.engine.contract import World
from tests.harness import until
from tests.real.kubernetes.cluster import CLAIMED_GPUS, IMAGES, PLUGIN_GPUS, Cluster
from tests.real.kubernetes.cluster_manager import ACCOUNT, ClusterManager, pool
from tests.real.kubernetes.lab_settings import DRIVER, NODE, RESOURCE
from tests.real.kubernetes.namespace import Namespace
from tests.real.kubernetes.rights import each_of_claims
from tests.real.kubernetes.test_gate_cuts import JOB, settings

pytestmark = [pytest.mark.real, pytest.mark.kubernetes, pytest.mark.timeout(400)]

RESOURCES = "/apis/resource.k8s.io/v1"
SICK = CLAIMED_GPUS[0]
SICK_IMAGE = "image/that-sees-a-sick:gpu"
DEVICE = "printenv NVIDIA_VISIBLE_DEVICES"
WAITS = "until [ -e /tmp/go ]; do sleep 0.1; done"
POOL = pool(2, "gpus = 1\n")


def claims(space: Namespace) -> list[str]:
    """The claims that there are."""
    path = f"{RESOURCES}/namespaces/{space.name}/resourceclaims"
    return [one["metadata"]["name"] for one in space.cluster.api.get(path)["items"]]


def claiming(cluster: Cluster, selector: str | None = None) -> str:
    """Keys of ``[host.kubernetes]``."""
    keys = f'device_class = "{cluster.device_class()}"\n'
    return keys + (f"device_selector = '{selector}'\n" if selector is not None else "")


def by_uuid(uuid: str) -> str:
    """What selects that GPU."""
    return f'device.attributes["{DRIVER}"].uuid == "{uuid}"'


@pytest.fixture
def gpus(manager: ClusterManager, cluster: Cluster) -> ClusterManager:
    """A manager of two slots with a claimed GPU each, which is not yet started."""
    manager.configure(POOL, cluster=claiming(cluster))
    return manager


@contextmanager
def also_may(space: Namespace, verbs: tuple[str, ...], resource: str) -> Iterator[None]:
    """The manager may do that to the cluster's devices, as docs/how-to/kubernetes.md has it."""
    api, name = space.cluster.api, f"devices-{space.name}"
    roles = "/apis/rbac.authorization.k8s.io/v1"
    rule = {"apiGroups": ["resource.k8s.io"], "resources": [resource], "verbs": [*verbs]}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": space.name}
    api.post(f"{roles}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
    api.post(
        f"{roles}/clusterrolebindings",
        {"metadata": {"name": name}, "roleRef": role, "subjects": [account]},
    )
    try:
        yield
    finally:
        for kind in ("clusterrolebindings", "clusterroles"):
            api.delete(f"{roles}/{kind}/{name}")


@pytest.fixture
def sick_image(cluster: Cluster) -> Iterator[str]:
    """An agent image in which one of the GPUs does not answer."""
    seen = "echo 'GPU 0: none (UUID: '$NVIDIA_VISIBLE_DEVICES')'"
    script = f"[ $NVIDIA_VISIBLE_DEVICES != {SICK} ] || {{ echo fell off; exit 15; }}; {seen}"
    smi = "/usr/local/nvidia/bin/nvidia-smi"
    lines = f"mkdir -p {Path(smi).parent} && printf '%s\\n' '#!/bin/sh' \"{script}\" >{smi}"
    lines = lines.replace("$", "\\$")
    subprocess.run(
        ["docker", "build", "-q", "-t", SICK_IMAGE, "-"],
        input=f"FROM {IMAGES[0]}\nUSER root\nRUN {lines} && chmod 0755 {smi}\n",
        text=True,
        capture_output=True,
        check=True,
    )
    try:
        cluster.load(SICK_IMAGE)
    finally:
        subprocess.run(["docker", "rmi", SICK_IMAGE], capture_output=True, check=False)
    yield SICK_IMAGE
    api = cluster.api
    for one in api.get(f"{RESOURCES}/devicetaintrules")["items"]:
        api.delete(f"{RESOURCES}/devicetaintrules/{one['metadata']['name']}")


def ran(manager: ClusterManager, job: str) -> str:
    """What it printed."""
    row = manager.ended(job)
    assert row["state"] == "succeeded", row
    return manager.output(job).strip()


def test_a_slot_keeps_its_gpu_and_its_standby_stands_ready_on_it(gpus: ClusterManager) -> None:
    with also_may(gpus.space, ("list",), "resourceslices"):
        gpus.start()
        jobs = [gpus.queue("sh", "-c", f"{DEVICE}; {WAITS}") for _ in range(2)]
        first = {str(gpus.started(job)["slot"]): job for job in jobs}
        assert len(first) == 2
        until(lambda: all(gpus.slot(slot)["standby"] for slot in first), "each has a standby")
        assert len(claims(gpus.space)) == 2
        shown = {slot: tuple(gpus.slot(slot)["gpus"]) for slot in first}
        for job in jobs:
            gpus.let_go(job)
        given = {slot: ran(gpus, job) for slot, job in first.items()}
        assert len(set(given.values())) == 2
        assert set(given.values()) <= set(CLAIMED_GPUS)
        assert shown == {slot: (uuid,) for slot, uuid in given.items()}
        for _ in range(2):
            job = gpus.queue("sh", "-c", DEVICE)
            assert ran(gpus, job) == given[gpus.job(job)["slot"]]
        agents = [row for row in gpus.json("history")["agents"] if row["opened"] is not None]
        assert {(row["slot"], *row["gpus"]) for row in agents} == set(given.items())


def test_a_manager_that_was_killed_goes_on_with_the_claims_of_its_slots(
    gpus: ClusterManager,
) -> None:
    gpus.start()
    before = ran(gpus, job := gpus.queue("sh", "-c", DEVICE))
    slot = gpus.job(job)["slot"]
    until(gpus.rests, "every slot is idle again")
    there = claims(gpus.space)
    gpus.kill()
    gpus.start(wait="answer")
    until(gpus.rests, "every slot is idle")
    assert claims(gpus.space) == there
    jobs = [gpus.queue("sh", "-c", f"{DEVICE}; {WAITS}") for _ in range(2)]
    for one in jobs:
        gpus.started(one)
        gpus.let_go(one)
    after = {gpus.job(one)["slot"]: ran(gpus, one) for one in jobs}
    assert after[slot] == before


def test_a_slot_of_another_configuration_gets_another_claim(
    gpus: ClusterManager, cluster: Cluster
) -> None:
    one = pool(1, "gpus = 1\n")
    gpus.configure(one, cluster=claiming(cluster, by_uuid(CLAIMED_GPUS[1])))
    gpus.start()
    assert ran(gpus, gpus.queue("sh", "-c", DEVICE)) == CLAIMED_GPUS[1]
    gpus.kill()
    gpus.configure(one, cluster=claiming(cluster, by_uuid(CLAIMED_GPUS[3])))
    gpus.start(wait="answer")

    def given() -> bool:
        return ran(gpus, gpus.queue("sh", "-c", DEVICE)) == CLAIMED_GPUS[3]

    until(given, "a job has the other GPU")
    until(lambda: len(claims(gpus.space)) == 1, "the former claim is gone", 60)


def test_each_pool_has_gpus_of_its_own_kind(manager: ClusterManager, cluster: Cluster) -> None:
    own = "gpus = 1\n[pool.kubernetes]\n"
    pools = pool(1, "gpus = 1\n", name="claimed")
    pools += pool(1, f'{own}gpu_resource = "{RESOURCE}"\n', name="counted")
    pools += pool(1, f"{own}device_selector = '{by_uuid(CLAIMED_GPUS[2])}'\n", name="chosen")
    manager.configure(pools, cluster=claiming(cluster, by_uuid(CLAIMED_GPUS[0])))
    manager.start()
    given = {
        name: ran(manager, manager.queue("sh", "-c", DEVICE, pool=name))
        for name in ("claimed", "counted", "chosen")
    }
    assert given.pop("counted") in PLUGIN_GPUS
    assert given == {"claimed": CLAIMED_GPUS[0], "chosen": CLAIMED_GPUS[2]}
    assert manager.health() == {}


def test_no_other_slot_works_on_the_gpu_of_a_pod_that_was_deleted_with_force(
    manager: ClusterManager, cluster: Cluster
) -> None:
    one_gpu = claiming(cluster, by_uuid(CLAIMED_GPUS[3]))
    manager.configure(pool(2, "gpus = 1\nstandby = false\n"), cluster=one_gpu)
    manager.start(wait="answer")
    # Its name is its shell's, which the host sees.
    mark = f"works-on-{secrets.token_hex(8)}"
    lost = manager.queue("sh", "-c", "trap '' TERM; while :; do sleep 0.2; done", mark)
    slot = manager.started(lost)["slot"]
    words = ("delete", "pod", manager.pod_of(slot), "--force", "--grace-period=0")
    cluster.kubectl("-n", manager.space.name, *words)
    new = manager.queue("date", "+%s.%N")
    seen, waited = 0.0, False

    def over() -> bool:
        nonlocal seen, waited
        rows = manager.get("/v1/status")["slots"]
        if running(mark):
            seen = time.time()
            # Which of the two slots is given the GPU is the scheduler's to say.
            waited = waited or any(row["phase"] == "idle" and row["gpus"] for row in rows)
        return manager.job(new)["state"] not in ("queued", "running")

    until(over, "the next job has ended", 240)
    assert waited, "an agent stood at its gate on that GPU while they were at work"
    assert seen < float(ran(manager, new))
    assert manager.ended(lost)["state"] == "lost"


def running(mark: str) -> bool:
    """Whether a process of this host has that word among its own."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if mark.encode() in process.read_bytes().split(b"\0"):
                return True
    return False


def test_no_claim_is_left_of_a_pool_that_is_drained(gpus: ClusterManager) -> None:
    gpus.start()
    assert ran(gpus, gpus.queue("sh", "-c", DEVICE)) in CLAIMED_GPUS
    done = gpus.cli("drain", "--all", "--wait", "--timeout", "100")
    assert done.returncode == 0, done.stderr
    until(lambda: not claims(gpus.space), "no claim is left", 60)


def test_a_slot_whose_pod_is_deleted_keeps_its_claim_by_the_standby(gpus: ClusterManager) -> None:
    gpus.configure(pool(1, "gpus = 1\n"), cluster=claiming(gpus.space.cluster))
    gpus.start()
    lost = gpus.queue("sh", "-c", f"{DEVICE}; sleep 600")
    gpus.started(lost)
    until(lambda: gpus.slot("local-0")["standby"], "it has a standby")
    (claim,) = claims(gpus.space)
    space = gpus.space
    space.cluster.api.delete(f"{space.path}/pods/{gpus.pod_of('local-0')}", grace=1)
    assert gpus.ended(lost)["state"] == "lost"
    # (What follows may be that the rest is missing.)
    assert ran(gpus, gpus.queue("sh", "-c", DEVICE)) == gpus.output(lost).splitlines()[0]
    assert claims(space) == [claim]


def lived(world: World) -> None:
    """Two agents of a slot, one after the other, with all that is asked of an engine for their claim."""
    plan = replace(world.plan(), devices=1, slot_key="the slot's")
    world.engine.prepare(plan)
    labels = {**plan.labels, "io.mayfly.generation": "0m1abcd2efgh4"}
    other = replace(world.plan(), slot=plan.slot, devices=1, slot_key="the slot's")
    other = replace(other, labels={**labels, "io.mayfly.generation": other.generation})
    container = world.engine.prepare(other)
    until(lambda: world.witness(other).ready, "it stands at its gate", 10)
    world.engine.open(other.generation, container, frame(other.generation, JOB))
    until(lambda: world.witness(other).exit, "its job has ended", 20)


def world_without(space: Namespace, place: Path, *without: tuple[str, str]) -> World:
    """Agents of a manager with those rights less, whose devices are claimed."""
    keys = replace(settings(space, place, *without), device_class=space.cluster.device_class())
    return World(KubernetesEngine(keys), place)


def test_the_rights_are_enough(space: Namespace, tmp_path: Path) -> None:
    world = world_without(space, tmp_path)
    try:
        lived(world)
        assert len(claims(space)) == 1
    finally:
        world.close()


@pytest.mark.parametrize(("resource", "verb"), [*each_of_claims()])
def test_no_right_can_be_spared(space: Namespace, tmp_path: Path, resource: str, verb: str) -> None:
    world = world_without(space, tmp_path, (resource, verb))
    try:
        with pytest.raises(Fault, match=r"forbidden|cannot"):
            lived(world)
    finally:
        world.close()


def test_no_gate_opens_while_anything_of_the_agent_before_runs(gpus: ClusterManager) -> None:
    gpus.configure(pool(1, "gpus = 1\n"), cluster=claiming(gpus.space.cluster))
    gpus.start()
    # It leaves a process behind that says the time until it is killed.
    script = "setsid sh -c 'while :; do date +%s.%N; done' & sleep 6"
    old, new = gpus.queue("sh", "-c", script), gpus.queue("date", "+%s.%N")
    began = float(ran(gpus, new))
    last = float(ran(gpus, old).splitlines()[-1])
    assert last < began


def test_a_gpu_that_does_not_answer_is_kept_from_the_slots_next_claim(
    manager: ClusterManager, cluster: Cluster, sick_image: str
) -> None:
    either = f"{by_uuid(SICK)} || {by_uuid(CLAIMED_GPUS[1])}"
    manager.configure(pool(1, "gpus = 1\n", image=sick_image), cluster=claiming(cluster, either))
    place = f"{RESOURCES}/devicetaintrules"
    with also_may(manager.space, ("create", "list"), "devicetaintrules"):
        manager.start(wait="answer")
        assert ran(manager, manager.queue("sh", "-c", DEVICE)) == CLAIMED_GPUS[1]
        (rule,) = cluster.api.get(place)["items"]
        assert rule["spec"]["deviceSelector"]["device"] == SICK.lower()
        told = until(lambda: manager.health().get("gpu.tainted"), "it is told", 60)
        assert f"{DRIVER}/{NODE}/{SICK.lower()} did not answer an agent of slot local-0" in told
        cluster.api.delete(f"{place}/{rule['metadata']['name']}")
        until(lambda: "gpu.tainted" not in manager.health(), "it is told no more", 60)
    died = [row for row in manager.json("history")["agents"] if row["opened"] is None]
    assert any("fell off" in str(row["detail"]) for row in died)

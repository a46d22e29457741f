"""The cluster of these tests is a real one: what is proved on it later rests on this."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.model import Generation
from mayfly.edge.gate import frame, words
from tests.harness import until
from tests.real.kubernetes.cluster import CLAIMED_GPUS, GPUS, IMAGES, PLUGIN_GPUS, Cluster
from tests.real.kubernetes.cluster_api import ApiFault
from tests.real.kubernetes.lab_settings import DRIVER, NODE, RESOURCE
from tests.real.kubernetes.namespace import Namespace
from tests.real.kubernetes.node_machine import sweep_up

pytestmark = [pytest.mark.real, pytest.mark.kubernetes, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
CLAIMS = "/apis/resource.k8s.io/v1"


def container(*argv: str, **spec: Any) -> dict[str, Any]:
    """A pod's one container, of the agents' image."""
    return {"name": "one", "image": IMAGES[0], "command": list(argv), **spec}


def ended(space: Namespace, name: str) -> int:
    """The exit code of that pod's container, once it has one."""

    def code() -> list[int]:
        statuses = (space.pod(name) or {"status": {}})["status"].get("containerStatuses", [])
        return [
            row["state"]["terminated"]["exitCode"]
            for row in statuses
            if "terminated" in row["state"]
        ]

    return until(code, f"{name} has ended")[0]


def running(space: Namespace, name: str) -> None:
    """Wait until that pod runs."""
    until(lambda: space.phase(name) == "Running", f"{name} runs")


def _printed(space: Namespace, name: str, line: str) -> bool:
    return space.log(name).strip() == line


def attached(cluster: Cluster, space: Namespace, name: str, data: bytes) -> bytes:
    """What a pod prints that is sent this through ``kubectl attach``."""
    done = subprocess.run(
        [*cluster.kubectl_words(), "-n", space.name, "attach", "-q", "-i", name],
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_pods_get_gpus_of_the_plugin_s_each_another(space: Namespace) -> None:
    limits = {"limits": {RESOURCE: "1"}}
    for name in ("a", "b"):
        space.run(
            name,
            {"containers": [container("printenv", "NVIDIA_VISIBLE_DEVICES", resources=limits)]},
        )
    for name in ("a", "b"):
        assert ended(space, name) == 0
    seen = {space.log(name).strip() for name in ("a", "b")}
    assert seen <= set(PLUGIN_GPUS)
    # the first may have ended before the second was let on the node
    assert seen


def test_a_claim_is_a_gpu_by_its_uuid_and_two_pods_share_it(space: Namespace) -> None:
    wanted = CLAIMED_GPUS[2]
    selector = {"cel": {"expression": f'device.attributes["{DRIVER}"].uuid == "{wanted}"'}}
    api = space.cluster.api
    exactly = {"deviceClassName": space.cluster.device_class(), "selectors": [selector]}
    claim = {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}
    api.post(
        f"{CLAIMS}/namespaces/{space.name}/resourceclaims",
        {"metadata": {"name": "slot"}, "spec": claim},
    )
    script = "echo $NVIDIA_VISIBLE_DEVICES; exec sleep 600"
    one = container("sh", "-c", script, resources={"claims": [{"name": "gpu"}]})
    for name in ("agent", "standby"):
        claims = [{"name": "gpu", "resourceClaimName": "slot"}]
        space.run(name, {"containers": [one], "resourceClaims": claims})
    for name in ("agent", "standby"):
        running(space, name)
        until(partial(_printed, space, name, wanted), f"{name} has {wanted}")


def test_what_is_attached_reaches_a_pod_and_its_end_too(cluster: Cluster, space: Namespace) -> None:
    gate = container("sh", "-c", "echo at the gate; cat; echo after", stdin=True, stdinOnce=True)
    space.run("gate", {"containers": [gate]})
    running(space, "gate")
    attached(cluster, space, "gate", b"a frame\n")
    assert ended(space, "gate") == 0
    assert space.log("gate").split("\n") == ["at the gate", "a frame", "after", ""]


def test_a_launcher_takes_its_frame(cluster: Cluster, space: Namespace) -> None:
    generation = Generation("00000000lab01")
    rooms = [
        {"name": "room", "mountPath": "/run/mayfly"},
        {"name": "witness", "mountPath": "/run/mayfly/w"},
    ]
    agent = {
        "name": "agent",
        "image": IMAGES[0],
        "stdin": True,
        "stdinOnce": True,
        "env": [{"name": "MAYFLY_GENERATION", "value": generation}],
        "volumeMounts": rooms,
    }
    volumes = [
        {"name": "room", "emptyDir": {"medium": "Memory"}},
        {"name": "witness", "emptyDir": {"medium": "Memory"}},
    ]
    space.run("agent", {"containers": [agent], "volumes": volumes})
    until(
        lambda: space.phase("agent") == "Running" and f"at gate {generation}" in space.log("agent"),
        "it waits at its gate",
    )
    job = {"job.argv": words(["sh", "-c", "echo a job; exit 3"]), "job.env": words([])}
    attached(cluster, space, "agent", frame(generation, job))
    assert ended(space, "agent") == 3
    said = space.log("agent").splitlines()
    assert said[0] == f"mayfly: at gate {generation}"
    assert said[-1] == "a job"


def test_an_account_may_do_what_it_was_granted_and_nothing_else(
    space: Namespace, tmp_path: Path
) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    api = space.account("reader", rules, tmp_path / "kubeconfig")
    assert api.get(f"{space.path}/pods")["items"] == []
    with pytest.raises(ApiFault) as caught:
        api.delete(f"{space.path}/pods/none")
    assert caught.value.status == 403
    words = ["--kubeconfig", str(tmp_path / "kubeconfig"), "get", "pods"]
    said = subprocess.run(
        [*space.cluster.kubectl_words()[:-1], *words], capture_output=True, text=True, check=False
    )
    assert said.stderr.strip() == f"No resources found in {space.name} namespace."


def test_an_ill_gpu_is_no_gpu_until_it_is_well(cluster: Cluster) -> None:
    def allocatable() -> str:
        return str(cluster.node()["status"]["allocatable"][RESOURCE])

    cluster.make_ill(PLUGIN_GPUS[1])
    try:
        until(lambda: allocatable() == str(GPUS - 1), "one GPU less is there")
    finally:
        cluster.make_ill()
    until(lambda: allocatable() == str(GPUS), "it is there again")


@pytest.mark.parametrize("part", ["kubelet", "apiserver"])
def test_a_pod_outlives_the_parts_that_started_it(
    cluster: Cluster, space: Namespace, part: str
) -> None:
    space.run("one", {"containers": [container("sleep", "600")]})
    running(space, "one")
    before = space.pod("one")
    ways: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "kubelet": (cluster.kill_kubelet, cluster.start_kubelet),
        "apiserver": (cluster.kill_apiserver, cluster.start_apiserver),
    }
    kill, start = ways[part]
    kill()
    try:
        with pytest.raises(AssertionError):
            cluster.kubectl("-n", space.name, "exec", "one", "--request-timeout=5s", "--", "true")
    finally:
        start()
    cluster.kubectl("-n", space.name, "exec", "one", "--", "true")
    after = space.pod("one")
    assert before is not None
    assert after is not None
    started = [pod["status"]["containerStatuses"][0]["containerID"] for pod in (before, after)]
    assert started[0] == started[1]


def test_a_drained_node_has_no_pods_and_takes_none(cluster: Cluster, space: Namespace) -> None:
    spec = {"containers": [container("sleep", "600")], "terminationGracePeriodSeconds": 1}
    space.run("one", spec)
    running(space, "one")
    try:
        done = cluster.drain()
        assert done.returncode == 0, done.stderr
        assert space.pod("one") is None
        space.run("two", spec)
        until(lambda: "unschedulable" in str(space.pod("two")), "it is told why it waits")
    finally:
        cluster.uncordon()
    running(space, "two")
    assert cluster.node()["metadata"]["name"] == NODE


def test_a_test_run_that_is_killed_leaves_nothing_behind() -> None:
    script = (
        "import time\n"
        "from tests.real.kubernetes.node_machine import NodeMachine\n"
        "with NodeMachine() as machine:\n"
        "    machine.start('sleeper', 'sleep', '600')\n"
        "    print(machine.home, machine.address, flush=True)\n"
        "    time.sleep(600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/manager"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        home, address = owner.stdout.readline().split()
        cgroup = Path("/sys/fs/cgroup/pids") / Path(home).name
        assert Path(home).is_dir()
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()

    def links() -> str:
        return subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout

    until(lambda: address.rpartition(".")[0] not in links(), "its network has ended")
    until(lambda: not _named(home), "its processes have ended")
    sweep_up()
    assert not Path(home).exists()
    assert not cgroup.exists()


def _named(text: str) -> list[str]:
    """The processes whose command line has that text."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (place / "cmdline").read_bytes():
                found.append(place.name)
    return found

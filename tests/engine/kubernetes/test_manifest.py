"""What a plan becomes as a pod, by tables; no cluster is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.actions import Prepare
from mayfly.core.agent_plan import AgentPlan, agent_plan
from mayfly.core.gate_environment import LEADING
from mayfly.core.model import (
    Cache,
    Dataset,
    Generation,
    HostId,
    Limits,
    PoolName,
    PoolSecurity,
    PoolSpec,
    SlotName,
    SlotSpec,
    StopStep,
)
from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Refused
from mayfly.engines.kubernetes.authority import authority_of
from mayfly.engines.kubernetes.manifest import image, pod

GENERATION = Generation("0m1abcd2efgh3")
POOL = PoolSpec(
    PoolName("gpu"),
    limits=Limits(memory=8 * 2**30, cpus=2.5),
    installation_key="key",
)


def plan_of(pool: PoolSpec = POOL) -> AgentPlan:
    spec = SlotSpec(SlotName("gpu-0"), 0, pool, "mayfly/local:cpu", "f")
    action = Prepare(GENERATION, spec, "gpu-0", "a test wants it")
    return agent_plan(action, host=HostId("lab"), witness="/state/agents/x", log_max_size=1)


def pod_of(pool: PoolSpec = POOL, cluster: Cluster = Cluster()) -> dict[str, Any]:  # noqa: B008
    return pod(plan_of(pool), cluster)


def container_of(pool: PoolSpec = POOL, cluster: Cluster = Cluster()) -> dict[str, Any]:  # noqa: B008
    (found,) = pod_of(pool, cluster)["spec"]["containers"]
    return dict(found)


def test_its_name_is_never_given_twice_and_nobody_else_makes_another() -> None:
    about = pod_of()["metadata"]
    assert about["name"] == f"gpu-0-{GENERATION}"
    assert "ownerReferences" not in about
    assert pod_of()["spec"]["restartPolicy"] == "Never"
    assert pod_of()["spec"]["hostname"] == "gpu-0"


def test_its_seal_and_all_that_is_sealed_are_annotations_and_what_is_asked_by_labels() -> None:
    plan, about = plan_of(), pod_of()["metadata"]
    assert plan.labels.items() <= about["annotations"].items()
    assert about["labels"]["io.mayfly.generation"] == GENERATION
    assert "io.mayfly.seal" not in about["labels"]
    assert about["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert about["annotations"]["karpenter.sh/do-not-disrupt"] == "true"


def test_requests_are_limits_so_that_it_is_guaranteed() -> None:
    found = container_of()["resources"]
    assert found["requests"] == found["limits"] == {"cpu": "2500m", "memory": str(8 * 2**30)}


def test_a_limit_of_the_disk_is_one_of_its_node() -> None:
    limits = replace(POOL.limits, disk=2**30)
    found = container_of(replace(POOL, limits=limits))["resources"]
    assert found["limits"]["ephemeral-storage"] == str(2**30)


@pytest.mark.parametrize(
    ("ladder", "seconds"),
    [
        ((), 30),
        ((StopStep("INT", 60.0), StopStep("TERM", 35.0), StopStep("USR2", 5.0)), 40),
        ((StopStep("TERM", 10.0), StopStep("USR2", 5.0)), 30),
    ],
)
def test_who_is_deleted_by_somebody_else_has_the_time_of_its_ladder_from_a_term_on(
    ladder: tuple[StopStep, ...], seconds: int
) -> None:
    spec = SlotSpec(SlotName("gpu-0"), 0, POOL, "mayfly/local:cpu", "f", ladder=ladder)
    action = Prepare(GENERATION, spec, "gpu-0", "a test wants it")
    plan = agent_plan(action, host=HostId("lab"), witness="/state/agents/x", log_max_size=1)
    assert pod(plan, Cluster())["spec"]["terminationGracePeriodSeconds"] == seconds


def test_standard_input_is_once_and_no_terminal() -> None:
    found = container_of()
    assert (found["stdin"], found["stdinOnce"], found["tty"]) == (True, True, False)


def test_it_is_confined_as_far_as_its_launcher_lets_it() -> None:
    found = container_of()["securityContext"]
    assert found["allowPrivilegeEscalation"] is False
    assert found["privileged"] is False
    assert found["capabilities"] == {"drop": ["ALL"], "add": ["SETUID", "SETGID", "KILL", "CHOWN"]}
    assert found["seccompProfile"] == {"type": "RuntimeDefault"}
    spec = pod_of()["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}


@pytest.mark.parametrize(
    ("security", "key", "value"),
    [
        (PoolSecurity(seccomp="unconfined"), "seccompProfile", {"type": "Unconfined"}),
        (PoolSecurity(apparmor="unconfined"), "appArmorProfile", {"type": "Unconfined"}),
        (
            PoolSecurity(apparmor="jobs"),
            "appArmorProfile",
            {"type": "Localhost", "localhostProfile": "jobs"},
        ),
        (PoolSecurity(read_only=True), "readOnlyRootFilesystem", True),
    ],
)
def test_what_a_pool_wants_otherwise(security: PoolSecurity, key: str, value: object) -> None:
    assert container_of(replace(POOL, security=security))["securityContext"][key] == value


def test_a_runtime_is_a_runtime_class_and_name_servers_are_the_pods() -> None:
    pool = replace(POOL, security=PoolSecurity(runtime="gvisor"), dns=("10.0.0.1",))
    spec = pod_of(pool)["spec"]
    assert spec["runtimeClassName"] == "gvisor"
    assert (spec["dnsPolicy"], spec["dnsConfig"]) == ("None", {"nameservers": ["10.0.0.1"]})


def test_gpus_are_a_count_of_the_resource_and_their_taint_is_tolerated() -> None:
    cluster = Cluster(gpu_resource="nvidia.com/mig-1g.10gb")
    pool = replace(POOL, devices=2)
    assert container_of(pool, cluster)["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == "2"
    (toleration,) = pod_of(pool, cluster)["spec"]["tolerations"]
    assert toleration["key"] == "nvidia.com/mig-1g.10gb"
    names = {one["name"] for one in container_of(pool, cluster)["env"]}
    assert "NVIDIA_VISIBLE_DEVICES" not in names, "the device plugin says it"
    assert "NVIDIA_DRIVER_CAPABILITIES" in names


def test_without_gpus_it_sees_none() -> None:
    assert "tolerations" not in pod_of()["spec"]
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in container_of()["env"]


def test_a_pools_authority_is_a_file_of_the_pods_own_that_its_user_can_read() -> None:
    found = pod(plan_of(replace(POOL, ca="/etc/mayfly/lab.pem")), Cluster(), authority="PEM")
    assert found["metadata"]["annotations"]["io.mayfly.ca"] == "PEM"
    (volume,) = [one for one in found["spec"]["volumes"] if "downwardAPI" in one]
    (item,) = volume["downwardAPI"]["items"]
    assert item["fieldRef"]["fieldPath"] == "metadata.annotations['io.mayfly.ca']"
    assert item["mode"] == 0o444
    (container,) = found["spec"]["containers"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == volume["name"]]
    assert (mount["mountPath"], mount["subPath"]) == ("/etc/mayfly/ca.pem", item["path"])
    assert mount["readOnly"] is True
    assert "hostPath" not in str(found)


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"


def test_of_a_file_of_authorities_its_certificates_alone_go_into_a_pod(tmp_path: Path) -> None:
    file = tmp_path / "lab.pem"
    plan = plan_of(replace(POOL, ca=str(file)))
    assert authority_of(plan_of()) is None
    file.write_text(f"# the lab's\n{CERTIFICATE}{KEY}\n{CERTIFICATE}")
    assert authority_of(plan) == 2 * CERTIFICATE
    for text, said in (
        (KEY, "holds no certificate"),
        (CERTIFICATE.replace("MIIB", "M" * 200_000), "a pod takes 131072"),
    ):
        file.write_text(text)
        with pytest.raises(Refused, match=said):
            authority_of(plan)
    file.unlink()
    with pytest.raises(Refused, match="cannot be read: No such file"):
        authority_of(plan)


def test_datasets_and_caches_by_claim_image_and_directory() -> None:
    pool = replace(
        POOL,
        datasets=(
            Dataset("/data/x", "/x"),
            Dataset("pvc:sets/imagenet", "/y"),
            Dataset("image:lab/set:1", "/z"),
        ),
        caches=(Cache("pvc:sets/cache", "/cache"),),
    )
    spec = pod_of(pool)["spec"]
    volumes = {one.pop("name"): one for one in spec["volumes"]}
    mounts = {one["mountPath"]: one for one in spec["containers"][0]["volumeMounts"]}
    assert volumes[mounts["/x"]["name"]] == {"hostPath": {"path": "/data/x", "type": "Directory"}}
    assert volumes[mounts["/y"]["name"]] == {"persistentVolumeClaim": {"claimName": "sets"}}
    assert volumes[mounts["/z"]["name"]]["image"]["reference"] == "lab/set:1"
    assert mounts["/cache"]["name"] == mounts["/y"]["name"], "a pod names a claim once"
    read_only = {place: one.get("readOnly") for place, one in mounts.items()}
    assert (read_only["/x"], read_only["/y"], read_only["/z"]) == (True, True, True)
    assert read_only["/cache"] is False
    assert mounts["/cache"]["subPath"] == "cache"


def test_claims_with_long_names_are_each_a_volume() -> None:
    long = "sets-" + "x" * 70
    names = (f"{long}-a", f"{long}-b")
    pool = replace(POOL, datasets=tuple(Dataset(f"pvc:{one}", f"/{one}") for one in names))
    spec = pod_of(pool)["spec"]
    volumes = {one["name"]: one for one in spec["volumes"]}
    mounts = {one["mountPath"]: one["name"] for one in spec["containers"][0]["volumeMounts"]}
    for one in names:
        assert volumes[mounts[f"/{one}"]]["persistentVolumeClaim"] == {"claimName": one}
        assert len(mounts[f"/{one}"]) <= 63


def test_a_variable_comes_as_it_was_written() -> None:
    """A kubelet replaces $(NAME), and makes one $ of two."""
    found = {
        one["name"]: one["value"]
        for one in container_of(replace(POOL, env={"A": "$(B)$$c"}))["env"]
    }
    assert found["MAYFLY_ENV_A"] == "$$(B)$$$$c"


def test_nothing_of_this_host_is_mounted_and_the_room_is_in_memory() -> None:
    spec = pod_of()["spec"]
    assert not any("hostPath" in one for one in spec["volumes"])
    mounts = {one["mountPath"]: one["name"] for one in spec["containers"][0]["volumeMounts"]}
    volumes = {one["name"]: one for one in spec["volumes"]}
    assert volumes[mounts["/run/mayfly"]]["emptyDir"]["medium"] == "Memory"
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["sizeLimit"] == str(64 * 2**20)


def test_a_pools_variables_bear_other_names_until_nothing_is_roots() -> None:
    pool = replace(POOL, env={"LD_PRELOAD": "/cache/evil.so"})
    found = {one["name"]: one["value"] for one in container_of(pool)["env"]}
    assert found["LD_PRELOAD"] == ""
    assert found["MAYFLY_ENV_LD_PRELOAD"] == "/cache/evil.so"


@pytest.mark.parametrize("devices", [0, 1])
def test_what_an_image_sets_to_lead_a_program_reaches_nothing_of_roots(devices: int) -> None:
    """Nobody sees what it sets: what the pod does not say, the image may."""
    found = {
        one["name"]: one["value"] for one in container_of(replace(POOL, devices=devices))["env"]
    }
    assert {name: found[name] for name in LEADING} == dict.fromkeys(LEADING, "")
    assert set(LEADING) <= set(found["MAYFLY_ENV"].split()), "for a job they are not there at all"
    driver = "/usr/local/nvidia/lib:/usr/local/nvidia/lib64" if devices else ""
    assert found["MAYFLY_ENV_LD_LIBRARY_PATH"] == driver


@pytest.mark.parametrize(
    ("named", "registry", "wanted"),
    [
        ("mayfly/local:cpu", "registry.lab:5000/ci", "registry.lab:5000/ci/mayfly/local:cpu"),
        ("mayfly/local:cpu", "", "mayfly/local:cpu"),
        ("lab/own:1", "registry.lab", "lab/own:1"),
    ],
)
def test_images_of_mayfly_are_in_the_clusters_registry(
    named: str, registry: str, wanted: str
) -> None:
    assert image(named, Cluster(registry=registry)) == wanted


def test_what_the_cluster_says_of_all_pods() -> None:
    cluster = Cluster(priority_class="ci", service_account="agents", pull_secrets=("lab",))
    spec = pod_of(cluster=cluster)["spec"]
    assert spec["priorityClassName"] == "ci"
    assert spec["serviceAccountName"] == "agents"
    assert spec["imagePullSecrets"] == [{"name": "lab"}]
    assert "priorityClassName" not in pod_of()["spec"]

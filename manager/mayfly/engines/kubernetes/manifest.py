"""An agent as a bare pod: what the API server is asked for.

Pure. A pod's name is never given twice (``SLOT-GENERATION``), since all that is asked of a pod but its
removal is asked by its name. It belongs to no controller: nothing but Mayfly makes another in its place, and
a drain of a node stops at it. Requests are limits, so that a node throws it out last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mayfly.core.agent_plan import ROOM, WITNESS_TARGET, AgentPlan, Mount
from mayfly.core.gate_environment import LEADING, at_gate
from mayfly.core.model import (
    CA_TARGET,
    LABEL_GENERATION,
    LABEL_HOST,
    LABEL_POOL,
    LABEL_SLOT,
    Generation,
    SlotName,
)
from mayfly.edge.cluster import CLAIM, IMAGE, Cluster
from mayfly.engines.kubernetes.authority import ANNOTATION

CONTAINER = "agent"
GPUS = "gpus"  # what a pod, its container and its claim call its devices
MANAGED_BY = "app.kubernetes.io/managed-by"
MAYFLY = "mayfly"
SELECTED = (LABEL_HOST, LABEL_POOL, LABEL_SLOT, LABEL_GENERATION)  # labels, to be asked by
SELECTOR = f"{MANAGED_BY}={MAYFLY},{LABEL_GENERATION}"
ROOM_SIZE = "64Mi"
SHM = 64 * 1024 * 1024  # bytes of /dev/shm where nobody says otherwise
# Who would move a pod to save nodes is asked not to.
STAYS = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}


def pod_name(slot: SlotName, generation: Generation) -> str:
    """What an agent's pod is called, for ever."""
    return f"{slot}-{generation}"


def budget(name: str, uid: str, generation: Generation) -> dict[str, Any]:
    """What lets nobody evict that pod (policy/v1). The cluster removes it with the pod, whose own it is; no
    controller's, for which a drain would go on.
    """
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, "controller": False}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": name,
            "labels": {MANAGED_BY: MAYFLY, LABEL_GENERATION: generation},
            "ownerReferences": [owner],
        },
        "spec": {
            "minAvailable": 1,
            "selector": {"matchLabels": {LABEL_GENERATION: generation}},
        },
    }


def pod(
    plan: AgentPlan, cluster: Cluster, claim: str | None = None, authority: str | None = None
) -> dict[str, Any]:
    """The pod of that plan (core/v1); ``claim``: the one that its devices are of, ``None``: none is;
    ``authority``: the certificates of its pool's `ca`, ``None``: it has none.
    """
    volumes, mounts = _volumes(plan)
    claims = [] if claim is None else [{"name": GPUS, "resourceClaimName": claim}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(plan.slot, plan.generation),
            "labels": {
                MANAGED_BY: MAYFLY,
                **{name: plan.labels.get(name, "") for name in SELECTED},
            },
            # As they are: a label takes neither a list of GPUs nor much text.
            "annotations": {
                **plan.labels,
                **STAYS,
                **({} if authority is None else {ANNOTATION: authority}),
            },
        },
        "spec": _without_nothing(
            {
                "restartPolicy": "Never",
                "hostname": plan.slot,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "serviceAccountName": cluster.service_account,
                "priorityClassName": cluster.priority_class,
                "imagePullSecrets": [{"name": name} for name in cluster.pull_secrets],
                "runtimeClassName": plan.security.runtime,
                # Where somebody else deletes the pod; who stands at a gate needs none of it.
                "terminationGracePeriodSeconds": plan.stop_grace,
                "securityContext": {
                    "seccompProfile": _seccomp(plan),
                    "supplementalGroups": [int(group) for group in plan.security.groups],
                },
                **_names(plan),
                **({"tolerations": [_toleration(plan, cluster)]} if plan.devices else {}),
                "containers": [_container(plan, cluster, mounts, claimed=claim is not None)],
                "resourceClaims": claims,
                "volumes": volumes,
            }
        ),
    }


def _without_nothing(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None and value != []}


def _container(
    plan: AgentPlan, cluster: Cluster, mounts: list[dict[str, Any]], *, claimed: bool
) -> dict[str, Any]:
    own = {**plan.environment, "MAYFLY_ACCOUNT": "printed"}
    if plan.devices:
        own["MAYFLY_GPUS"] = str(plan.devices)
    # Nobody sees what the image sets. What would lead root's programs is empty; the pool's reaches the job.
    unseen = dict.fromkeys(LEADING, "")
    if plan.devices:
        unseen["LD_LIBRARY_PATH"] = _DRIVER
    environment = at_gate(own, plan.variables, unseen)
    size = _resources(plan, cluster, claimed=claimed)
    return {
        "name": CONTAINER,
        "image": image(plan.image, cluster),
        "imagePullPolicy": cluster.pull,
        "stdin": True,
        # False would never let the gate see the end of what is written (facts of 1.20 and 1.37).
        "stdinOnce": True,
        "tty": False,
        "env": [
            {"name": name, "value": _literal(value or "")}
            for name, value in environment.items()
            if name not in _ITS_DEVICES or not plan.devices
        ],
        "resources": {
            "requests": size,
            "limits": size,
            **({"claims": [{"name": GPUS}]} if claimed else {}),
        },
        "securityContext": _security(plan),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts,
    }


def _literal(value: str) -> str:
    """So that it reaches the container as it is: a kubelet replaces $(NAME), and makes one $ of two."""
    return value.replace("$", "$$")


# Where some clusters put the driver, and what CUDA's own images say: for the job.
_DRIVER = "/usr/local/nvidia/lib:/usr/local/nvidia/lib64"
# What a device plugin, or a driver of claims, says itself in a container that it gives devices.
_ITS_DEVICES = frozenset({"NVIDIA_VISIBLE_DEVICES"})


def image(named: str, cluster: Cluster) -> str:
    """Where nodes find it: what is called mayfly/… is in the cluster's registry."""
    ours = named.startswith("mayfly/") and cluster.registry
    return f"{cluster.registry.rstrip('/')}/{named}" if ours else named


def _resources(plan: AgentPlan, cluster: Cluster, *, claimed: bool) -> dict[str, str]:
    limits = plan.limits
    found = {}
    if limits.cpus is not None:
        found["cpu"] = f"{round(limits.cpus * 1000)}m"
    if limits.memory is not None:
        found["memory"] = str(limits.memory)
    if limits.disk is not None:
        found["ephemeral-storage"] = str(limits.disk)
    if plan.devices and not claimed:
        found[_counted(plan, cluster)] = str(plan.devices)
    return found


def _security(plan: AgentPlan) -> dict[str, Any]:
    """All of Pod Security's "restricted" but that the launcher is root, with four capabilities: it becomes
    the job's user, and must be able to do what a job cannot.
    """
    security = plan.security
    said: dict[str, Any] = {
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": False,
        "allowPrivilegeEscalation": security.new_privileges,
        "readOnlyRootFilesystem": security.read_only,
        "capabilities": {"drop": ["ALL"], "add": list(security.capabilities)},
        "seccompProfile": _seccomp(plan),
    }
    if security.apparmor is not None:
        said["appArmorProfile"] = (
            {"type": "Unconfined"}
            if security.apparmor == "unconfined"
            else {"type": "Localhost", "localhostProfile": security.apparmor}
        )
    return said


def _seccomp(plan: AgentPlan) -> dict[str, str]:
    confined = plan.security.seccomp != "unconfined"
    return {"type": "RuntimeDefault" if confined else "Unconfined"}


def _names(plan: AgentPlan) -> dict[str, Any]:
    if not plan.network.dns:
        return {}
    return {"dnsPolicy": "None", "dnsConfig": {"nameservers": list(plan.network.dns)}}


def _toleration(plan: AgentPlan, cluster: Cluster) -> dict[str, str]:
    """Nodes with devices are tainted by the name of the resource, where they are for these pods alone."""
    return {"key": _counted(plan, cluster), "operator": "Exists", "effect": "NoSchedule"}


def _counted(plan: AgentPlan, cluster: Cluster) -> str:
    """As what its devices are counted, where they are."""
    return cluster.kind(plan.device_kind).gpu_resource or cluster.gpu_resource


def _volumes(plan: AgentPlan) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pod's volumes, and where its container has them."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []

    def add(name: str, source: dict[str, Any], **place: Any) -> None:
        if all(one["name"] != name for one in volumes):
            volumes.append({"name": name, **source})
        mounts.append({"name": name, **place})

    add("room", _memory(ROOM_SIZE), mountPath=ROOM)
    shm = plan.limits.shm if plan.limits.shm is not None else SHM
    add("shm", _memory(str(shm)), mountPath="/dev/shm")  # noqa: S108  of the container
    for number, (target, options) in enumerate(plan.tmpfs.items()):
        if target != ROOM:
            add(f"memory-{number}", _memory(_size(options)), mountPath=target)
    # The volume of each volume claim: a pod names one once, whatever is mounted where.
    volume_claims: dict[str, str] = {}
    for number, mount in enumerate(plan.mounts):
        if mount.target == WITNESS_TARGET:
            continue  # of this host; what its launcher writes there comes by the pod's status
        source, place = _source(mount) if mount.target != CA_TARGET else _AUTHORITY
        name = f"mount-{number}"
        if mount.source.startswith(CLAIM):
            name = volume_claims.setdefault(source["persistentVolumeClaim"]["claimName"], name)
        add(name, source, mountPath=mount.target, **place)
    return volumes, mounts


# Its own annotation, as the file that it is on a box.
_AUTHORITY: tuple[dict[str, Any], dict[str, Any]] = (
    {
        "downwardAPI": {
            "items": [
                {
                    "path": "ca.pem",
                    "mode": 0o444,
                    "fieldRef": {"fieldPath": f"metadata.annotations['{ANNOTATION}']"},
                }
            ]
        }
    },
    {"subPath": "ca.pem", "readOnly": True},
)


def _source(mount: Mount) -> tuple[dict[str, Any], dict[str, Any]]:
    """The volume that a mount comes from, and what the mount says of it."""
    if mount.source.startswith(CLAIM):
        claim, _, beneath = mount.source.removeprefix(CLAIM).partition("/")
        place: dict[str, Any] = {"readOnly": mount.read_only}
        if beneath:
            place["subPath"] = beneath
        return {"persistentVolumeClaim": {"claimName": claim}}, place
    if mount.source.startswith(IMAGE):
        reference = mount.source.removeprefix(IMAGE)
        return {"image": {"reference": reference, "pullPolicy": "IfNotPresent"}}, {"readOnly": True}
    return {"hostPath": {"path": mount.source, "type": "Directory"}}, {"readOnly": mount.read_only}


def _memory(size: str | None) -> dict[str, Any]:
    return {"emptyDir": {"medium": "Memory", **({"sizeLimit": size} if size else {})}}


def _size(options: str) -> str | None:
    """What mount(8) is told of the size; ``None``: nothing."""
    return next(
        (one.removeprefix("size=") for one in options.split(",") if one.startswith("size=")), None
    )

"""The claim of devices that is a slot's lease, where a cluster gives devices so (resource.k8s.io/v1).

All agents of a slot use one claim, so that a standby stands ready on the very devices that another works on,
and a slot keeps its devices from one agent to the next. A claim has its users' pods for owners: the cluster
removes it with the last of them, when nobody holds it and it is no lease any more. So none is left behind,
whatever becomes of the manager.

Its name is that of the first pod that used it, and never given twice: a kubelet may remember another of that
name. What it asks for is part of its seal, so a slot whose configuration has changed gets another.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.model import LABEL_HOST, LABEL_POOL, LABEL_SLOT, ContainerId
from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Passing, Refused
from mayfly.engines.kubernetes.api import Api
from mayfly.engines.kubernetes.manifest import GPUS, MANAGED_BY, MAYFLY
from mayfly.engines.kubernetes.pods import claim_of, container_id
from mayfly.engines.protocol import Gone, NameTaken

GROUP = "/apis/resource.k8s.io/v1"
KIND = "resourceclaims"
SEAL = "io.mayfly.claim"  # an annotation
OF = (LABEL_HOST, LABEL_POOL, LABEL_SLOT)
Device = tuple[str, str, str]  # its driver, pool and name
MERGE = "application/strategic-merge-patch+json"


class ClaimLost(Passing):
    """The claim of a pod is gone, or goes."""


def wanted(plan: AgentPlan, cluster: Cluster) -> bool:
    """Whether that agent's devices are claimed."""
    return bool(plan.devices) and cluster.kind(plan.device_kind).device_class is not None


def spec(plan: AgentPlan, cluster: Cluster) -> dict[str, Any]:
    """What the claim of that agent's slot asks for."""
    kind = cluster.kind(plan.device_kind)
    exactly: dict[str, Any] = {
        "deviceClassName": kind.device_class,
        "allocationMode": "ExactCount",
        "count": plan.devices,
    }
    if kind.device_selector is not None:
        exactly["selectors"] = [{"cel": {"expression": kind.device_selector}}]
    return {"devices": {"requests": [{"name": GPUS, "exactly": exactly}]}}


def seal(plan: AgentPlan, name: str, asked: Mapping[str, Any]) -> str:
    """What only this installation can write on the claim of that name for that slot."""
    told = "\0".join((name, json.dumps(asked, sort_keys=True)))
    return hmac.new(plan.slot_key.encode(), told.encode(), hashlib.sha256).hexdigest()[:32]


def claim(plan: AgentPlan, cluster: Cluster, owner: Mapping[str, Any]) -> dict[str, Any]:
    """The claim that begins with the pod ``owner``."""
    name, asked = str(owner["name"]), spec(plan, cluster)
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "name": name,
            "labels": {MANAGED_BY: MAYFLY, **{label: plan.labels.get(label, "") for label in OF}},
            "annotations": {SEAL: seal(plan, name, asked)},
            "ownerReferences": [dict(owner)],
        },
        "spec": asked,
    }


def _allocated(one: Mapping[str, Any]) -> tuple[Device, ...]:
    allocation = (one.get("status") or {}).get("allocation") or {}
    return tuple(
        (str(result.get("driver")), str(result.get("pool")), str(result.get("device")))
        for result in (allocation.get("devices") or {}).get("results") or ()
    )


class Claims:
    """The claims of a namespace; may be used from any thread."""

    def __init__(self, api: Api, cluster: Cluster) -> None:
        self._api = api
        self._cluster = cluster
        self._given: Mapping[str, tuple[str, ...]] = {}  # of those that were looked at last
        self._held: set[ContainerId] = set()  # pods that are known to own the claims that they use
        self._path = f"{GROUP}/namespaces/{cluster.namespace}/{KIND}"

    def of_slot(self, plan: AgentPlan) -> str | None:
        """The slot's claim by name, as this agent wants it; ``None``: it has none, or one that goes."""
        asked = spec(plan, self._cluster)
        labels = {MANAGED_BY: MAYFLY, **{label: plan.labels.get(label, "") for label in OF}}
        query = {"labelSelector": ",".join(f"{name}={value}" for name, value in labels.items())}
        doing = f"looking for the claim of {plan.slot}"
        try:
            said = self._api.call("GET", self._path, doing, query=query)
        except Gone:
            raise Refused(
                f"{doing}: this cluster has no resource.k8s.io/v1, which `device_class` wants: leave that "
                "out, or see for 1.34 or newer"
            ) from None
        ours = [
            str(about["name"])
            for about in (one.get("metadata") or {} for one in said.get("items") or ())
            if not about.get("deletionTimestamp")
            and hmac.compare_digest(
                str((about.get("annotations") or {}).get(SEAL, "")).encode(),
                seal(plan, str(about["name"]), asked).encode(),
            )
        ]
        return max(ours, default=None)

    def devices(self, names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """What those claims were given, as far as it is known: UUIDs where Mayfly may read what drivers say
        of their devices (resourceslices), else DRIVER/POOL/DEVICE. A claim that is used keeps what it has.
        """
        if frozenset(names) <= self._given.keys():
            return self._given
        try:
            found = {name: devices for name, devices in self._all().items() if devices}
            uuids = self._uuids() if found.keys() - self._given.keys() else {}
        except Passing:
            return self._given  # the next look tries again
        self._given = {
            name: self._given.get(name)
            or tuple(sorted(uuids.get(device, "/".join(device)) for device in devices))
            for name, devices in found.items()
        }
        return self._given

    def allocated(self, name: str) -> tuple[Device, ...]:
        """What that claim has now; nothing where there is no such claim."""
        return self._all().get(name, ())

    def _all(self) -> dict[str, tuple[Device, ...]]:
        query = {"labelSelector": f"{MANAGED_BY}={MAYFLY}"}
        said = self._api.call("GET", self._path, "looking at claims", query=query)
        return {
            str((one.get("metadata") or {}).get("name")): _allocated(one)
            for one in said.get("items") or ()
        }

    def _uuids(self) -> Mapping[Device, str]:
        """What drivers say of their devices; nothing where Mayfly may not read it, or nobody has it."""
        found: dict[Device, str] = {}
        try:
            said = self._api.call("GET", f"{GROUP}/resourceslices", "looking at devices")
        except (Refused, Gone):
            return found
        for told in (one.get("spec") or {} for one in said.get("items") or ()):
            place = str(told.get("driver")), str((told.get("pool") or {}).get("name"))
            for device in told.get("devices") or ():
                uuid = ((device.get("attributes") or {}).get("uuid") or {}).get("string")
                if uuid:
                    found[(*place, str(device.get("name")))] = str(uuid)
        return found

    def hold(self, plan: AgentPlan, pod: Mapping[str, Any]) -> None:
        """Have that pod own the claim that it uses, which is made where the pod is its first; ``Passing``
        where the claim is going, and the pod with it.
        """
        about = pod["metadata"]
        name, doing = claim_of(pod) or "", f"claiming devices for {plan.slot}"
        owner = {"apiVersion": "v1", "kind": "Pod", "name": about["name"], "uid": about["uid"]}
        if name == about["name"]:
            try:
                self._api.call("POST", self._path, doing, body=claim(plan, self._cluster, owner))
            except NameTaken:
                if self.of_slot(plan) != name:
                    raise Refused(
                        f"{doing}: claim {name} is not Mayfly's; remove it, or leave it: the next agent has "
                        "another name"
                    ) from None
                # (An earlier try came through.)
            else:
                self._held.add(container_id(pod))
                return
        self._own(name, owner, doing)
        self._held.add(container_id(pod))

    def held(self, pod: Mapping[str, Any]) -> bool:
        """Whether that pod is known to own the claim that it uses, or uses none."""
        return claim_of(pod) is None or container_id(pod) in self._held

    def hold_again(self, pod: Mapping[str, Any]) -> None:
        """The same for a pod of this installation whose manager may have ended before it had come to that.
        A claim without it would go with the slot's other agents, and the slot's devices with it.
        """
        about, name = pod["metadata"], claim_of(pod) or ""
        owner = {"apiVersion": "v1", "kind": "Pod", "name": about["name"], "uid": about["uid"]}
        self._own(name, owner, f"claiming devices for pod {about['name']}")
        self._held.add(container_id(pod))

    def forget(self, pods: Collection[ContainerId]) -> None:
        """All but those are gone."""
        self._held.intersection_update(pods)

    def _own(self, name: str, owner: Mapping[str, Any], doing: str) -> None:
        body = {"metadata": {"ownerReferences": [owner]}}
        try:
            now = self._api.call("PATCH", f"{self._path}/{name}", doing, body=body, kind=MERGE)
        except Gone as gone:
            raise ClaimLost(f"{doing}: the slot's claim is gone; another is made") from gone
        about = now.get("metadata") or {}
        if about.get("deletionTimestamp"):
            raise ClaimLost(f"{doing}: the slot's claim is going; another is made")

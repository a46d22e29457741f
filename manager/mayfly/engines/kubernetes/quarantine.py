"""Devices that did not answer are tainted: the cluster gives them to nobody until a person has looked.

That is a rule of the cluster's (DeviceTaintRule of resource.k8s.io/v1), and to make one no right that Mayfly
needs: where it may not, or the cluster has none, a claim that is made anew may get the same device, and
`mayfly doctor` says so. Only devices by claims are told apart by name; those that are counted are their
plugin's to take out. Whoever has seen to the device removes the rule.

An image whose own nvidia-smi is broken finds every device sick, so what is tainted is bounded: the devices of
one claim a slot, and of one claim a pool while no agent of that image has seen any device answer. The bound
is the rule's name, which a cluster gives once: it holds whoever runs the manager, and ends with the rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from mayfly.core.model import LABEL_HOST, LABEL_POOL, LABEL_SLOT, HostId, PoolName, SlotName
from mayfly.core.tainted_devices import TaintedDevice
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.engines.kubernetes.api import Api
from mayfly.engines.kubernetes.claims import GROUP, Claims, Device
from mayfly.engines.kubernetes.manifest import MANAGED_BY, MAYFLY
from mayfly.engines.kubernetes.pods import PodEnd, claim_of, image_of
from mayfly.engines.protocol import Gone, NameTaken

KIND = "devicetaintrules"
TAINT = "io.mayfly/unwell"
NO_ANSWER = 69  # what a gate ends with whose GPUs do not answer (agents/gpus)
OURS = {"labelSelector": f"{MANAGED_BY}={MAYFLY}"}
OF_POOL = (LABEL_HOST, LABEL_POOL)
OF_SLOT = (*OF_POOL, LABEL_SLOT)
Rule = dict[str, Any]


def rule(device: Device, labels: Mapping[str, str], bound: tuple[str, ...], number: int) -> Rule:
    """What keeps new pods from that device, the claim's ``number``-th; who works on it goes on. ``bound``: of
    whom it is the one claim, as labels.
    """
    driver, pool, name = device
    whose = "\0".join(labels.get(label, "") for label in bound)
    said = hashlib.sha256(whose.encode()).hexdigest()[:16]
    about = {label: labels[label] for label in OF_SLOT if labels.get(label)}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceTaintRule",
        "metadata": {"name": f"mayfly-{said}-{number}", "labels": {MANAGED_BY: MAYFLY, **about}},
        "spec": {
            "deviceSelector": {"driver": driver, "pool": pool, "device": name},
            "taint": {"key": TAINT, "effect": "NoSchedule"},
        },
    }


def tainted_of(one: Mapping[str, Any]) -> TaintedDevice:
    """What a rule says."""
    about = one.get("metadata") or {}
    device = (one.get("spec") or {}).get("deviceSelector") or {}
    labels = about.get("labels") or {}
    return TaintedDevice(
        "/".join(str(device.get(part)) for part in ("driver", "pool", "device")),
        str(about.get("name")),
        HostId(str(labels.get(LABEL_HOST, ""))),
        PoolName(str(labels.get(LABEL_POOL, ""))),
        SlotName(str(labels.get(LABEL_SLOT, ""))),
    )


class Quarantine:
    """Taints what agents have found sick; may be used from any thread."""

    def __init__(self, api: Api, claims: Claims) -> None:
        self._api = api
        self._claims = claims
        self._answered: set[str] = set()  # the images whose agents have seen devices answer
        self._tried: set[str] = set()  # the claims whose devices were seen to
        self._due: dict[
            str, tuple[Rule, ...]
        ] = {}  # what of a claim's the cluster did not take yet
        self._known: tuple[TaintedDevice, ...] = ()

    def knows(self, pod: Mapping[str, Any]) -> bool:
        """Whether nothing new is learnt by that agent's coming to its gate."""
        return claim_of(pod) is None or image_of(pod) in self._answered

    def answered(self, pod: Mapping[str, Any]) -> None:
        """Its claimed devices have answered: it stands at its gate."""
        self._answered.add(image_of(pod))

    def look(self, pod: Mapping[str, Any], end: PodEnd) -> None:
        """Taint the devices of an agent that ended at its gate because they do not answer; once a claim."""
        claim, died = claim_of(pod), end.account.died
        if claim is None or died is None or died[0] != NO_ANSWER or end.account.opened:
            return
        if claim in self._tried:
            return
        self._tried.add(claim)
        try:
            devices = self._claims.allocated(claim)
        except Fault:
            self._tried.discard(claim)  # the next look tries again
            return
        labels = (pod.get("metadata") or {}).get("labels") or {}
        bound = OF_SLOT if image_of(pod) in self._answered else OF_POOL
        rules = tuple(rule(one, labels, bound, number) for number, one in enumerate(devices))
        self._taint(claim, rules, first=True)

    def again(self) -> None:
        """Try once more what the cluster did not take in a bad moment."""
        for claim, rules in tuple(self._due.items()):
            self._taint(claim, rules, first=False)

    def rules(self) -> tuple[TaintedDevice, ...]:
        """What is tainted now, and whose agent found it so; nothing where Mayfly may not list that."""
        try:
            said = self._api.call("GET", f"{GROUP}/{KIND}", "looking at taints", query=OURS)
        except Passing as fault:
            if not isinstance(fault, Gone):
                return self._known  # the next look tries again
            said = {}
        except Refused:
            said = {}
        self._known = tuple(map(tainted_of, said.get("items") or ()))
        return self._known

    def _taint(self, claim: str, rules: tuple[Rule, ...], *, first: bool) -> None:
        """``first``: none of them was tried, so that one that is there is another claim's."""
        self._due.pop(claim, None)
        for number, one in enumerate(rules):
            device = "/".join(one["spec"]["deviceSelector"].values())
            try:
                self._api.call("POST", f"{GROUP}/{KIND}", f"tainting {device}", body=one)
            except NameTaken:
                if first and number == 0:
                    return  # what was tainted before waits for a person
            except Refused:
                return  # Mayfly may not, which the doctor says
            except Passing:
                self._due[claim] = rules[number:]
                return

"""Devices that did not answer are tainted: the cluster gives them to nobody until a person has looked.

That is a rule of the cluster's (DeviceTaintRule of resource.k8s.io/v1), and to make one no right that Mayfly
needs: where it may not, or the cluster has none, a claim that is made anew may get the same device, and
`mayfly doctor` says so. Only devices by claims are told apart by name; those that are counted are their
plugin's to take out. Whoever has seen to the device removes the rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from mayfly.edge.faults import Fault
from mayfly.engines.kubernetes.api import Api
from mayfly.engines.kubernetes.claims import GROUP, Claims, Device
from mayfly.engines.kubernetes.manifest import MANAGED_BY, MAYFLY
from mayfly.engines.kubernetes.pods import PodEnd, claim_of

KIND = "devicetaintrules"
TAINT = "io.mayfly/unwell"
NO_ANSWER = 69  # what a gate ends with whose GPUs do not answer (agents/gpus)


def rule(device: Device) -> dict[str, Any]:
    """What keeps new pods from that device; who works on it goes on."""
    driver, pool, name = device
    number = hashlib.sha256("/".join(device).encode()).hexdigest()[:16]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceTaintRule",
        "metadata": {"name": f"mayfly-{number}", "labels": {MANAGED_BY: MAYFLY}},
        "spec": {
            "deviceSelector": {"driver": driver, "pool": pool, "device": name},
            "taint": {"key": TAINT, "effect": "NoSchedule"},
        },
    }


class Quarantine:
    """Taints what agents have found sick; may be used from any thread."""

    def __init__(self, api: Api, claims: Claims) -> None:
        self._api = api
        self._claims = claims
        self._tried: set[str] = set()  # the claims whose devices were seen to

    def look(self, pod: Mapping[str, Any], end: PodEnd) -> None:
        """Taint the devices of an agent that ended at its gate because they do not answer; once a claim."""
        claim, died = claim_of(pod), end.account.died
        if claim is None or died is None or died[0] != NO_ANSWER or end.account.opened:
            return
        if claim in self._tried:
            return
        self._tried.add(claim)
        try:
            self._taint(self._claims.allocated(claim))
        except Fault:
            self._tried.discard(claim)  # the next look tries again

    def _taint(self, devices: Iterable[Device]) -> None:
        for device in devices:
            with suppress(Fault):  # it is there, or Mayfly may not, which the doctor says
                self._api.call(
                    "POST", f"{GROUP}/{KIND}", f"tainting {'/'.join(device)}", body=rule(device)
                )

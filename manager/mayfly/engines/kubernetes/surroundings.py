"""What a doctor finds of a cluster beside Mayfly's rights: its clock, quotas, the classes that agents name,
and who does not come to run.

None of it is a right that Mayfly needs: what may not be looked at is told as not seen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Fault, Refused
from mayfly.engines.kubernetes.api import Api
from mayfly.engines.kubernetes.manifest import SELECTOR
from mayfly.engines.kubernetes.pods import trouble_of
from mayfly.engines.protocol import Finding, Gone

# seconds by which two clocks may differ; what a server says of its own has whole seconds
APART = 5.0
TOLD = 6  # of what there may be many
# An amount, and its suffixes (k8s.io/apimachinery/pkg/api/resource, "Quantity").
_AMOUNT = re.compile(
    r"([+-]?[0-9]{1,20}(?:\.[0-9]{1,20})?)(?:([eE][+-]?[0-9]{1,2})|([A-Za-z]{1,2}))?"
)
_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{name: Decimal(1000) ** power for power, name in enumerate("kMGTPE", 1)},
    **{f"{name}i": Decimal(1024) ** power for power, name in enumerate("KMGTPE", 1)},
}


def surroundings(api: Api, cluster: Cluster) -> Iterator[Finding]:
    """What there is to find; a ``Fault`` where the API server does not answer."""
    yield _clock(api)
    yield from _quotas(api, cluster.namespace)
    for name in cluster.pools_runtimes:
        path = f"/apis/node.k8s.io/v1/runtimeclasses/{name}"
        yield _named(api, path, "runtime class", name, "`security.runtime`")
    if cluster.priority_class is not None:
        path = f"/apis/scheduling.k8s.io/v1/priorityclasses/{cluster.priority_class}"
        yield _named(
            *(api, path, "priority class", cluster.priority_class, "host.kubernetes.priority_class")
        )
    yield from _unstarted(api, cluster.namespace)


def _clock(api: Api) -> Finding:
    before = time.time()
    there = api.clock()
    after = time.time()
    if there is None:
        return Finding(True, "the API server does not say what time it is there")
    apart = there - after if there > after else min(0.0, there + 1.0 - before)
    if abs(apart) <= APART:
        return Finding(True, "the API server's clock and this host's agree")
    text = (
        f"the API server's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this host's, "
        "so that ends of agents are told at wrong times"
    )
    return Finding(
        False, text, "sudo timedatectl set-ntp true   # on whichever of the two is wrong"
    )


def _quotas(api: Api, namespace: str) -> Iterator[Finding]:
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    try:
        found = api.call("GET", path, "looking at quotas").get("items") or ()
    except Refused:
        text = f"whether a quota bounds namespace {namespace} is not seen: Mayfly may not list resourcequotas"
        yield Finding(True, text)
        return
    except Fault as fault:
        yield Finding(True, f"whether a quota bounds namespace {namespace} is not seen: {fault}")
        return
    if not found:
        yield Finding(True, f"no quota bounds namespace {namespace}")
    for one in found:
        name = (one.get("metadata") or {}).get("name")
        status = one.get("status") or {}
        full = [*_used_up(status.get("used") or {}, status.get("hard") or {})]
        if full:
            text = f"quota {name} of namespace {namespace} is used up: {', '.join(full[:TOLD])}"
            fix = f"kubectl describe resourcequotas {name} --namespace {namespace}"
            yield Finding(False, text, fix)
        else:
            yield Finding(True, f"quota {name} of namespace {namespace} has room")


def _used_up(used: Mapping[str, Any], hard: Mapping[str, Any]) -> Iterator[str]:
    """What of a quota is given away, each with how much."""
    for name, most in hard.items():
        bound, now = amount(most), amount(used.get(name, "0"))
        if bound is not None and now is not None and now >= bound:
            yield f"{name} {used.get(name, '0')} of {most}"


def amount(text: object) -> Decimal | None:
    """What the cluster writes as an amount: 500m, 8Gi, 2, 1e3; ``None``: it is none."""
    said = _AMOUNT.fullmatch(str(text))
    if said is None:
        return None
    suffix = _SUFFIXES.get(said[3] or "")
    return Decimal(said[1] + (said[2] or "")) * suffix if suffix is not None else None


def _named(api: Api, path: str, what: str, name: str, key: str) -> Finding:
    """Whether there is what pods name: without it the API server takes none of them."""
    try:
        api.call("GET", path, f"looking for {what} {name}")
    except Gone:
        kind = path.split("/")[-2]
        text = f"there is no {what} {name}, so no agent that names it is made; see {key}"
        return Finding(False, text, f"kubectl get {kind}")
    except Refused:
        return Finding(True, f"whether there is a {what} {name} is not seen: Mayfly may not get it")
    return Finding(True, f"there is a {what} {name}")


def _unstarted(api: Api, namespace: str) -> Iterator[Finding]:
    """Agents that wait for their image, or for what else a person has to see to."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    try:
        found = api.call("GET", path, "looking at pods", query={"labelSelector": SELECTOR})
    except Refused:
        return  # which is told as a right that is missing
    pods = found.get("items") or ()
    troubles = {
        str((pod.get("metadata") or {}).get("name")): trouble.text
        for pod in pods
        if (trouble := trouble_of(pod)) is not None and trouble.lasting
    }
    for name, text in [*troubles.items()][:TOLD]:
        fix = f"kubectl describe pod {name} --namespace {namespace}"
        yield Finding(False, f"pod {name} does not come to run: {text}", fix)
    if pods and not troubles:
        yield Finding(True, f"of the {len(pods)} agents there none waits for its image")

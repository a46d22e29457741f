"""What a doctor finds of a cluster: the rights that Mayfly has there, and the devices that nodes have.

Only asked, never tried: the API server says itself what somebody may do.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote

from mayfly.core.model import Severity
from mayfly.core.quantities import whole_number
from mayfly.core.token_end import severity_of, told_of
from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Fault, Refused
from mayfly.engines.kubernetes.api import Api
from mayfly.engines.kubernetes.claims import GROUP
from mayfly.engines.kubernetes.credential import credential_of
from mayfly.engines.kubernetes.lease import NAME as LEASE
from mayfly.engines.kubernetes.lines import role
from mayfly.engines.kubernetes.quarantine import KIND as TAINTS
from mayfly.engines.kubernetes.quarantine import OURS, tainted_of
from mayfly.engines.kubernetes.surroundings import surroundings
from mayfly.engines.protocol import Finding, Gone

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# Of the namespace: API group, resource, verb. docs/how-to/kubernetes.md says what for.
NEEDED = (
    *(("", "pods", verb) for verb in ("create", "get", "list", "watch", "delete")),
    ("", "pods/log", "get"),
    *(("", f"pods/{kind}", verb) for kind in ("attach", "exec") for verb in ("get", "create")),
    *(("coordination.k8s.io", "leases", verb) for verb in ("create", "get", "update")),
)
# Where GPUs are claimed.
CLAIMS = tuple(("resource.k8s.io", "resourceclaims", verb) for verb in ("create", "list", "patch"))
OWN = ("", "namespaces", "get")
BUDGETS = ("policy", "poddisruptionbudgets", "create")


def findings(api: Api, cluster: Cluster) -> Iterator[Finding]:
    """What there is to find; a ``Fault`` where the API server does not answer."""
    yield from _kubeconfig(cluster)
    yield from _token(api, cluster)
    missing = [
        f"{verb} {what}"
        for group, what, verb in (*NEEDED, *(CLAIMS if cluster.device_classes else ()))
        if not _may(api, cluster.namespace, group, what, verb)
    ]
    if missing:
        text = f"in namespace {cluster.namespace} Mayfly may not {', '.join(missing)}"
        yield Finding(False, text, role(cluster))
    else:
        yield Finding(True, f"Mayfly has its rights in namespace {cluster.namespace}")
    if not _may(api, cluster.namespace, *BUDGETS):
        text = (
            f"in namespace {cluster.namespace} Mayfly may not create poddisruptionbudgets, so that a drained "
            "node ends the jobs on it"
        )
        yield Finding(False, text, role(cluster))
    if not _may(api, cluster.namespace, *OWN):
        text = (
            f"Mayfly may not get its namespace {cluster.namespace}, so that it would take one of another "
            "cluster for it"
        )
        yield Finding(False, text, role(cluster))
    for name in cluster.device_classes:
        yield _claimed(api, name)
    if cluster.device_classes:
        yield _tainted(api, cluster)
    for name in cluster.gpu_resources:
        yield _devices(api, name)
    yield from surroundings(api, cluster)


def _kubeconfig(cluster: Cluster) -> Iterator[Finding]:
    """Who has it is Mayfly for the cluster, and may run commands in every agent."""
    with suppress(OSError):
        if cluster.kubeconfig is not None:
            mode = stat.S_IMODE(Path(cluster.kubeconfig).stat().st_mode)
            if mode & 0o077:
                text = f"{cluster.kubeconfig} can be read by others (mode {mode:04o})"
                yield Finding(False, text, f"sudo chmod 600 {quote(cluster.kubeconfig)}")


def _token(api: Api, cluster: Cluster) -> Iterator[Finding]:
    """When that by which the cluster knows Mayfly ends."""
    known = credential_of(api.access, cluster)
    if known is None:
        return
    now = time.time()
    text = f"the token in {known.place} {told_of(known.end, now)}"
    if known.renewed:
        yield Finding(known.end > now, f"{text}; somebody else renews it", known.fix)
    else:
        yield Finding(severity_of(known.end, now) in (None, Severity.INFO), text, known.fix)


def _may(api: Api, namespace: str, group: str, what: str, verb: str) -> bool:
    resource, _, beneath = what.partition("/")
    attributes = {"namespace": namespace, "group": group, "resource": resource, "verb": verb}
    if resource == "leases" and verb != "create":  # which has no name when it is judged
        attributes["name"] = LEASE
    if resource == "namespaces":
        attributes["name"] = namespace
    if beneath:
        attributes["subresource"] = beneath
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    said = api.call("POST", REVIEWS, f"asking whether Mayfly may {verb} {what}", body=body)
    return bool((said.get("status") or {}).get("allowed"))


def _claimed(api: Api, name: str) -> Finding:
    """Whether there is that class, and what drivers have; to look at either is no right that Mayfly needs."""
    try:
        api.call("GET", f"{GROUP}/deviceclasses/{name}", "looking at classes of devices")
    except Gone:
        text = f"there is no device class {name}, so no pod gets a GPU; see `device_class`"
        return Finding(False, text, "kubectl get deviceclasses")
    except Refused:
        text = f"whether there is a device class {name} is not seen: Mayfly may not look at classes"
        return Finding(True, text)
    try:
        said = api.call("GET", f"{GROUP}/resourceslices", "looking at devices")
    except Refused:
        text = f"there is a device class {name}; Mayfly may not list resourceslices, so UUIDs are not told"
        return Finding(True, text)
    count = sum(
        len((one.get("spec") or {}).get("devices") or ()) for one in said.get("items") or ()
    )
    return Finding(True, f"there is a device class {name}, and drivers have {count} devices in all")


def _tainted(api: Api, cluster: Cluster) -> Finding:
    """Whether devices that do not answer can be kept from other pods; no right that Mayfly needs."""
    kinds = api.call("GET", GROUP, "asking the API server for claims of devices").get("resources")
    if all(one.get("name") != TAINTS for one in kinds or ()):
        text = f"devices that do not answer are not tainted: this cluster has no {TAINTS}"
        return Finding(True, text)
    if not _may(api, cluster.namespace, "resource.k8s.io", TAINTS, "create"):
        text = f"devices that do not answer are not tainted: Mayfly may not create {TAINTS}"
        return Finding(True, text)
    try:
        said = api.call("GET", f"{GROUP}/{TAINTS}", "looking at taints", query=OURS)
    except Refused:
        text = f"devices that do not answer are tainted; Mayfly may not list {TAINTS}, so those are not told"
        return Finding(True, text, f"kubectl get {TAINTS} --selector {OURS['labelSelector']}")
    found = map(tainted_of, said.get("items") or ())
    rules = [f"{one.device} (of {one.slot or 'a slot'}; rule {one.rule})" for one in found]
    if rules:
        text = f"did not answer an agent, and are given to nobody until you have looked: {'; '.join(rules)}"
        return Finding(False, text, f"kubectl delete {TAINTS} NAME   # once the device is well")
    return Finding(True, "devices that do not answer are tainted; none is now")


def _devices(api: Api, name: str) -> Finding:
    """How many devices the nodes have to give; to look at nodes is no right that Mayfly needs."""
    try:
        said = api.call("GET", "/api/v1/nodes", "looking at the nodes")
    except Refused:
        return Finding(True, f"whether nodes have {name} is not seen: Mayfly may not list nodes")
    except Fault as fault:
        return Finding(True, f"whether nodes have {name} is not seen: {fault}")
    found = [
        whole_number(str(((node.get("status") or {}).get("allocatable") or {}).get(name, "0"))) or 0
        for node in said.get("items") or ()
    ]
    return Finding(True, f"{len(found)} nodes have {sum(found)} {name}")

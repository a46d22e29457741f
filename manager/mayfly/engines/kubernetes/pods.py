"""What the API server says of a pod, as Mayfly's values: whose it is, whether it runs, how it ended and why.

Pure. A pod that nobody can say has ended has not: one on a node that does not answer is said to be
terminating for as long as that lasts, and its processes may run all the while.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mayfly.core import naming
from mayfly.core.container_labels import is_slots, labelled
from mayfly.core.model import Container, ContainerId, ContainerState
from mayfly.core.plain_text import one_line
from mayfly.core.quantities import moment
from mayfly.engines.kubernetes.manifest import CONTAINER, GPUS, pod_name

DELETED = "its pod was deleted"
VANISHED = "its pod was deleted while Mayfly did not look, and how it ended is gone with it"
WITHOUT_WAITING = "its pod was deleted without waiting for its end"
OOM_KILLED = "OOMKilled"
COLLECTED = "DeletionByPodGC"  # pkg/controller/podgc: "PodGC: node no longer exists"
MESSAGE = 4096  # bytes of a termination message that a kubelet keeps, its end
DIED_OF_OOM = 137
# What a kubelet calls a pod that it did not take (pkg/kubelet/lifecycle, and the managers' own).
_REFUSED = re.compile(
    r"UnexpectedAdmissionError|TopologyAffinityError|OutOf\S+|Node\w+|\w+Affinity"
)
_UNPULLED = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
    }
)
_UNMADE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, slots=True)
class Account:
    """What a launcher has said of its agent's end, as its pod's status has it (agents/launch.sh)."""

    opened: bool = False
    signalled: bool = False
    died: tuple[int, str] | None = None  # at the gate: code, and why
    exit: tuple[int, str] | None = None  # code, and how often the kernel killed for memory, or "-"
    signs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PodEnd:
    """That nothing of a pod runs any more, and what is known of how."""

    code: int | None  # None: nobody knows, or its container never ran
    at: float
    account: Account
    why: str = ""  # what the cluster did to it, in its own words; "": it ended by itself
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class PodTrouble:
    """Why a pod does not come to run."""

    text: str
    lasting: bool  # a person has to change something, or it is to be tried seldom


def container_id(pod: Mapping[str, Any]) -> ContainerId:
    """``NAME@UID``: the name to ask by, and which of that name."""
    about = pod.get("metadata") or {}
    return ContainerId(f"{about.get('name', '')}@{about.get('uid', '')}")


def name_and_uid(container: ContainerId) -> tuple[str, str]:
    """What to ask by, and which of that name; empty where it is no pod's."""
    name, found, uid = container.partition("@")
    return (name, uid) if found else ("", "")


def container_of(pod: Mapping[str, Any]) -> Container | None:
    """The agent that it is, or says it is; ``None``: it says no such thing."""
    about = pod.get("metadata") or {}
    labels = {name: str(value) for name, value in (about.get("annotations") or {}).items()}
    if not is_slots(labels):
        return None
    name = str(about.get("name", ""))
    found = labelled(
        labels,
        container=container_id(pod),
        name=name,
        state=_state(pod),
        image=image_of(pod),
        created=seconds(about.get("creationTimestamp")) or 0.0,
    )
    found = replace(found, waits=pull_of(pod))
    if name == pod_name(found.slot, found.generation):
        # The same name in the words of everybody else.
        return replace(found, name=naming.standby(found.slot, found.generation))
    return found


def _state(pod: Mapping[str, Any]) -> ContainerState:
    if has_ended(pod):
        return ContainerState.EXITED
    return ContainerState.RUNNING if "running" in _container_state(pod) else ContainerState.CREATED


def devices_of(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of the counted resource that it asks for its kubelet has given it, in the words of the device
    plugin, which NVIDIA's are UUIDs; nothing where the cluster does not say so (ResourceHealthStatus, on by
    default since 1.36).
    """
    asked = _container_spec(pod).get("resources") or {}
    found = [
        str(device.get("resourceID") or "")
        for one in _container_status(pod).get("allocatedResourcesStatus") or ()
        if "/" in str(one.get("name")) and one.get("name") in (asked.get("limits") or {})
        for device in one.get("resources") or ()
    ]
    return tuple(sorted(device for device in found if device))


def claim_of(pod: Mapping[str, Any]) -> str | None:
    """The claim that its devices are of, by name; ``None``: they are of none."""
    for one in (pod.get("spec") or {}).get("resourceClaims") or ():
        if one.get("name") == GPUS and one.get("resourceClaimName"):
            return str(one["resourceClaimName"])
    return None


def image_of(pod: Mapping[str, Any]) -> str:
    """Its agent's image, as it was asked for."""
    return str(_container_spec(pod).get("image", ""))


def job_may_be_root(pod: Mapping[str, Any]) -> bool:
    """Whether its job may do as root what it wants there (`sudo`)."""
    said = {one.get("name"): one.get("value") for one in _container_spec(pod).get("env") or ()}
    return bool(said.get("MAYFLY_SUDO"))


def _container_spec(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = ((pod.get("spec") or {}).get("containers") or [{}])[0]
    return found


def _status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = pod.get("status") or {}
    return found


def _container_status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    for one in _status(pod).get("containerStatuses") or ():
        if one.get("name") == CONTAINER:
            found: Mapping[str, Any] = one
            return found
    return {}


def _container_state(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _container_status(pod).get("state") or {}
    return found


def runs(pod: Mapping[str, Any]) -> bool:
    """Whether its container runs, as far as is known."""
    return not has_ended(pod) and "running" in _container_state(pod)


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether its kubelet says that nothing of it runs any more, or it never did."""
    if _is_lost(pod):
        return False
    state = _container_state(pod)
    if state:
        # A kubelet that says a pod is over has said so of each container before; a controller that does
        # (pod GC: its node's object is gone, or is out of service) leaves them as they were last seen.
        return "terminated" in state
    return _status(pod).get("phase") in ("Succeeded", "Failed") and not _is_collected(pod)


def _is_lost(pod: Mapping[str, Any]) -> bool:
    """Whether its node does not answer: what is said of it then is a controller's guess."""
    return _status(pod).get("reason") == "NodeLost"


def _is_collected(pod: Mapping[str, Any]) -> bool:
    """Whether it is said to have failed since its node's object is gone: nobody knows what became of it."""
    return any(
        one.get("type") == "DisruptionTarget" and one.get("reason") == COLLECTED
        for one in _status(pod).get("conditions") or ()
    )


def end_of(pod: Mapping[str, Any]) -> PodEnd | None:
    """How it ended; ``None``: it has not, or that is not known."""
    if not has_ended(pod):
        return None
    ended = _container_state(pod).get("terminated") or {}
    code, why = ended.get("exitCode"), why_of(pod)
    at = seconds(ended.get("finishedAt")) or seconds(_deleted(pod)) or 0.0
    return PodEnd(
        code if isinstance(code, int) else None,
        at,
        account_of(_whole_lines(str(ended.get("message") or ""))),
        why,
        ended.get("reason") == OOM_KILLED,
    )


def _whole_lines(message: str) -> str:
    """A message without its first line where it may be the rest of one: what a job has its client say could
    end like a line of the launcher's.
    """
    cut = len(message.encode(errors="replace")) >= MESSAGE
    return message.partition("\n")[2] if cut else message


def _deleted(pod: Mapping[str, Any]) -> object:
    return (pod.get("metadata") or {}).get("deletionTimestamp")


def why_of(pod: Mapping[str, Any]) -> str:
    """What the cluster does or did to it, in its own words; ``""``: nothing."""
    status = _status(pod)
    for one in status.get("conditions") or ():
        if one.get("type") == "DisruptionTarget" and one.get("status") == "True":
            return _words(one.get("reason"), one.get("message"))
    if status.get("reason"):
        return _words(status.get("reason"), status.get("message"))
    if _deleted(pod) is not None:
        return DELETED
    return ""


def refused_by_node(pod: Mapping[str, Any]) -> str | None:
    """Why its node did not take it; ``None``: it did. Such a pod was no agent, and ran nothing."""
    status = _status(pod)
    reason = str(status.get("reason") or "")
    never = status.get("phase") == "Failed" and never_began(pod)
    return _words(reason, status.get("message")) if never and _REFUSED.fullmatch(reason) else None


def never_began(pod: Mapping[str, Any]) -> bool:
    """Whether a pod that has ended has no container that is known to have run, so that it has no log.

    A kubelet that starts again and refuses a pod says of its container that it was not found, with code 137
    and no time.
    """
    ended = _container_state(pod).get("terminated")
    return not _container_status(pod) or (ended is not None and not ended.get("finishedAt"))


def trouble_of(pod: Mapping[str, Any]) -> PodTrouble | None:
    """What keeps a pod from running that has not ended; ``None``: nothing that is told yet."""
    waiting = _container_state(pod).get("waiting") or {}
    reason = waiting.get("reason")
    if reason in _UNPULLED or reason in _UNMADE:
        return PodTrouble(_words(reason, waiting.get("message")), lasting=True)
    for one in _status(pod).get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            return PodTrouble(_words(one.get("reason"), one.get("message")), lasting=False)
    if reason:
        return PodTrouble(_words(reason, waiting.get("message")), lasting=False)
    return None


def pull_of(pod: Mapping[str, Any]) -> str:
    """That its node fetches its image, and what the cluster says of that; ``""``: it does not, as far as is
    known.

    A node that has made a pod's sandbox and volumes (PodReadyToStartContainers, on by default since 1.29)
    has nothing else to do that takes long before its container runs.
    """
    waiting = _container_state(pod).get("waiting") or {}
    made = any(
        one.get("type") == "PodReadyToStartContainers" and one.get("status") == "True"
        for one in _status(pod).get("conditions") or ()
    )
    if has_ended(pod) or not made or not waiting or waiting.get("reason") in _UNMADE:
        return ""
    node = (pod.get("spec") or {}).get("nodeName") or "its node"
    said = _words(waiting.get("reason"), waiting.get("message"))
    return f"{node} pulls {image_of(pod)} ({said})"


def _words(reason: object, message: object) -> str:
    """As the cluster says it, on one line of a sensible length."""
    told = ": ".join(str(one) for one in (reason, message) if one)
    return one_line(told)[:500]


def seconds(stamp: object) -> float | None:
    """RFC 3339 in seconds since the epoch; ``None``: it is no time."""
    return moment(stamp)


_LINE = re.compile(r"(exit|died) ([0-9]{1,3}) ([^\n]{1,300})")


def account_of(text: str) -> Account:
    """What the lines say that the launcher has written; what is no such line says nothing."""
    found = Account()
    for line in text.split("\n"):
        said = _LINE.fullmatch(line)
        if line == "opened":
            found = replace(found, opened=True)
        elif line == "signalled":
            found = replace(found, signalled=True)
        elif line.startswith("sign "):
            found = replace(found, signs=(*found.signs, line.removeprefix("sign ")))
        elif said is not None and said[1] == "exit" and re.fullmatch(r"[0-9]{1,9}|-", said[3]):
            found = replace(found, exit=(int(said[2]), said[3]))
        elif said is not None and said[1] == "died":
            found = replace(found, died=(int(said[2]), said[3]))
    return found

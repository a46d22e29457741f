"""An agent's container in the words of the Engine's API, and what the Engine lists as a container of ours.

Pure. Each option of a create that a key of daemon.json could change is said here. Left to the daemon on
purpose, since whoever set them meant every container of the host: the default runtime, name servers (a pool's
``dns`` comes first), `cgroup-parent`, `userns-remap`, SELinux, and which addresses networks are cut from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mayfly.core.admission.grant import LABEL_BELONGS
from mayfly.core.agent_plan import DRIVER_CAPABILITIES, AgentPlan, Mount
from mayfly.core.container_labels import is_slots, labelled
from mayfly.core.model import Container, ContainerId, Generation, Injection, Ulimit
from mayfly.core.naming import belonging, is_generation
from mayfly.core.seal import bears_its_name
from mayfly.engines.docker.sandbox import READ_ONLY
from mayfly.engines.docker.values import (
    ContainerPlan,
    DeviceRequest,
    Dialect,
    VolumeMount,
    container_state,
)
from mayfly.engines.protocol import Unmeasured

JOINS = "container:"
SHM = 64 * 1024 * 1024  # bytes of /dev/shm where nobody says otherwise
SHARES = 1024  # of a container of which nothing is said
LEAST_SHARES = 2  # the kernel's own
OWN_RUNTIME = "runc"  # every Engine has it, and none lets it be named otherwise


def container_plan(
    plan: AgentPlan,
    network: str,
    env: Mapping[str, str | None],
    seccomp: str | None = None,
    *,
    volumes: tuple[VolumeMount, ...] = (),
    cgroup_parent: str | None = None,
) -> ContainerPlan:
    """The plan as a container of Docker's, in that network, with that environment and seccomp profile."""
    limits, security = plan.limits, plan.security
    way = plan.injection
    joins = plan.network.sandbox is not None
    return ContainerPlan(
        name=plan.name,
        hostname=None if joins else plan.slot,
        image=plan.image,
        labels=plan.labels,
        env=env,
        runtime=_runtime(way, security.runtime),
        device_requests=_device_requests(way),
        mounts=plan.mounts,
        tmpfs=plan.tmpfs,
        memory=limits.memory,
        cpus=limits.cpus,
        pids=limits.pids,
        shm=limits.shm,
        ulimits=security.ulimits,
        seccomp=seccomp,
        apparmor=security.apparmor,
        read_only=security.read_only,
        cpuset=security.cpuset,
        memory_nodes=security.memory_nodes,
        userns=security.userns,
        cap_drop=("ALL",),
        cap_add=security.capabilities,
        no_new_privileges=not security.new_privileges,
        oom_score_adj=security.oom_score,
        groups=security.groups,
        auto_remove=plan.removes_itself,
        network=network,
        dns=() if joins else plan.network.dns,
        read_only_paths=READ_ONLY if joins else None,
        log_max_size=plan.log_max_size,
        stop_timeout=plan.stop_grace,
        volumes=volumes,
        cgroup_parent=cgroup_parent,
    )


def _runtime(way: Injection | None, asked: str | None) -> str | None:
    """The runtime that its GPUs need; without GPUs what its pool asks for, ``None``: the daemon's default,
    which may be a sandbox.
    """
    if way is None:
        return asked
    # A daemon whose default is `nvidia` would put those GPUs in a second time.
    return "nvidia" if way.kind == "runtime" else OWN_RUNTIME


def _device_requests(way: Injection | None) -> tuple[DeviceRequest, ...]:
    match way:
        case Injection(kind="cdi", devices=devices):
            return (DeviceRequest(devices, driver="cdi"),)
        case Injection(kind="request", devices=devices):
            return (DeviceRequest(devices, capabilities=("gpu", *DRIVER_CAPABILITIES)),)
        case _:
            return ()


def container_config(
    plan: ContainerPlan, dialect: Dialect, ulimits: Mapping[str, Ulimit]
) -> dict[str, Any]:
    """The plan in the words of that Engine's API (``POST /containers/create``).

    ``ulimits`` are those of a container whose plan does not say otherwise.
    """
    limits = {**ulimits, **plan.ulimits}
    host: dict[str, Any] = {
        "NetworkMode": plan.network,
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": plan.auto_remove,
        "Init": plan.init,
        "OomScoreAdj": plan.oom_score_adj,
        "CapDrop": list(plan.cap_drop),
        "CapAdd": list(plan.cap_add),
        "GroupAdd": list(plan.groups),
        "SecurityOpt": _security(plan, dialect),
        "ReadonlyRootfs": plan.read_only,
        "IpcMode": "private",
        "CgroupnsMode": "private" if dialect.cgroup == "2" else "host",
        "PidsLimit": plan.pids if plan.pids is not None else -1,
        "ShmSize": plan.shm if plan.shm is not None else SHM,
        "Ulimits": [
            {"Name": name, "Soft": one.soft, "Hard": one.hard} for name, one in limits.items()
        ],
        "Mounts": [*map(_mount, plan.mounts), *map(volume_mount, plan.volumes)],
        "Tmpfs": dict(plan.tmpfs),
        "Dns": list(plan.dns),
        "LogConfig": _log(plan, dialect),
        "DeviceRequests": device_requests(plan),
    }
    if plan.runtime is not None:
        host["Runtime"] = plan.runtime
    if plan.memory is not None:
        host |= {"Memory": plan.memory, "MemorySwap": plan.memory}
    if plan.sysctls:
        host["Sysctls"] = dict(plan.sysctls)
    if plan.read_only_paths is not None:
        host["ReadonlyPaths"] = list(plan.read_only_paths)
    told: dict[str, Any] = {
        "CgroupParent": plan.cgroup_parent,
        "CpusetCpus": plan.cpuset,
        "CpusetMems": plan.memory_nodes,
        "UsernsMode": plan.userns,
        "StorageOpt": None if plan.size is None else {"size": str(plan.size)},
    }
    host |= {name: value for name, value in told.items() if value is not None}
    if plan.cpus is not None:
        host["NanoCpus"] = round(plan.cpus * 1e9)
    host["CpuShares"] = _weight(plan.cpus)
    config: dict[str, Any] = {
        "Image": plan.image,
        "User": plan.user,
        "Labels": dict(plan.labels),
        "Env": [_variable(name, value) for name, value in plan.env.items()],
        "OpenStdin": True,
        "StdinOnce": plan.terminal is not None,  # True would end every standby with the manager
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": plan.terminal is True,
        "StopTimeout": plan.stop_timeout,
        "Healthcheck": {
            "Test": ["NONE"]
        },  # an image's own would flood the Engine's memory of events
        "HostConfig": host,
    }
    if plan.hostname is not None:
        config["Hostname"] = plan.hostname
    if plan.entrypoint is not None:
        config["Entrypoint"] = list(plan.entrypoint)
    if plan.command is not None:
        config["Cmd"] = list(plan.command)
    return config


def _weight(cpus: float | None) -> int:
    """What it counts for where processors are short; 0: as much as any container.

    A container that may use a tenth of a processor counts for a tenth, as a Kubernetes pod does: many small
    ones that are always at work do not keep one from its turn that works seldom.
    """
    return max(LEAST_SHARES, round(cpus * SHARES)) if cpus is not None and cpus < 1 else 0


def _variable(name: str, value: str | None) -> str:
    """As the Engine takes it: the name alone takes away what the image sets."""
    return name if value is None else f"{name}={value}"


def _security(plan: ContainerPlan, dialect: Dialect) -> list[str]:
    """Whether a set-uid program may raise privileges, and which calls of the kernel there are."""
    said = [f"no-new-privileges:{str(plan.no_new_privileges).lower()}"]
    if plan.apparmor is not None:
        said.append(f"apparmor={plan.apparmor}")
    if plan.seccomp is not None:
        return [*said, f"seccomp={plan.seccomp}"]
    # Before 23.0 the built-in profile has no name: what `seccomp-profile` says there cannot be taken back.
    return [*said, "seccomp=builtin"] if dialect.names_seccomp else said


def _log(plan: ContainerPlan, dialect: Dialect) -> dict[str, Any]:
    """The Engine's own log: ``local`` keeps bytes as they are, ``json-file`` only UTF-8 (ADR 0018).

    An Engine before 23 may drop the end of a ``local`` log of a container that removes itself.
    """
    driver = "local" if dialect.ends_logs or not plan.auto_remove else "json-file"
    options = {
        "max-size": str(plan.log_max_size),
        "max-file": str(plan.log_max_files),
        "compress": "false",
        "mode": "blocking",
    }
    return {"Type": driver, "Config": options}


def _mount(bind: Mount) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": bind.source,
        "Target": bind.target,
        "ReadOnly": bind.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def device_requests(plan: ContainerPlan) -> list[dict[str, Any]]:
    """Its GPUs in the words of a create."""
    return [
        {
            "Driver": asked.driver,
            "DeviceIDs": list(asked.ids),
            "Capabilities": [list(asked.capabilities)] if asked.capabilities else [],
        }
        for asked in plan.device_requests
    ]


def volume_mount(one: VolumeMount) -> dict[str, Any]:
    """In the words of a create."""
    return {
        "Type": "volume",
        "Source": one.volume,
        "Target": one.target,
        "ReadOnly": one.read_only,
        "VolumeOptions": {"NoCopy": False},
    }


def bears_labels(entry: Mapping[str, Any]) -> bool:
    """Whether it says that it is an agent or a holder, of any Mayfly."""
    return is_slots(entry.get("Labels") or {})


def is_an_agents(entry: Mapping[str, Any]) -> bool:
    """Whether it is called so, too: a container of an image that has such labels is not."""
    return bears_labels(entry) and bears_its_name(container_from(entry))


def is_made_by_an_agent(entry: Mapping[str, Any]) -> bool:
    """Whether it says that an agent has made it, and is called so."""
    made_by = Generation((entry.get("Labels") or {}).get(LABEL_BELONGS, ""))
    name = (entry.get("Names") or ["/"])[0].removeprefix("/")
    return is_generation(made_by) and name.startswith(belonging(made_by))


def container_from(entry: Mapping[str, Any]) -> Container:
    return labelled(
        entry.get("Labels") or {},
        container=ContainerId(entry["Id"]),
        name=(entry.get("Names") or ["/"])[0].removeprefix("/"),
        state=container_state(entry.get("State", "")),
        image=entry.get("ImageID", ""),
        created=float(entry.get("Created") or 0),
        sandbox=_joined((entry.get("HostConfig") or {}).get("NetworkMode") or ""),
    )


def joining(holder: ContainerId) -> str:
    """The network of a container that joins another's namespace."""
    return f"{JOINS}{holder}"


def _joined(network: str) -> ContainerId | None:
    return ContainerId(network.removeprefix(JOINS)) if network.startswith(JOINS) else None


def layer_size(entry: Mapping[str, Any]) -> int:
    """Bytes of the layer of a container that was listed with its size; ``Unmeasured`` where the Engine failed
    in counting them, as at a path that is longer than the kernel takes: it says -1.
    """
    said = int(entry.get("SizeRw") or 0)
    if said < 0:
        raise Unmeasured(f"the Engine cannot count the files of container {str(entry['Id'])[:12]}")
    return said


def not_running(error: Any) -> bool:
    """Whether the Engine refuses because the container does not run (any more)."""
    return "not running" in str(error.explanation).lower()

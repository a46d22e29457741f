"""The grant of an agent: what its gateway is to know, in the words of Docker's own API.

What a container of the agent's may have is what the agent itself has, said once: the same lease by the same
way, the same limits, security and mounts. Nothing here is asked of the Engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mayfly.core.admission.grant import (
    GpuAccess,
    Grant,
    GrantLimits,
    GrantSecurity,
    GrantUlimit,
    MountPlace,
    VolumePlace,
    grant_text,
)
from mayfly.core.agent_plan import (
    CAPABILITIES,
    SUDO_CAPABILITIES,
    WITNESS_TARGET,
    AgentPlan,
    Door,
)
from mayfly.core.model import CA_TARGET, DOOR_TARGET, ContainerId, Ulimit
from mayfly.core.naming import shared_volume, work_volume
from mayfly.engines.docker.container import device_requests
from mayfly.engines.docker.values import ContainerPlan

# What an agent mounts that is not its job's. (Its figures are: the job's shell prints them.)
OWN = frozenset({WITNESS_TARGET, DOOR_TARGET, CA_TARGET})


def grant_of(
    plan: AgentPlan, made: ContainerPlan, container: ContainerId, ulimits: Mapping[str, Ulimit]
) -> str:
    """The grant's text; ``made`` is the plan as it was created, ``ulimits`` those that it did not say."""
    door, security, limits = plan.door, plan.security, plan.limits
    assert door is not None
    said = {**ulimits, **security.ulimits}
    return grant_text(
        Grant(
            host=plan.host,
            pool=plan.pool,
            slot=plan.slot,
            generation=plan.generation,
            container=container,
            seal=door.seal,
            door=f"{door.place}/docker.sock",
            holder=plan.network.sandbox,
            work=VolumePlace(door.work, work_volume(plan.generation)) if door.work else None,
            shared=tuple(
                VolumePlace(one, shared_volume(plan.image, number))
                for number, one in enumerate(door.shared)
            ),
            mounts=tuple(
                MountPlace(one.target, one.source, one.read_only)
                for one in plan.mounts
                if one.target not in OWN
            ),
            lease=_lease(plan),
            gpu=_gpu(plan, made),
            limits=GrantLimits(limits.memory, limits.cpus, limits.pids, limits.shm, made.size),
            cgroup_parent=made.cgroup_parent,
            oom_score=security.oom_score,
            capabilities=_capabilities(plan, door),
            security=GrantSecurity(
                seccomp=made.seccomp,
                apparmor=security.apparmor,
                ulimits={name: GrantUlimit(one.soft, one.hard) for name, one in said.items()},
                runtime=security.runtime,
                userns=security.userns,
                cpuset=security.cpuset,
            ),
            network="none" if door.alone else "own",
            dns=made.dns or plan.network.dns,
            env=door.env,
            ca=door.ca,
            allowed_images=door.images,
            builder=door.builder,
            pull=door.pull,
            registries=door.registries,
            agents=door.agents,
        )
    )


def _lease(plan: AgentPlan) -> tuple[str, ...]:
    seen = plan.environment.get("NVIDIA_VISIBLE_DEVICES", "void")
    return tuple(seen.split(",")) if plan.injection is not None and seen != "void" else ()


def _gpu(plan: AgentPlan, made: ContainerPlan) -> GpuAccess | None:
    """How its GPUs got into the agent itself."""
    if plan.injection is None:
        return None
    host: dict[str, Any] = {"DeviceRequests": device_requests(made)}
    if made.runtime is not None:
        host["Runtime"] = made.runtime
    names = ("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")
    return GpuAccess(
        host, {name: plan.environment[name] for name in names if name in plan.environment}
    )


def _capabilities(plan: AgentPlan, door: Door) -> tuple[str, ...]:
    """What root in its containers has at most: what images of others expect, less what its pool drops, and
    what it adds.
    """
    added = (name for name in plan.security.capabilities if name not in CAPABILITIES)
    usual = (name for name in SUDO_CAPABILITIES if name not in door.dropped)
    return tuple(dict.fromkeys((*usual, *added)))

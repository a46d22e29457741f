"""What the doctor says of a host: a row a world, each with what to type."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from mayfly.cli import render_doctor
from mayfly.cli.doctor import (
    CHECKS,
    Facts,
    ServiceExam,
    State,
    exit_code,
    results,
)
from mayfly.cli.examination import (
    ENGINE_SECONDS,
    counters_open,
    credential_places,
    job_images_of,
    loaded,
    unhanded,
)
from mayfly.cli.exposure import Exposure
from mayfly.core.desire import Hardware, ImageSeen, Survey
from mayfly.core.gpu_checks import CheckSetting, CheckSeverity, GpuFinding
from mayfly.core.leases import Gpu
from mayfly.core.model import (
    GATE_PROTOCOL,
    Bench,
    Cache,
    Condition,
    Config,
    Dataset,
    GatewayHealth,
    HostSpec,
    Limits,
    PoolName,
    PoolSecurity,
    PoolSpec,
    Removal,
    Severity,
)
from mayfly.core.mounts import Source
from mayfly.edge.catalogue import catalogue
from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Passing
from mayfly.edge.room import Room
from mayfly.engines.docker.about import engine_facts
from mayfly.engines.docker.lines import lines_at
from mayfly.engines.kubernetes.lines import lines_of
from mayfly.engines.protocol import Engine, EngineFacts, ImageFacts
from tests import copies
from tests.engine.go_between import GoBetween
from tests.engine.private_engine import PrivateEngine

GIB = 1024**3
VERSION = {"Version": "27.1", "ApiVersion": "1.46"}
INFO = {
    "ID": "id",
    "LiveRestoreEnabled": True,
    "Runtimes": {"nvidia": {}, "runc": {}},
    "CgroupVersion": "2",
    "CgroupDriver": "systemd",
    "KernelVersion": "6.1",
    "Driver": "overlay2",
    "DockerRootDir": "/d",
}
ENGINE = engine_facts(VERSION, INFO, ("/d",))
OLD = engine_facts({"Version": "20.10.24", "ApiVersion": "1.41"}, INFO, ("/d",))
LOCAL = PoolSpec(PoolName("local"), datasets=(Dataset("/data", "/datasets"),))
GPU = PoolSpec(PoolName("gpu"), slots=2, gpus=1, image="mayfly/local:cuda12.8")
SEEN = Survey(
    images={"mayfly/local:cpu": ImageSeen("sha256:1", GATE_PROTOCOL)},
    runtimes=frozenset({"nvidia", "runc"}),
)
REMAPS = engine_facts(
    VERSION, {**INFO, "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"]}, ("/d",)
)
AWAY = "the gateway does not run"
UNGATED = replace(
    ENGINE,
    capabilities=replace(
        ENGINE.capabilities,
        gateway=False,
        no_gateway="this Engine is 20.10; containers need 26 or newer",
    ),
)
GATED = replace(ENGINE, capabilities=replace(ENGINE.capabilities, gateway=True))
NOTHING = Exposure()
ALICE = Exposure(people={1000: "alice"})
SERVED = replace(LOCAL, embedded=False)
BUILDS = replace(
    LOCAL, containers=True, builder="lab/builder:1", slots=2, limits=Limits(memory=390 * 1000)
)
WELL = Facts(
    config=Config(HostSpec("box"), (LOCAL,)),
    engine=ENGINE,
    survey=SEEN,
    clock=True,
    rooms=(Room("/var/lib/mayfly", 50 * GIB, 100 * GIB),),
    manager=True,
    unit="active, enabled",
    metadata=False,
)
TWO = Hardware((Gpu("GPU-a", 0), Gpu("GPU-b", 1)), (12, 8))
NO_DRIVER = Hardware(None, unknown="no driver")
PUBLIC = ServiceExam(findings=((Severity.WARNING, "public", "make it private"),))
GPUS = replace(
    WELL,
    config=Config(HostSpec("box"), (GPU,)),
    hardware=TWO,
    char_links=True,
    survey=replace(SEEN, images={"mayfly/local:cuda12.8": ImageSeen("sha256:2", GATE_PROTOCOL)}),
)


TURNED_DOWN = {"gpu.xid": CheckSetting(CheckSeverity.OFF)}


def config_of(*pools: PoolSpec) -> Config:
    return Config(HostSpec("box"), pools)


def with_image(cuda: str | None, *, compat: bool = False) -> Facts:
    """A host whose driver runs CUDA 12.8, and a pool with an image of its own of that CUDA."""
    pool = replace(GPU, image="lab/agent:1", cuda_compat=compat)
    return replace(
        GPUS,
        config=Config(HostSpec("box"), (pool,)),
        hardware=replace(TWO, catalogue=catalogue()),
        survey=replace(SEEN, images={"lab/agent:1": ImageSeen("sha256:2", GATE_PROTOCOL, cuda)}),
    )


def with_cache(image: str | None, engine: EngineFacts) -> Facts:
    """A host on which others can run set-user-id files of a pool's cache."""
    pool = replace(LOCAL, image=image, caches=(Cache("/a/c", "/c"),))
    exposed = Exposure(raising=frozenset(["/a/c"]))
    return replace(WELL, config=Config(HostSpec("box"), (pool,)), engine=engine, exposure=exposed)


def with_job_image(*volumes: str) -> Facts:
    """A pool with a limit that allows a job image which declares volumes, and one that does not."""
    allowing = replace(LOCAL, limits=Limits(disk=1000), job_images=("lab/*",))
    other = replace(allowing, name=PoolName("other"), job_images=())
    seen = ImageSeen("sha256:3", GATE_PROTOCOL, volumes=volumes)
    config = Config(HostSpec("box"), (other, allowing))
    return replace(WELL, config=config, job_images={"lab/asked:1": seen})


def with_volumes(*volumes: str, limit: int | None) -> Facts:
    """A pool whose image declares volumes, with a cache and a tmpfs over some."""
    pool = replace(
        LOCAL,
        image="lab/agent:1",
        limits=Limits(disk=limit),
        caches=(Cache("/a/c", "/c"),),
        security=PoolSecurity(tmpfs={"/tmp/x": 1}),
    )
    seen = ImageSeen("sha256:2", GATE_PROTOCOL, volumes=volumes)
    config = Config(HostSpec("box"), (pool,))
    return replace(WELL, config=config, survey=replace(SEEN, images={"lab/agent:1": seen}))


# A world, the check that sees it, what it says, and what is to be typed.
ROWS: list[tuple[Facts, str, State, str, str]] = [
    (Facts(config_problem="line 3: no"), "config.valid", State.FAIL, "line 3", "mayfly config check"),
    (
        replace(WELL, secrets={"credential azure-pat": "is handed over by systemd only"}),
        "config.secrets",
        State.FAIL,
        "handed over",
        "LoadCredential=azure-pat:/etc/mayfly/credentials/azure-pat",
    ),
    (Facts(config_problem="/c: there is no such file; `mayfly init` writes one"), "config.valid",
     State.FAIL, "no such file", "mayfly init"),
    (
        replace(WELL, unusable=("parcel 1.0: entry point parcel cannot be imported",)),
        "config.valid",
        State.WARN,
        "entry point parcel",
        "mayfly doctor",
    ),
    (replace(WELL, secrets={"file /t": "mode 0644"}), "config.secrets", State.FAIL, "0644", "chmod 600 /t"),
    (
        replace(WELL, engine=None, engine_problem='host.engine: there is no engine "dockr"'),
        "engine.answers",
        State.FAIL,
        "dockr",
        "mayfly config check",
    ),
    (
        replace(WELL, engine=None, engine_problem="does not answer"),
        "engine.answers",
        State.FAIL,
        "does not answer",
        "systemctl status docker",
    ),
    (
        replace(WELL, engine=engine_facts(VERSION, {**INFO, "LiveRestoreEnabled": False}, ("/d",))),
        "engine.live_restore",
        State.WARN,
        "ends the jobs",
        "live-restore",
    ),
    (
        replace(
            WELL,
            engine=OLD,
            config=Config(HostSpec("box"), (replace(LOCAL, removal=Removal.ENGINE),)),
        ),
        "engine.removal",
        State.FAIL,
        "moby#46308",
        "# take `removal` out of ",
    ),
    (replace(WELL, strangers=("azure-0",)), "engine.alone", State.FAIL, "azure-0", "--take-over"),
    (
        replace(
            WELL,
            config=config_of(replace(LOCAL, containers=True)),
            gateway=GatewayHealth(AWAY),
            engine=GATED,
        ),
        "engine.containers",
        State.FAIL,
        "jobs of pool local wait: the gateway does not run",
        "sudo systemctl restart mayfly-gateway",
    ),
    (
        replace(
            WELL,
            config=config_of(replace(LOCAL, containers=True)),
            gateway=GatewayHealth("", (Condition("x.y", Severity.ERROR, "no room", "df -h"),)),
            engine=GATED,
        ),
        "engine.containers",
        State.FAIL,
        "no room",
        "df -h",
    ),
    (
        replace(WELL, config=config_of(replace(LOCAL, containers=True)), engine=UNGATED),
        "engine.containers",
        State.FAIL,
        "this Engine is 20.10; containers need 26 or newer",
        "# upgrade Docker, or take `containers` out of local",
    ),
    (
        replace(WELL, config=config_of(replace(LOCAL, containers=True, slots=8)), engine=GATED),
        "engine.addresses",
        State.WARN,
        "for 31 networks, and jobs in 8 slots may take 4 each",
        "more addresses for networks",
    ),
    (
        replace(
            WELL,
            config=config_of(replace(LOCAL, containers=True, slots=40)),
            engine=replace(GATED, address_ranges=31),
        ),
        "engine.addresses",
        State.FAIL,
        "not even one each",
        "more addresses for networks",
    ),
    (replace(GPUS, hardware=NO_DRIVER), "gpu.driver", State.FAIL, "no driver", "nvidia-smi"),
    (
        replace(GPUS, hardware=replace(TWO, findings=(GpuFinding("gpu.xid", "GPU-a", "XID 79"),))),
        "gpu.checks",
        State.FAIL,
        "gpu.xid: XID 79",
        "mayfly gpus",
    ),
    (
        replace(
            GPUS,
            hardware=replace(
                TWO, findings=(GpuFinding("gpu.pcie_width", "GPU-a", "8 of 16", CheckSeverity.WARN),)
            ),
        ),
        "gpu.checks",
        State.WARN,
        "8 of 16",
        "mayfly gpus",
    ),
    (
        replace(GPUS, config=Config(HostSpec("box", gpu_checks=TURNED_DOWN), (GPU,))),
        "gpu.checks",
        State.WARN,
        "no slot is held for gpu.xid (off)",
        "mayfly config show",
    ),
    (
        replace(GPUS, hardware=Hardware((Gpu("GPU-a", 0),), (12, 8))),
        "gpu.leases",
        State.FAIL,
        "gpu",
        "mayfly gpus",
    ),
    (
        replace(GPUS, slurm={"tools": "", "controller": "Slurmctld(primary) at box is DOWN"}),
        "gpu.slurm",
        State.FAIL,
        "is DOWN",
        "scontrol ping",
    ),
    (
        replace(GPUS, survey=replace(SEEN, runtimes=frozenset({"runc"}))),
        "gpu.injection",
        State.FAIL,
        "nvidia-container-toolkit",
        "nvidia-ctk runtime configure",
    ),
    (
        replace(GPUS, config=Config(HostSpec("box"), (replace(GPU, bench=Bench()),)), counters=False),
        "gpu.counters",
        State.WARN,
        "jobs of pool gpu may not read profiling counters",
        "NVreg_RestrictProfilingToAdminUsers=0",
    ),
    (replace(GPUS, char_links=False), "gpu.stays", State.WARN, "daemon-reload", "create-dev-char-symlinks"),
    (
        replace(WELL, survey=Survey(images={"mayfly/github:cpu": None})),
        "image.present",
        State.FAIL,
        "not on this Engine",
        "mayfly images build cpu --provider github",
    ),
    (
        replace(WELL, survey=Survey(images={"ours/x:1": ImageSeen("sha256:3", None)})),
        "image.present",
        State.FAIL,
        "no Mayfly gate",
        "FROM",
    ),
    (
        replace(WELL, survey=Survey(images={"mayfly/local:cpu": ImageSeen("sha256:3", "0")})),
        "image.present",
        State.FAIL,
        "gate protocol 0",
        "mayfly images build cpu",
    ),
    (
        replace(
            WELL,
            config=Config(HostSpec("box"), (replace(LOCAL, image="lab/x:1"),)),
            survey=Survey(images={"lab/x:1": ImageSeen("sha256:3", GATE_PROTOCOL, provider="github")}),
        ),
        "image.present",
        State.FAIL,
        "image lab/x:1 is for provider github",
        "FROM mayfly/local:",
    ),
    (
        replace(
            WELL,
            config=Config(HostSpec("box"), (replace(LOCAL, containers=True),)),
            survey=Survey(
                images={"mayfly/local:cpu": ImageSeen("sha256:3", GATE_PROTOCOL, docker=False)}
            ),
        ),
        "image.present",
        State.WARN,
        "mayfly/local:cpu has no docker command",
        "mayfly images build cpu",
    ),
    (
        with_image("13.0"),
        "image.cuda",
        State.FAIL,
        "pool gpu: lab/agent:1 holds CUDA 13.0 and the driver runs up to 12.8",
        "install driver 580.65.06 or newer",
    ),
    (
        with_volumes("/vol", "/tmp/x", "/c", limit=1000),
        "image.present",
        State.WARN,
        "what jobs write into /vol does not count towards `disk`",
        "without its VOLUME",
    ),
    (
        with_volumes(*(f"/v{at:04}" + "x" * 999 for at in range(1000)), limit=1000),
        "image.present",
        State.WARN,
        f"/v0005{'x' * 94}, … (1000 in all) does not count towards `disk`",
        "without its VOLUME",
    ),
    (
        with_job_image("/vol"),
        "image.present",
        State.WARN,
        f"pool {LOCAL.name}: lab/asked:1: what jobs write into /vol does not count towards `disk`",
        "build lab/asked:1 without its VOLUME",
    ),
    (with_image("12.9"), "image.cuda", State.WARN, "minor-version", "mayfly images select"),
    (with_image("13.0", compat=True), "image.cuda", State.WARN, "forward", "mayfly images select"),
    (with_image("13"), "image.cuda", State.WARN, "no version", "docker inspect lab/agent:1"),
    (
        replace(WELL, survey=replace(SEEN, mounts={(LOCAL.name, "/data"): "is not a directory"})),
        "dataset.readable",
        State.FAIL,
        "is not a directory",
        "sudo mkdir -p /data ",
    ),
    (
        replace(WELL, services={PoolName("azure"): ServiceExam(refused="401")}),
        "service.allows",
        State.FAIL,
        "pool azure: 401",
        "mayfly doctor",
    ),
    (
        replace(WELL, services={PoolName("gh"): PUBLIC}),
        "service.allows",
        State.WARN,
        "public",
        "make it private",
    ),
    (
        replace(
            WELL,
            config_files=("/c.toml",),
            exposure=Exposure(changed_by={"/c.toml": "/c.toml"}),
        ),
        "config.writers",
        State.WARN,
        "/c.toml decides what root runs, and others can change /c.toml",
        "sudo chown root: /c.toml && sudo chmod go-w /c.toml",
    ),
    *(
        (
            replace(WELL, config=Config(HostSpec("box"), (pool,)), exposure=found, engine=engine),
            "pool.gives",
            State.WARN,
            *told,
        )
        for pool, found, told, engine in (
            (
                replace(LOCAL, security=PoolSecurity(userns="host")),
                ALICE,
                ("number 1000, which is alice's", 'user = "64000:64000"'),
                REMAPS,
            ),
            (LOCAL, ALICE, ("number 1000, which is alice's on this host", 'user = "64000:64000"'), ENGINE),
            (replace(LOCAL, embedded=False), ALICE, ("alice", "userns-remap"), ENGINE),
            (replace(LOCAL, groups=("docker",)), NOTHING, ("who is in docker is root", "groups"), ENGINE),
            (
                replace(LOCAL, sudo=True, cap_add=("SYS_ADMIN", "SYS_NICE")),
                NOTHING,
                ("with sudo, SYS_ADMIN can make a job root of this host", "cap_add"),
                ENGINE,
            ),
            (
                replace(LOCAL, sudo=True, caches=(Cache("/a/c", "/c"),)),
                Exposure(raising=frozenset(["/a/c"])),
                ("a set-user-id program that a job leaves in /a/c", "sudo chmod 700 /a "),
                ENGINE,
            ),
            (
                replace(LOCAL, containers=True, caches=(Cache("/a/c", "/c"),)),
                Exposure(raising=frozenset(["/a/c"])),
                ("a set-user-id program that a job leaves in /a/c", "or mount it nosuid,nodev"),
                ENGINE,
            ),
            (
                replace(LOCAL, image="lab/agent:1", caches=(Cache("/a/c", "/c"),)),
                Exposure(raising=frozenset(["/a/c"])),
                ("that lab/agent:1, whose gate is root, leaves in /a/c makes", "sudo chmod 700"),
                ENGINE,
            ),
            (
                LOCAL,
                Exposure(changed_by={"/data": "/"}),
                ("who can change / decides what agents find at /datasets", "ls -ld /"),
                ENGINE,
            ),
        )
    ),
    (
        replace(WELL, exposure=Exposure(inotify=63)),
        "host.inotify",
        State.WARN,
        "63 inotify instances for 1 slot: one job can leave the others none",
        "echo fs.inotify.max_user_instances=64 | sudo tee /etc/sysctl.d/60-mayfly.conf",
    ),
    (
        replace(WELL, config=config_of(SERVED), exposure=Exposure(unanswered=30)),
        "host.connections",
        State.WARN,
        "an answer by UDP that takes longer is dropped on its way through NAT, for all of this host",
        "echo net.netfilter.nf_conntrack_udp_timeout=5 | sudo tee /etc/sysctl.d/61-mayfly.conf",
    ),
    (
        replace(WELL, config=config_of(replace(SERVED, slots=2)), exposure=Exposure(hurries=False)),
        "host.neighbours",
        State.WARN,
        "all other agents twice as slow: the kernel does not hurry it",
        "printf '%s\\n' 'w /sys/kernel/rcu_expedited - - - - 1' | sudo tee ",
    ),
    *(
        (
            replace(
                WELL,
                engine=replace(ENGINE, cgroup_driver="cgroupfs"),
                config=config_of(replace(SERVED, slots=2)),
                exposure=Exposure(hurries=hurries, weighs=True, weight=weight),
            ),
            "host.neighbours",
            State.WARN,
            text,
            # all of it each time, or what was set before is gone with the file
            (
                "'w /sys/kernel/rcu_expedited - - - - 1' 'd /sys/fs/cgroup/cpu/docker 0755' "
                "'w /sys/fs/cgroup/cpu/docker/cpu.shares - - - - 102' |"
            ),
        )
        for hurries, weight, text in (
            (True, 1024, "slow: containers weigh as much as the Engine"),
            (True, None, "slow: containers weigh as much as the Engine"),
            (False, 102, "slow: the kernel does not hurry it"),
            (False, 1024, "does not hurry it and containers weigh as much as the Engine"),
        )
    ),
    *(
        (
            replace(WELL, config=config_of(BUILDS), exposure=found),
            "host.builders",
            State.WARN,
            text,
            fix,
        )
        for found, text, fix in (
            (
                Exposure(namespaces=0, unprivileged=1),
                "user.max_user_namespaces is 0: jobs of pool local cannot build images",
                "echo user.max_user_namespaces=2147483647 | sudo tee -a /etc/sysctl.d/62-mayfly",
            ),
            (
                Exposure(namespaces=2000, unprivileged=0),
                "kernel.unprivileged_userns_clone is 0",
                "echo kernel.unprivileged_userns_clone=1 | sudo tee",
            ),
            (
                Exposure(namespaces=2000, profiled=1),
                "no AppArmor profile: jobs of pool local cannot build images",
                "# name a profile that allows userns and mount",
            ),
            (
                Exposure(namespaces=2000, mount_namespaces=1999, uts_namespaces=2000),
                "and then no container starts: user.max_mnt_namespaces is 1999",
                "printf '%s\\n' user.max_mnt_namespaces=2147483647 | sudo tee -a",
            ),
            (
                Exposure(namespaces=1999, mount_namespaces=2000, uts_namespaces=7),
                "user.max_user_namespaces is 1999, user.max_uts_namespaces is 7",
                "user.max_user_namespaces=2147483647 user.max_uts_namespaces=2147483647 | sudo",
            ),
        )
    ),
    (
        replace(
            WELL,
            config=config_of(replace(LOCAL, proxy="http://127.0.0.1:3128")),
        ),
        "agent.proxy",
        State.WARN,
        "its proxy http://127.0.0.1:3128 is this host's own loopback",
        "# let the proxy listen on an address",
    ),
    (replace(WELL, metadata=True), "agent.metadata", State.WARN, "169.254.169.254", "iptables"),
    (replace(WELL, clock=False), "host.clock", State.WARN, "clock", "timedatectl set-ntp true"),
    (
        replace(WELL, rooms=(Room("/d", 1 * GIB, 500 * GIB),)),
        "host.disk",
        State.FAIL,
        "1.0 GiB left",
        "df -h /d",
    ),
    (replace(WELL, state_problem="mode 0755"), "host.state", State.FAIL, "0755", "/var/lib/mayfly"),
    (replace(WELL, unit="not-found"), "host.unit", State.WARN, "not installed", "mayfly install"),
    (
        replace(WELL, health=(Condition("slot.held", Severity.ERROR, "held", "mayfly retry local-0"),)),
        "manager.health",
        State.FAIL,
        "slot.held",
        "mayfly retry local-0",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    "pools",
    [
        (),
        (LOCAL,),
        (LOCAL, replace(SERVED, network="none")),
        (replace(SERVED, sandbox="slot"),),
        (replace(SERVED, network="host"),),
    ],
)
def test_connections_are_a_matter_where_a_service_s_jobs_can_send_what_slows_agents(
    pools: tuple[PoolSpec, ...],
) -> None:
    world = replace(WELL, config=config_of(*pools), exposure=Exposure(unanswered=30))
    found = [result.verdict for result in results(world) if result.check.code == "host.connections"]
    assert {verdict.state for verdict in found} == {State.SKIP}


@pytest.mark.parametrize(
    ("pools", "seen", "state", "text"),
    [
        (
            (replace(SERVED, slots=1), replace(LOCAL, slots=8)),
            Exposure(hurries=False),
            State.SKIP,
            "several slots",
        ),
        ((replace(SERVED, slots=2),), Exposure(weight=1024), State.SKIP, "does not say"),
        # the driver systemd: of a weight nothing is known
        (
            (replace(SERVED, slots=2),),
            Exposure(hurries=True, weighs=True),
            State.OK,
            "waits for",
        ),
    ],
)
def test_neighbours_are_a_matter_where_a_service_s_jobs_run_side_by_side(
    pools: tuple[PoolSpec, ...], seen: Exposure, state: State, text: str
) -> None:
    engine = replace(ENGINE, cgroup_driver="systemd")
    world = replace(WELL, engine=engine, config=config_of(*pools), exposure=seen)
    found = [result.verdict for result in results(world) if result.check.code == "host.neighbours"]
    assert [verdict.state for verdict in found] == [state]
    assert text in found[0].text


def test_addresses_for_all_networks_of_all_jobs_are_enough() -> None:
    world = replace(WELL, config=config_of(replace(LOCAL, containers=True, slots=4)), engine=GATED)
    (found,) = [one.verdict for one in results(world) if one.check.code == "engine.addresses"]
    assert found.state is State.OK
    assert "enough for 4 of each job's in 4 slots" in found.text


@pytest.mark.parametrize(
    ("pool", "seen", "state", "text"),
    [
        (LOCAL, Exposure(namespaces=0), State.SKIP, "no pool has a builder"),
        (BUILDS, Exposure(), State.OK, "may make user namespaces"),
        (BUILDS, Exposure(namespaces=2000, unprivileged=1, profiled=0), State.OK, "pool local may"),
        (
            replace(BUILDS, security=PoolSecurity(apparmor="lab")),
            Exposure(namespaces=2000, profiled=1),
            State.OK,
            "pool local may",
        ),
    ],
)
def test_user_namespaces_are_a_matter_where_a_pool_has_a_builder(
    pool: PoolSpec, seen: Exposure, state: State, text: str
) -> None:
    world = replace(WELL, config=config_of(pool), exposure=seen)
    found = [result.verdict for result in results(world) if result.check.code == "host.builders"]
    assert [verdict.state for verdict in found] == [state]
    assert text in found[0].text


def test_who_builds_without_a_limit_of_memory_makes_namespaces_without_one() -> None:
    pool = replace(BUILDS, limits=Limits())
    world = replace(WELL, config=config_of(pool), exposure=Exposure(mount_namespaces=2**31 - 1))
    found = [result.verdict for result in results(world) if result.check.code == "host.builders"]
    assert [verdict.state for verdict in found] == [State.OK, State.WARN]
    assert "nothing bounds how many namespaces a job of pool local makes" in found[1].text
    assert "limits.memory" in found[1].fix


@pytest.mark.parametrize(
    ("facts", "code", "state", "text", "fix"), ROWS, ids=[row[1] for row in ROWS]
)
def test_what_is_wrong_is_named_with_what_to_type(
    facts: Facts, code: str, state: State, text: str, fix: str
) -> None:
    found = [result.verdict for result in results(facts) if result.check.code == code]
    bad = [verdict for verdict in found if verdict.state is state]
    assert bad, found
    assert text in bad[0].text
    assert fix in bad[0].fix
    assert exit_code(results(facts), strict=True) == 1
    assert exit_code(results(facts), strict=False) == (1 if state is State.FAIL else 0)


@pytest.mark.parametrize(
    "facts",
    [
        WELL,
        GPUS,
        with_image("12.8"),
        with_image("11.8"),
        with_image("12.9", compat=True),
        with_image(None),
        with_volumes("/vol", limit=None),
        with_volumes("/c", "/tmp/x", limit=1000),
        replace(WELL, engine=REMAPS, exposure=ALICE),
        # root in agents is nobody's image but Mayfly's own, or nobody on the host
        with_cache("mayfly/local:cpu", ENGINE),
        with_cache(None, ENGINE),
        with_cache("lab/agent:1", REMAPS),
    ],
)
def test_a_host_on_which_all_is_well_passes_strictly(facts: Facts) -> None:
    assert [r.verdict for r in results(facts) if r.verdict.state in (State.FAIL, State.WARN)] == []
    assert exit_code(results(facts), strict=True) == 0


def test_every_check_has_a_row_and_a_code_of_its_own() -> None:
    codes = [check.code for check in CHECKS]
    assert len(set(codes)) == len(codes)
    assert set(codes) == {row[1] for row in ROWS}


def test_every_failure_and_warning_says_what_to_type() -> None:
    for row in ROWS:
        for result in results(row[0]):
            if result.verdict.state in (State.FAIL, State.WARN):
                assert result.verdict.fix, result


def test_a_path_is_one_word_of_what_is_to_be_pasted_whatever_it_is_called() -> None:
    """A person who owns a directory on the way of a source names what is in it, and root pastes it."""
    odd = "/a/x y;touch '$(touch `touch &&"
    mounts = Survey(sources={odd: Source("")})
    pool = replace(
        LOCAL, sudo=True, datasets=(Dataset(odd, "/d"),), caches=(Cache(f"{odd}/c", "/c"),)
    )
    facts = replace(
        WELL,
        config=Config(HostSpec("box", state_dir=odd), (pool,)),
        config_files=("/c.toml",),
        secrets={f"file {odd}": "mode 0644", f"file {odd}/t": "No such file or directory"},
        survey=replace(SEEN, sources=mounts.sources),
        exposure=Exposure(changed_by={"/c.toml": odd, odd: odd}, raising=frozenset([f"{odd}/c"])),
        rooms=(Room(odd, 0, GIB),),
        state_problem="mode 0755",
    )
    named = [r for r in results(facts) if "touch" in r.verdict.fix]
    assert {r.check.code for r in named} == {
        *(
            "config.secrets",
            "config.writers",
            "dataset.readable",
            "pool.gives",
            "host.disk",
            "host.state",
        )
    }
    for result in named:
        words = list(shlex.shlex(result.verdict.fix, posix=True, punctuation_chars=True))
        assert [word for word in words if "touch" in word] == [
            word for word in words if word in (odd, f"{odd}/t")
        ], result.verdict.fix


def test_a_person_whose_number_jobs_have_is_what_a_set_user_id_file_makes_others() -> None:
    facts = with_cache(None, ENGINE)
    facts = replace(facts, exposure=replace(facts.exposure, people=ALICE.people))
    told = [
        result.verdict.text for result in results(facts) if "set-user-id" in result.verdict.text
    ]
    assert told == [
        "pool local: a set-user-id program that a job leaves in /a/c makes others here alice"
    ]


def test_a_doctor_who_could_look_at_nothing_is_not_content() -> None:
    checks = [check for check in CHECKS if check.code in ("service.allows", "gpu.leases")]
    found = results(Facts(), checks)
    assert {result.verdict.state for result in found} == {State.SKIP}
    assert exit_code(found, strict=False) == 1
    assert render_doctor.doctor(found, None, False)[-1] == "nothing could be checked"


def test_a_fix_is_one_line_whatever_the_width_so_that_it_can_be_pasted() -> None:
    lines = render_doctor.doctor(results(ROWS[1][0]), 40, False)
    assert [line for line in lines if line.endswith("credentials/azure-pat")]
    assert all(len(line) <= 40 for line in lines if not line.startswith("    fix: "))


def test_a_full_disk_is_looked_at_with_what_the_engine_has_for_that() -> None:
    checks = [check for check in CHECKS if check.code == "host.disk"]
    full = Facts(rooms=(Room("/d", 1, 500 * GIB),))
    cluster = replace(full, engine_room=lines_of(Cluster()).room)
    docker = replace(full, engine_room=lines_at("unix:///var/run/docker.sock").room)
    assert [one.verdict.fix for one in results(cluster, checks)] == ["df -h /d"]
    assert [one.verdict.fix for one in results(docker, checks)] == [
        "df -h /d; sudo docker system df"
    ]


def test_the_codes_to_read_on_of_are_named_at_the_end() -> None:
    checks = [check for check in CHECKS if check.code in ("host.clock", "host.unit")]
    found = results(Facts(clock=False, unit="not-found"), checks)
    last = render_doctor.doctor(found, None, False)[-1]
    assert last == "read on: mayfly help CODE, of host.clock, host.unit"
    assert render_doctor.doctor(found[:1], None, False)[-1] == "read on: mayfly help host.clock"
    rows: Any = render_doctor.document(found, "https://docs.lab.example/")["checks"]
    assert rows[0]["anchor"] == ("https://docs.lab.example/how-to/troubleshooting.html#host.clock")


def doctored(tmp_path: Path, host: str = "") -> dict[str, Any]:
    """What the command's ``--json`` says of a host with one pool."""
    config = tmp_path / "config.toml"
    config.write_text(
        f'[host]\nname = "box"\nstate_dir = "{tmp_path}/s"\n{host}\n[[pool]]\nname = "local"\n'
    )
    done = copies.command("doctor", "--json", "--config", config)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_document_has_every_check_and_null_for_no_fix(tmp_path: Path) -> None:
    document = doctored(tmp_path)
    assert document["schema"] == "mayfly.doctor/1"
    assert {row["code"] for row in document["checks"]} == {check.code for check in CHECKS}
    for row in document["checks"]:
        assert row["state"] in {"ok", "warn", "fail", "skip"}
        assert row["fix"] is None or row["fix"]
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", row["code"])


@pytest.mark.engine
@pytest.mark.parametrize(
    "answers",
    [{"/version": b"[1]"}, {"/info": b"[]"}, {"/images/": b"{}"}, {"/containers/": b"[1]"}],
)
def test_a_socket_that_is_no_engines_is_a_sentence_and_the_rest_is_looked_at(
    engine: PrivateEngine, tmp_path: Path, answers: dict[str, bytes]
) -> None:
    with GoBetween(tmp_path, engine.url) as between:
        between.nonsense.update(answers)
        document = doctored(tmp_path, f'docker_host = "{between.url}"')
    rows = {row["code"]: row for row in document["checks"]}
    assert rows["engine.answers"]["state"] == "fail"
    assert between.url in rows["engine.answers"]["text"]
    assert "\n" not in rows["engine.answers"]["text"]
    assert rows["host.disk"]["state"] in {"ok", "warn", "fail"}


def test_the_units_credentials_are_found_in_its_drop_ins() -> None:
    unit = """
# /etc/systemd/system/mayfly.service
#   LoadCredential=example:/not/this
[Service]
LoadCredential=azure-pat:/etc/mayfly/credentials/azure-pat
LoadCredentialEncrypted=forge:/etc/mayfly/credentials/forge
LoadCredential=inherited
"""
    places, sealed = loaded(unit)
    assert places == {"azure-pat": "/etc/mayfly/credentials/azure-pat"}
    assert sealed == {"forge"}


def test_a_secret_that_was_written_since_the_manager_began_is_what_it_would_be_handed_now(
    tmp_path: Path,
) -> None:
    written, gone = tmp_path / "written", tmp_path / "gone"
    written.write_text("new")
    files = {"written": str(written), "gone": str(gone), "unhanded": str(gone)}
    handed = {"written": "/run/old", "gone": "/run/kept", "sealed": "/run/opened"}
    others = {"gone": "/run/kept", "sealed": "/run/opened", "unhanded": str(gone)}
    now = credential_places(files, handed, running=False)
    assert now == {"written": str(written), **others}
    assert credential_places(files, handed, running=True) == {"written": "/run/old", **others}


def test_a_secret_that_the_running_manager_was_not_handed_is_told_with_what_hands_it_over(
    tmp_path: Path,
) -> None:
    for name, text in (("same", "a"), ("new", "b"), ("old", "c"), ("handed", "a")):
        (tmp_path / name).write_text(text)
    place = {name: str(tmp_path / name) for name in ("same", "new", "old", "handed", "gone")}
    files = {"kept": place["same"], "replaced": place["new"], "moved": place["gone"]}
    handed = {"kept": place["handed"], "replaced": place["old"], "moved": place["old"]}
    assert unhanded(files, handed) == ("replaced",)
    told = results(replace(WELL, unhanded=("replaced",)))
    (verdict,) = (one.verdict for one in told if "credential replaced" in one.verdict.text)
    assert (verdict.state, "systemctl restart mayfly" in verdict.fix) == (State.WARN, True)
    assert not any("credential replaced" in one.verdict.text for one in results(WELL))


class Images:
    """An Engine of which nothing but its images is asked; a look takes so many seconds of its clock."""

    def __init__(self, takes: float) -> None:
        self._takes = takes
        self.now = 0.0

    def image_names(self) -> tuple[str, ...]:
        return ("lab/b:1", "other/x:1", "lab/a:1", "lab/broken:1", "lab/c:1")

    def image(self, reference: str, *, within: float | None = None) -> ImageFacts | None:
        assert within is not None
        self.now += min(self._takes, within)
        if self._takes > within or reference == "lab/broken:1":
            raise Passing("it does not answer")
        return ImageFacts("id", {}, None, (), ())


@pytest.mark.parametrize(
    ("takes", "names", "why"),
    [
        (0.0, ["lab/a:1", "lab/b:1"], "it does not answer"),
        (ENGINE_SECONDS - 1, ["lab/a:1"], "it does not answer"),
        (ENGINE_SECONDS, ["lab/a:1"], "the Engine took longer than 15 s"),
    ],
)
def test_what_was_read_of_job_images_is_kept_where_an_engine_tells_no_more_in_time(
    takes: float, names: list[str], why: str
) -> None:
    engine = Images(takes)
    config = config_of(replace(LOCAL, job_images=("lab/*",)))
    found, untold = job_images_of(cast(Engine, engine), config, lambda: engine.now)
    assert (list(found), untold) == (names, why)
    assert engine.now <= ENGINE_SECONDS
    told = results(replace(WELL, config=config, job_images=found, job_images_untold=untold))
    verdicts = [one.verdict for one in told if why in one.verdict.text]
    assert [one.state for one in verdicts] == [State.SKIP]


def test_gpus_that_no_slot_has_are_told_of_and_nothing_is_wrong() -> None:
    assert TWO.gpus is not None
    for gpus, told in ((TWO.gpus, 0), ((*TWO.gpus, Gpu("GPU-c", 2)), 1)):
        found = results(replace(GPUS, hardware=replace(TWO, gpus=gpus)))
        leases = [one.verdict for one in found if one.check.code == "gpu.leases"]
        assert {one.state for one in leases} == {State.OK}
        assert sum("1 of 3 GPUs is in no slot" in one.text for one in leases) == told


@pytest.mark.parametrize(
    ("params", "open_"),
    [
        ("EnableMSI: 1\nRmProfilingAdminOnly: 1\nPreserveVideoMemoryAllocations: 0\n", False),
        ("RmProfilingAdminOnly: 0\n", True),
        ("EnableMSI: 1\n", None),
        (None, None),
    ],
)
def test_who_may_read_profiling_counters_is_the_driver_s_word(
    tmp_path: Path, params: str | None, open_: bool | None
) -> None:
    place = tmp_path / "params"
    if params is not None:
        place.write_text(params)
    assert counters_open(place) is open_

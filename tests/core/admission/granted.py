"""A grant as a manager writes one, with all that it may have."""

from __future__ import annotations

from mayfly.core.admission.grant import (
    GpuAccess,
    Grant,
    GrantLimits,
    GrantSecurity,
    GrantUlimit,
    MountPlace,
    VolumePlace,
)

GENERATION = "0mabcdefghijk"
PREFIX = f"mf-{GENERATION}-"
UUID = "GPU-11111111-2222-3333-4444-555555555555"
OTHER_UUID = "GPU-99999999-2222-3333-4444-555555555555"
AGENT = "a" * 64
HOLDER = "b" * 64
WORK = VolumePlace("/home/agent/_work", "mayfly-work-0mabcdefghijk")
CLIENT = VolumePlace("/home/agent/externals", "mayfly-externals")
DATASET = MountPlace("/data/imagenet", "/srv/imagenet")
CACHE = MountPlace("/cache/pip", "/srv/pip", read_only=False)

GRANT = Grant(
    host="host-1",
    pool="gpu",
    slot="gpu-0",
    generation=GENERATION,
    container=AGENT,
    holder=HOLDER,
    seal="0123456789abcdef0123456789abcdef",
    door=f"/var/lib/mayfly/gateway/agents/{GENERATION}/door/docker.sock",
    work=WORK,
    shared=(CLIENT,),
    mounts=(DATASET, CACHE),
    lease=(UUID,),
    gpu=GpuAccess(
        {"Runtime": "nvidia"},
        {"NVIDIA_VISIBLE_DEVICES": UUID, "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"},
    ),
    limits=GrantLimits(memory=8 * 1024**3, cpus=4.0, pids=2048, shm=1024**3),
    cgroup_parent=f"/mayfly/{GENERATION}",
    oom_score=500,
    capabilities=(
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "KILL",
        "NET_BIND_SERVICE",
        "SETGID",
        "SETUID",
    ),
    security=GrantSecurity(ulimits={"nofile": GrantUlimit(1024, 65536)}),
    dns=("10.0.0.53",),
    env={"https_proxy": "http://proxy:3128"},
    ca="/etc/ssl/lab.pem",
    allowed_images=("*",),
)

"""The table of what a container's creation may say (``HostConfig``), and what is read of each key.

Written from the Engine's own API, 1.41 to 1.54. What of it goes out is put together in `create.py`.
"""

from __future__ import annotations

import re

from mayfly.core.admission.keys import (
    Key,
    anything,
    by_name,
    dropped,
    each,
    flag,
    matching,
    refused,
    table,
    text,
    whole,
)

BIG = 2**62
_ADDRESS = re.compile(r"[0-9a-fA-F:.]{2,45}", re.ASCII)
_DOMAIN = re.compile(r"[A-Za-z0-9_.-]{1,253}", re.ASCII)
_OPTION = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}[:=]\[?[0-9a-fA-F:.]{2,45}\]?", re.ASCII)
_SIZED = re.compile(r"-?[0-9 ]{1,64}", re.ASCII)
# Of a container's own namespaces, and of no weight for its neighbours.
SYSCTLS = (
    *("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem"),
    *("kernel.shmall", "kernel.shmmax", "kernel.shmmni"),
    *("net.core.somaxconn", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
    *("net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
    *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_syncookies"),
    *("net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.default.disable_ipv6"),
)
# Not here: what gives a process precedence (rtprio, nice, rttime), or fills the kernel's memory (msgqueue).
ULIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "nofile", "nproc", "rss"),
    *("sigpending", "stack"),
)
NOFILE_MOST = 1024 * 1024

RESTART = (
    Key("Name", "as above", text),
    Key("MaximumRetryCount", "at most 10", whole(0, BIG)),
)
LOG = (
    Key("Type", "the Engine's log alone can be had: `json-file` or `local`", text),
    dropped("Config", "the log is bounded as agents' are"),
)
ULIMIT = (
    Key("Name", "of those that lend no precedence", text),
    Key("Soft", "within the pool's", whole(-1, BIG)),
    Key("Hard", "within the pool's", whole(-1, BIG)),
)
DEVICE = (
    Key("PathOnHost", "the name of a GPU (`nvidia.com/gpu=…`): asks for the lease", text),
    dropped("PathInContainer"),
    dropped("CgroupPermissions"),
)
DEVICE_REQUEST = (
    Key("Driver", "`nvidia`, `cdi` or none", text),
    dropped("Count", "the slot's GPUs are all that there are"),
    Key("DeviceIDs", "as above; the UUIDs are the lease's whatever it says", each(text)),
    Key("Capabilities", "`gpu` among them", each(each(text))),
    refused("Options", "none are passed on"),
)
_LIMITED = "a container's share is said by --cpus and --memory"
_WEIGHED = "the disk's bandwidth is shared by all agents"
_WINDOWS = "it is for Windows"

NAMESPACES = (
    Key(
        "NetworkMode",
        "not said, `bridge` or `default`: the job's own default network; `none`; one of the job's; "
        "`container:` one of the job's. `host` is refused",
        text,
    ),
    Key("IpcMode", "its own, `shareable`, `none`, or `container:` one of the job's", text),
    Key("PidMode", "its own, or that of a container of the job's", text),
    Key("UTSMode", "its own: `host` is refused", text),
    Key("UsernsMode", "as the pool says: `host` is refused where it does not say it", text),
    Key("CgroupnsMode", "`private`: `host` is refused", text),
)
SECURITY = (
    refused("Privileged", "no container of a job is privileged"),
    Key("CapAdd", "of those that the pool lets its containers have", each(text)),
    Key("CapDrop", "as it is", each(text)),
    Key(
        "SecurityOpt",
        "`no-new-privileges`; `label` is dropped; seccomp and AppArmor: the pool's, its `builder`'s",
        each(text),
    ),
    Key("ReadonlyRootfs", "as it is", flag),
    Key("MaskedPaths", "the Engine's own, and no fewer", each(text)),
    Key("ReadonlyPaths", "the Engine's own, and no fewer", each(text)),
    Key("GroupAdd", "as it is", each(matching(_OPTION.fullmatch, "a group"))),
    Key(
        "Sysctls",
        "of its own namespaces: " + ", ".join(f"`{name}`" for name in SYSCTLS),
        by_name(matching(_SIZED.fullmatch, "a number")),
    ),
    Key("Devices", "names of GPUs alone: they ask for the lease", each(table(DEVICE))),
    Key(
        "DeviceRequests", "asks for the slot's GPUs: exactly the lease", each(table(DEVICE_REQUEST))
    ),
    refused("DeviceCgroupRules", "a job's containers have no devices but the slot's GPUs"),
    Key("Runtime", "`nvidia` asks for the slot's GPUs; else the pool's", text),
    refused("Annotations", "a runtime may go by them"),
)
LIMITS = (
    Key("Memory", "at most the pool's, which is what it gets that asks for none", whole(-1, BIG)),
    dropped("MemorySwap", "as `Memory`: no swap"),
    Key("MemoryReservation", "at most the pool's", whole(0, BIG)),
    Key("MemorySwappiness", "-1 alone", whole(-1, -1)),
    Key("NanoCpus", "at most the pool's", whole(0, BIG)),
    Key("CpuQuota", "becomes `NanoCpus`", whole(-1, BIG)),
    Key("CpuPeriod", "becomes `NanoCpus`", whole(0, 10**6)),
    Key("CpuShares", "at most 1024", whole(0, BIG)),
    refused("CpusetCpus", _LIMITED),
    refused("CpusetMems", _LIMITED),
    refused("CpuRealtimePeriod", _LIMITED),
    refused("CpuRealtimeRuntime", _LIMITED),
    refused("KernelMemory", _LIMITED),
    refused("KernelMemoryTCP", _LIMITED),
    refused("OomKillDisable", "a container that has no memory left has to end"),
    Key("OomScoreAdj", "at least the pool's", whole(-1000, 1000)),
    Key("PidsLimit", "at most the pool's", whole(-1, BIG)),
    Key("ShmSize", "at most the pool's `shm`, else its `memory`", whole(0, BIG)),
    Key("Ulimits", "within the pool's", each(table(ULIMIT))),
    refused("CgroupParent", "a job's containers are in the group of its agent"),
    refused("Cgroup", "a job's containers are in the group of its agent"),
    refused("BlkioWeight", _WEIGHED),
    refused("BlkioWeightDevice", _WEIGHED),
    refused("BlkioDeviceReadBps", _WEIGHED),
    refused("BlkioDeviceWriteBps", _WEIGHED),
    refused("BlkioDeviceReadIOps", _WEIGHED),
    refused("BlkioDeviceWriteIOps", _WEIGHED),
    refused("CpuCount", _WINDOWS),
    refused("CpuPercent", _WINDOWS),
    refused("IOMaximumIOps", _WINDOWS),
    refused("IOMaximumBandwidth", _WINDOWS),
    refused("StorageOpt", "a container's files are bounded by the pool"),
)
MOUNTED = (
    Key("Binds", "as `Mounts` below", each(text)),
    Key("Mounts", "see below", each(anything)),
    Key("Tmpfs", "with options of size, mode and owner", by_name(text)),
    Key("VolumesFrom", "of containers of the job's", each(text)),
    Key("VolumeDriver", "`local` alone", matching(lambda name: name in ("", "local"), '"local"')),
)
NETWORKED = (
    Key("PortBindings", "published on the loopback of the job; TCP alone", by_name(anything)),
    Key("PublishAllPorts", "as `PortBindings`, of all that the image exposes", flag),
    Key("Links", "to containers of the job's", each(text)),
    Key("Dns", "as it is", each(matching(_ADDRESS.fullmatch, "an address"))),
    Key("DnsOptions", "as it is", each(matching(_OPTION.fullmatch, "an option"))),
    Key("DnsSearch", "as it is", each(matching(_DOMAIN.fullmatch, "a domain"))),
    Key(
        "ExtraHosts",
        "names with an address; `host-gateway` is refused, since it is the host's",
        each(
            matching(
                _HOST.fullmatch,
                "a name and an address (host-gateway would be the host's, where no job listens)",
            )
        ),
    ),
)
LIFE = (
    Key(
        "RestartPolicy",
        "`no` and `on-failure`; `always` and `unless-stopped` become `on-failure`, ten times",
        table(RESTART),
    ),
    Key("AutoRemove", "as it is", flag),
    Key("Init", "as it is", flag),
    Key("LogConfig", "the Engine's own log, bounded as agents' are", table(LOG)),
    Key("ConsoleSize", "as it is", each(whole(0, 65535))),
    dropped("ContainerIDFile", "a client's own"),
    Key("Isolation", "`default`", matching(lambda name: name in ("", "default"), '"default"')),
)
HOST = (*NAMESPACES, *SECURITY, *LIMITS, *MOUNTED, *NETWORKED, *LIFE)

"""Which places of a container and of the host no pool mounts, whatever its configuration says.

Pure: paths are looked at as they are written, so who resolves links asks again with what they lead to. A
place that only looks odd is not here; each of these gives a job what is root's, in its agent or on the host.
"""

from __future__ import annotations

# Two names of one place, in a Debian image as on a host of today.
ALIASES = {
    "/var/run": "/run",
    "/var/lock": "/run/lock",
    "/bin": "/usr/bin",
    "/sbin": "/usr/sbin",
    "/lib": "/usr/lib",
    "/lib32": "/usr/lib32",
    "/lib64": "/usr/lib64",
}
# Of a container, with all that is beneath.
CONTAINERS_OWN = (
    *("/run/mayfly", "/run/mayfly-docker", "/run/mayfly-job", "/proc", "/sys", "/dev"),
)
LED_BY_ROOT = (  # root in an agent runs or reads what stands there
    "/opt/mayfly",
    "/etc/mayfly",
    "/etc/pam.d",
    "/etc/security",
    "/etc/sudoers.d",
    "/etc/ld.so.conf.d",
    *("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/sudoers"),
    *("/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.cache", "/etc/nsswitch.conf"),
    *("/usr/bin", "/usr/sbin", "/usr/lib32", "/usr/lib64"),
    *("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"),
    *("/usr/local/lib/x86_64-linux-gnu", "/usr/local/lib/aarch64-linux-gnu"),
    *("/usr/lib/sudo", "/usr/lib/cargo", "/usr/libexec", "/usr/local/nvidia", "/etc/alternatives"),
)
# Of a container, by how it begins: the GPU runtime lists the libraries there, for root's programs too.
LIBRARIES = "/usr/local/cuda"
# In a directory of libraries: the loader prefers what is in one that the processor is good for.
BY_PROCESSOR = (
    *("glibc-hwcaps", "tls", "haswell", "xeon_phi", "avx512_1", "x86_64", "aarch64", "atomics"),
)
# Of a container, itself alone.
FULL = (
    *("/boot", "/home", "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/local/sbin"),
    *("/var", "/var/lib"),
)
# Of the host, with all that is beneath.
HOSTS_OWN = (
    *("/proc", "/sys", "/dev", "/boot", "/root/.ssh"),
    *("/run/mayfly", "/run/docker", "/run/docker.sock", "/run/containerd", "/run/podman"),
    *("/run/credentials", "/run/systemd", "/run/dbus"),
    *("/etc/mayfly", "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssh"),
    *("/etc/docker", "/etc/systemd", "/etc/cron.d"),
    *("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/mayfly"),
)
NOT_TO_WRITE = ("/etc", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64")
SHARED_MEMORY = "/dev/shm/"  # noqa: S108  the one place of /dev that holds people's files


def within(path: str, tree: str) -> bool:
    """Whether a path is that one or beneath it."""
    return path == tree or path.startswith(tree.rstrip("/") + "/")


def unaliased(path: str) -> str:
    """The path by its one name."""
    for name, real in ALIASES.items():
        if within(path, name):
            return real + path.removeprefix(name)
    return path


def beneath(path: str, tree: str) -> bool:
    """Whether a path of a container is somewhere in another, and not that one, whatever names they go by."""
    place, over = unaliased(path), unaliased(tree)
    return place != over and within(place, over)


def target_problem(path: str) -> str | None:
    """Why nothing is mounted at that place of a container; ``None`` where something may be."""
    place = unaliased(path)
    for tree in CONTAINERS_OWN:
        if within(place, tree):
            return f"{path!r} is reserved: {tree} belongs to the container itself"
    for tree in LED_BY_ROOT:
        if within(place, tree):
            return f"{path!r} is reserved: what root runs in an agent goes by {tree}"
    if place in FULL or any(within(tree, place) for tree in (*CONTAINERS_OWN, *LED_BY_ROOT)):
        return f"{path!r} is reserved: it would hide the image's own files"
    return None


def cache_target_problem(path: str) -> str | None:
    """Why no cache is mounted at that place, where a dataset may be; ``None`` where it may, too."""
    place = unaliased(path)
    preferred = (
        f"{tree}/{name}" for tree in ("/usr/lib", "/usr/local/lib") for name in BY_PROCESSOR
    )
    if place.startswith(LIBRARIES) or any(within(place, tree) for tree in preferred):
        return f"{path!r} is never a cache: root in an agent with GPUs finds libraries there"
    if within(place, "/etc"):
        return f"{path!r} is never a cache: root in an agent goes by what is in /etc"
    return None


def source_problem(path: str, *, writable: bool, own: tuple[str, ...] = ()) -> str | None:
    """Why that place of the host is mounted into no agent; ``None`` where it may be.

    ``own`` are places of this Mayfly beside those that each has.
    """
    place = unaliased(path)
    if place.startswith(SHARED_MEMORY):
        return None
    for tree in (*HOSTS_OWN, *own):
        if within(place, tree):
            return f"{path!r} is never mounted: {tree} is the host's own"
        if within(tree, place):
            return f"{path!r} is never mounted: {tree} is in it, which is the host's own"
    for tree in NOT_TO_WRITE if writable else ():
        if within(place, tree) or within(tree, place):
            return f"{path!r} is never a cache: jobs would write what the host runs"
    return None

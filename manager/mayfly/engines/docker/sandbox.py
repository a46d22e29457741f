"""A slot's holder in Docker's words: a container that sleeps, and what in its namespace is the Engine's.

Pure. Its image is the pool's, which is there already, and its program that image's ``sleep``; it has no
capability, no file that it could write, and bounds of its own. Whoever joins it shares its three files of the
network with all others who do, so a joined container sees them read-only, root or not.
"""

from __future__ import annotations

from collections import Counter

from mayfly.core.bare_command import bare
from mayfly.core.sandbox import MEMORY, PIDS, SandboxPlan
from mayfly.edge.network_namespace import Sockets
from mayfly.engines.docker.values import ContainerPlan

SLEEP = bare(("sleep", "infinity"))
NOBODY = "65534:65534"
# Of the namespace: no port stays taken after a job's end, and no speed is learnt from it.
SYSCTLS = {"net.ipv4.tcp_max_tw_buckets": "0", "net.ipv4.tcp_no_metrics_save": "1"}
# What a container has read-only where nobody says otherwise (as moby has it), and the holder's files.
READ_ONLY = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
)
RESOLVER = "127.0.0.11"  # where the Engine answers for name servers, in networks of one's own
OWN_NETLINK = 2  # sockets that the Engine sets the namespace up with


def holder_plan(plan: SandboxPlan, network: str) -> ContainerPlan:
    """The holder as a container of Docker's, in that network."""
    return ContainerPlan(
        name=plan.name,
        hostname=plan.slot,
        image=plan.image,
        labels=plan.labels,
        env={"NVIDIA_VISIBLE_DEVICES": "void"},
        entrypoint=SLEEP,
        command=(),
        user=NOBODY,
        memory=MEMORY,
        pids=PIDS,
        read_only=True,
        userns=plan.userns,
        oom_score_adj=0,
        init=False,
        auto_remove=False,  # an Engine before 24.0.8 that restarts ends what removes itself
        network=network,
        dns=plan.network.dns,
        sysctls=SYSCTLS,
        log_max_size=1024 * 1024,
        stop_timeout=1,
    )


def only_the_engines(found: Sockets) -> bool:
    """Whether all sockets are the Engine's own: one for each way to ask for names, and some of netlink."""
    tables = Counter(table for table, _ in found.bound)
    at_resolver = all(address == RESOLVER for _, address in found.bound)
    few = tables["tcp"] <= 1 and tables["udp"] <= 1 and found.netlink <= OWN_NETLINK
    return found.hidden == 0 and found.waiting == 0 and at_resolver and few

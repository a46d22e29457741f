"""What a network namespace has in it, as the kernel tells of a process that is in it (proc(5), ``net``).

For whoever keeps a namespace from one job to the next: sockets outlive the process that made them, if it has
handed them on, or if the kernel still has something to send. It must never take one namespace for another's:
a number that an engine names is another process's once the first is gone.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mayfly.core.activity import Traffic
from mayfly.core.model import ContainerId

PROC = Path("/proc")
TABLES = ("tcp", "udp", "tcp6", "udp6")
# The families of netlink(7) that cannot tell of other sockets: ROUTE, XFRM, NETFILTER.
HARMLESS = frozenset({"0", "6", "12"})
# More than anybody keeps: where there are more sockets, or the kernel has more to say, it is not listened to.
MANY = 64
BYTES = 64 * 1024  # of one file
TRACKS = "sys/net/netfilter/nf_conntrack_max"  # where it is, connections are tracked
TRACKED = "stat/nf_conntrack"
OPENING = (
    "Tcp:ActiveOpens",
    "Udp:OutDatagrams",
    "Icmp:OutEchos",
    "Udp6OutDatagrams",
    "Icmp6OutEchos",
)
SENT = 9  # the column of net/dev after the name that has the packets sent
OF_ALL_NAMESPACES = frozenset({"orphan", "alloc", "mem", "memory"})

# Of what there is how many, such as ("TCP:", "inuse", 1); "sockets: used" are all that somebody has.
Counts: TypeAlias = tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets of one namespace."""

    counts: Counts
    bound: tuple[tuple[str, str], ...]  # the table and the own address of each that has one
    netlink: int  # of families that tell nothing of other sockets

    @property
    def hidden(self) -> int:
        """How many there are that no table shows, or that none was asked for."""
        return _used(self.counts) - len(self.bound) - self.netlink

    @property
    def waiting(self) -> int:
        """How many ports the kernel keeps taken for a while, for nobody."""
        return sum(number for _, what, number in self.counts if what == "tw")


def counted(process: int, container: ContainerId, proc: Path = PROC) -> Counts | None:
    """How many sockets are in the namespace of that process, soon told; ``None`` where it is not that
    container's, or is not shown.
    """
    place = proc / str(process)
    try:
        counts = _counts(place)
        return counts if _is_of(place, container) else None
    except (OSError, ValueError):
        return None


def sockets(process: int, container: ContainerId, proc: Path = PROC) -> Sockets | None:
    """What is in the namespace of that process, which takes some 20 ms; ``None`` where it is not that
    container's, or is not shown, or changes meanwhile. More than ``MANY`` are counted alone.
    """
    place = proc / str(process)
    try:
        counts = _counts(place)
        if _used(counts) > MANY:
            return Sockets(counts, (), 0) if _is_of(place, container) else None
        bound = tuple(one for table in TABLES for one in _bound(place, table))
        netlink = sum(1 for row in _rows(place, "netlink") if row[1] in HARMLESS and row[2] != "0")
        same = _counts(place) == counts and _is_of(place, container)
    except (OSError, ValueError, IndexError):
        return None
    return Sockets(counts, bound, netlink) if same else None


@dataclass(frozen=True, slots=True)
class Traces:
    """What may be known elsewhere, or later, of what was done in a namespace."""

    sent: int  # packets that have left it, ever
    tracked: int  # connections, within it too, that the kernel remembers for a while


def traces(process: int, container: ContainerId, proc: Path = PROC) -> Traces | None:
    """Those of that process's namespace; ``None`` where it is not that container's, or is not shown."""
    place = proc / str(process)
    try:
        found = Traces(_sent(place), _tracked(place, proc))
        return found if _is_of(place, container) else None
    except (OSError, ValueError, IndexError):
        return None


def _sent(place: Path) -> int:
    """By all interfaces but the one that leads nowhere; nobody can take from these counts."""
    rows = (line.partition(":") for line in _text(place / "net" / "dev").splitlines()[2:])
    return sum(int(counts.split()[SENT]) for name, _, counts in rows if name.strip() != "lo")


def _tracked(place: Path, proc: Path) -> int:
    """``ValueError`` where the kernel tracks connections and does not tell of them (NF_CONNTRACK_PROCFS)."""
    # A row for each processor, and the same number in each.
    found = [int(row[0], 16) for row in _rows(place, TRACKED)]
    if not found and (proc / TRACKS).exists():
        raise ValueError("how many connections are tracked is not shown")
    return max(found, default=0)


def tracked_by(process: int, proc: Path = PROC) -> int:
    """How many connections the kernel remembers in the namespace of that process; 0 where it does not
    tell."""
    try:
        return max((int(row[0], 16) for row in _rows(proc / str(process), TRACKED)), default=0)
    except (OSError, ValueError, IndexError):
        return 0


def namespace(process: int, proc: Path = PROC) -> str:
    """What is the same for all processes of one namespace; of one that may not be asked its own number."""
    try:
        return str((proc / str(process) / "ns" / "net").readlink())
    except OSError:
        return str(process)


def traffic(process: int, container: ContainerId, proc: Path = PROC) -> Traffic | None:
    """That of the process's namespace; ``None`` where it is not that container's, or is not shown."""
    place = proc / str(process)
    try:
        found = Traffic(tracked_by(process, proc), _sent(place), _opened(place))
        return found if _is_of(place, container) else None
    except (OSError, ValueError, IndexError):
        return None


def _opened(place: Path) -> int:
    """Connections by TCP, which counts for both versions of IP, datagrams, and echoes asked for (SNMP's
    MIBs)."""
    table = _text(place / "net" / "snmp").splitlines()
    names = [f"{of}{name}" for line in table[::2] for of, *rest in [line.split()] for name in rest]
    counts = [int(count) for line in table[1::2] for count in line.split()[1:]]
    found = dict(zip(names, counts, strict=True))
    try:
        newer = (line.split() for line in _text(place / "net" / "snmp6").splitlines())
        found |= {name: int(count) for name, count in newer}
    except FileNotFoundError:
        pass  # a kernel without IPv6
    return sum(found.get(name, 0) for name in OPENING)


def _is_of(place: Path, container: ContainerId) -> bool:
    """To be asked last: what was read before is that container's if its process is still there."""
    return container in _text(place / "cgroup")


def _used(counts: Counts) -> int:
    return sum(number for _, what, number in counts if what == "used")


def _text(file: Path) -> str:
    """What the kernel says there; ``ValueError`` where it is too much."""
    with file.open("rb") as opened:
        said = opened.read(BYTES + 1)
    if len(said) > BYTES:
        raise ValueError(f"{file} has more than {BYTES} bytes")
    return said.decode(errors="replace")


def _counts(place: Path) -> Counts:
    found: list[tuple[str, str, int]] = []
    for file in ("sockstat", "sockstat6"):
        try:
            text = _text(place / "net" / file)
        except FileNotFoundError:
            if file == "sockstat":
                raise
            continue  # a kernel without IPv6
        for line in text.splitlines():
            of, *rest = line.split()
            pairs = zip(rest[::2], rest[1::2], strict=True)
            found += [(of, what, int(n)) for what, n in pairs if what not in OF_ALL_NAMESPACES]
    if not any(what == "used" for _, what, _ in found):
        raise ValueError("sockstat does not say how many sockets are used")
    return tuple(found)


def _rows(place: Path, table: str) -> Iterator[list[str]]:
    try:
        text = _text(place / "net" / table)
    except FileNotFoundError:  # a kernel without IPv6
        return
    for line in text.splitlines()[1:]:
        yield line.split()


def _bound(place: Path, table: str) -> Iterator[tuple[str, str]]:
    for row in _rows(place, table):
        yield table, _address(row[1].partition(":")[0])


def _address(digits: str) -> str:
    """An address as the kernel prints it: words of four bytes, each in the host's own order."""
    words = [bytes.fromhex(digits[at : at + 8]) for at in range(0, len(digits), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return str(ipaddress.ip_address(b"".join(words)))

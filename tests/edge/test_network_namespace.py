"""What is in a network namespace, by what the kernel prints of it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mayfly.core.activity import Traffic
from mayfly.core.model import ContainerId
from mayfly.edge.network_namespace import (
    BYTES,
    MANY,
    Traces,
    counted,
    sockets,
    traces,
    tracked_by,
    traffic,
)
from mayfly.engines.docker.sandbox import only_the_engines

HOLDER = ContainerId("c0ffee" * 8)
SOCKSTAT = """sockets: used {used}
TCP: inuse {tcp} orphan 7 tw {tw} alloc 9 mem 3
UDP: inuse {udp} mem 2
RAW: inuse 0
FRAG: inuse 0 memory 0
"""
SOCKSTAT6 = "TCP6: inuse 0\nUDP6: inuse 0\n"
TCP = "  sl  local_address rem_address   st\n"
NETLINK = "sk               Eth Pid        Groups\n0000 0   0          0\n0000 4   0          0\n"
RESOLVER = "0B00007F:B225 00000000:0000 0A"
ELSEWHERE = "020012AC:1F90 00000000:0000 0A"
LISTENS6 = "00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A"


def a_namespace(
    proc: Path,
    *,
    used: int = 3,
    tw: int = 0,
    tcp: tuple[str, ...] = (RESOLVER,),
    tcp6: tuple[str, ...] = (),
    netlink: str = "0000 0   7572       0\n",
) -> None:
    """Process 7 of the holder: the Engine answers for names there and has one socket of netlink."""
    net = proc / "7" / "net"
    net.mkdir(parents=True)
    (proc / "7" / "cgroup").write_text(f"0::/docker/{HOLDER}\n")
    (net / "sockstat").write_text(SOCKSTAT.format(used=used, tcp=len(tcp), tw=tw, udp=1))
    (net / "sockstat6").write_text(SOCKSTAT6)
    (net / "tcp").write_text(TCP + "".join(f"  0: {row}\n" for row in tcp))
    (net / "tcp6").write_text(TCP + "".join(f"  0: {row}\n" for row in tcp6))
    (net / "udp").write_text(TCP + "  9: 0B00007F:8468 00000000:0000 07\n")
    (net / "netlink").write_text(NETLINK + netlink)


def is_empty(proc: Path) -> bool:
    found = sockets(7, HOLDER, proc)
    assert found is not None
    return only_the_engines(found)


def test_the_engines_own_sockets_are_nobodys(tmp_path: Path) -> None:
    a_namespace(tmp_path)
    assert is_empty(tmp_path)
    assert counted(7, HOLDER, tmp_path) is not None


@pytest.mark.parametrize(
    "left",
    [
        {"used": 4},  # one that is bound to nothing: no table shows it
        {"tw": 1},
        {"used": 4, "tcp": (RESOLVER, ELSEWHERE)},
        {"used": 4, "tcp": (RESOLVER, "0B00007F:1F90 00000000:0000 0A")},
        {"tcp": (ELSEWHERE,)},
        {"used": 4, "tcp6": (LISTENS6,)},
        {"used": 4, "netlink": "0000 0   7572       0\n0000 4   7573       0\n"},  # tells of others
    ],
)
def test_whatever_else_is_there_somebody_has_left(tmp_path: Path, left: dict[str, object]) -> None:
    a_namespace(tmp_path, **left)  # type: ignore[arg-type]
    assert not is_empty(tmp_path)


def test_of_many_sockets_no_table_is_read(tmp_path: Path) -> None:
    a_namespace(tmp_path, used=MANY + 1)
    table = tmp_path / "7" / "net" / "tcp"
    table.unlink()
    table.mkdir()  # whoever reads it fails
    assert not is_empty(tmp_path)
    (tmp_path / "7" / "net" / "sockstat").write_text(SOCKSTAT.format(used=3, tcp=1, tw=0, udp=1))
    assert sockets(7, HOLDER, tmp_path) is None


@pytest.mark.parametrize("file", ["tcp", "netlink", "sockstat", "../cgroup"])
def test_more_than_few_have_to_say_is_not_read_to_its_end(tmp_path: Path, file: str) -> None:
    a_namespace(tmp_path)
    with (tmp_path / "7" / "net" / file).open("a") as opened:
        opened.write("\n" * BYTES)
    assert sockets(7, HOLDER, tmp_path) is None


def test_another_processs_namespace_is_none(tmp_path: Path) -> None:
    a_namespace(tmp_path)
    assert sockets(8, HOLDER, tmp_path) is None
    (tmp_path / "7" / "cgroup").write_text("0::/user.slice\n")  # the number was given again
    assert sockets(7, HOLDER, tmp_path) is None
    assert counted(7, HOLDER, tmp_path) is None
    (tmp_path / "7" / "net" / "sockstat").write_text("nothing that anybody knows\n")
    assert counted(7, HOLDER, tmp_path) is None


def test_the_kernel_counts_a_socket_that_is_bound_to_nothing() -> None:
    groups = Path("/proc/self/cgroup").read_text()
    here = ContainerId(groups.splitlines()[0])

    def used() -> int:
        counts = counted(os.getpid(), here)
        assert counts is not None
        return sum(number for _, what, number in counts if what == "used")

    # Others come and go on this host: of a hundred at once not all are outweighed.
    before = used()
    many = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(500)]
    assert used() > before + 250
    for one in many:
        one.close()


def test_where_connections_are_tracked_and_not_told_of_nothing_is_known(tmp_path: Path) -> None:
    a_namespace(tmp_path)
    net = tmp_path / "7" / "net"
    sent = "eth0: 1 1 0 0 0 0 0 0 5 2 0 0 0 0 0 0\n"
    (net / "dev").write_text(f"Inter-|\n face |\n    lo: {'9 ' * 16}\n  {sent}")
    assert traces(7, HOLDER, tmp_path) == Traces(2, 0), "this kernel tracks nothing"
    tracks = tmp_path / "sys/net/netfilter"
    tracks.mkdir(parents=True)
    (tracks / "nf_conntrack_max").write_text("65536\n")
    assert traces(7, HOLDER, tmp_path) is None
    (net / "stat").mkdir()
    (net / "stat" / "nf_conntrack").write_text("entries searched\n0000000a 0\n0000000a 0\n")
    assert traces(7, HOLDER, tmp_path) == Traces(2, 10)


def test_what_was_begun_is_counted_by_either_version_of_ip(tmp_path: Path) -> None:
    a_namespace(tmp_path)
    net = tmp_path / "7" / "net"
    (net / "dev").write_text(f"Inter-|\n face |\n    lo: {'9 ' * 16}\n  eth0: {'4 ' * 16}\n")
    (net / "snmp").write_text(
        "Ip: Forwarding OutRequests\nIp: 1 5000\nIcmp: InMsgs OutEchos\nIcmp: 9 1\n"
        "Tcp: MaxConn ActiveOpens\nTcp: -1 20\nUdp: InDatagrams OutDatagrams\nUdp: 7 300\n"
    )
    assert traffic(7, HOLDER, tmp_path) == Traffic(0, 4, 321), "a kernel without IPv6"
    (net / "snmp6").write_text("Udp6OutDatagrams \t4000\nIcmp6OutEchos 50000\nIp6InReceives 9\n")
    (net / "stat").mkdir()
    (net / "stat" / "nf_conntrack").write_text("entries searched\n00000010 0\n00000010 0\n")
    assert traffic(7, HOLDER, tmp_path) == Traffic(16, 4, 54321)
    assert (tracked_by(7, tmp_path), tracked_by(8, tmp_path)) == (16, 0)
    (tmp_path / "7" / "cgroup").write_text("0::/user.slice\n")
    assert traffic(7, HOLDER, tmp_path) is None


@pytest.mark.parametrize(
    "text", ["Tcp: ActiveOpens\n", "Tcp: ActiveOpens\nTcp: many\n", "\n" * BYTES]
)
def test_what_is_no_count_is_not_known(tmp_path: Path, text: str) -> None:
    a_namespace(tmp_path)
    (tmp_path / "7" / "net" / "dev").write_text("Inter-|\n face |\n")
    (tmp_path / "7" / "net" / "snmp").write_text(text)
    assert traffic(7, HOLDER, tmp_path) is None

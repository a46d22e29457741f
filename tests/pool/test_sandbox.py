"""A slot's kept network: what a job tries to leave there, the next one does not find.

The first job of each pair does what it can to its network, as its user and, where the pool has ``sudo``, as
root; the second says what it sees.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import Manager, until

POOL = """
[[pool]]
name = "local"
provider = "local"
sandbox = "slot"
{more}
[pool.env]
AS_ROOT = "{root}"
"""
# What a look inside shows: it is to be the same before and after a job that does its worst.
SEEN = """
own=$(hostname -I | cut -d' ' -f1)
hostname
{
  grep -v '^#' /etc/hosts /etc/resolv.conf /etc/hostname
  cat /proc/net/route /proc/net/ipv6_route
  grep -F '|--' /proc/net/fib_trie | sort -u
  tail -n +2 /proc/net/unix
  cut -c1-36 /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 | grep -v -e 0B00007F -e local
  find /proc/sys/net -type f | grep -v -e /stat -e flush | sort | xargs grep -asH ''
  tail -n +2 /proc/net/arp | grep -v -e ' 0x2 ' -e ' 0x0 '
  tail -n +2 /proc/net/stat/nf_conntrack | cut -d' ' -f1
} | sed "s/$own\\b/OWN/g"
"""
SERVER = """
use Socket;
socket(my $one, PF_INET, SOCK_STREAM, 0) or die;
bind($one, sockaddr_in(7777, INADDR_ANY)) or die "bind: $!";   # without SO_REUSEADDR
listen($one, 5) or die;
"""
# It closes each connection first, so that its port would wait; then it stays, as the job does not.
WORST = f"""
perl -e '{SERVER}
for (1..3) {{
  if (!fork) {{
    socket(my $c, PF_INET, SOCK_STREAM, 0);
    connect($c, sockaddr_in(7777, INADDR_LOOPBACK));
    <$c>;
    exit;
  }}
  accept(my $c, $one) or die;
  close $c;
  wait;
}}
socket(my $u, PF_UNIX, SOCK_STREAM, 0) or die;
bind($u, pack("Sa*", AF_UNIX, "\\0left")) or die;
listen($u, 5) or die;
socket(my $d, PF_INET, SOCK_DGRAM, 0) or die;
bind($d, sockaddr_in(7778, INADDR_ANY)) or die;
open(my $f, ">", "/tmp/listens");
close $f;
sleep 600' &
while ! [ -e /tmp/listens ]; do sleep 0.05; done
echo listens
$AS_ROOT sh -c '
  echo 6.6.6.6 left >>/etc/hosts
  echo nameserver 6.6.6.6 >/etc/resolv.conf
  echo left >/etc/hostname
  hostname left
  mount -o remount,rw /etc/hosts
  umount /etc/hosts
  ip route add 6.6.6.0/24 via 172.17.0.1
  ip addr add 6.6.6.6/32 dev eth0
  ip neigh add 172.17.0.99 lladdr 02:42:00:00:00:09 dev eth0
  for key in ipv4/ip_forward ipv4/tcp_max_tw_buckets core/somaxconn; do
    echo 1 >/proc/sys/net/$key
  done
  iptables -A INPUT -j DROP
  nft add table inet left
' 2>/dev/null
exit 0
"""


def job(manager: Manager, script: str) -> str:
    """What a job prints that succeeds."""
    one = manager.queue("bash", "-c", script)
    ended = manager.ended(one)
    assert ended["state"] == "succeeded", (ended, manager.output(one))
    return manager.output(one)


def sandbox(manager: Manager) -> dict[str, Any]:
    """The one slot's, once its agent is in one that may be used."""

    def look() -> dict[str, Any] | None:
        row = manager.slot()
        found = row["sandbox"]
        return found if row["phase"] == "idle" and found and found["usable"] else None

    return until(look, "the slot's agent stands in a sandbox")


def holders(manager: Manager) -> list[str]:
    """The holders of this manager on its Engine."""
    ours = (
        "--filter",
        f"label=io.mayfly.host={manager.host_id()}",
        "--filter",
        "label=io.mayfly.sandbox=holder",
    )
    return manager.docker("ps", "-aq", *ours).split()


def held_open(process: int) -> socket.socket:
    """A socket in that process's network namespace, bound to nothing and had by somebody outside of it: as a
    job may hand one to another agent.
    """
    made: list[socket.socket] = []
    namespace = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)

    def enter() -> None:
        assert ctypes.CDLL(None, use_errno=True).setns(namespace, 0) == 0  # this thread alone
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    os.close(namespace)
    return made[0]


# As root it can do all that it can as its user.
@pytest.mark.parametrize("sudo", [True, pytest.param(False, marks=pytest.mark.soak)])
def test_what_a_job_does_to_its_network_the_next_one_does_not_find(
    make: Callable[..., Manager], sudo: bool
) -> None:
    more, root = ("sudo = true", "sudo") if sudo else ("", "")
    manager = make(POOL.format(more=more, root=root))
    manager.start()
    first = sandbox(manager)
    assert (first["processes"], first["memory_limit"]) == (1, 32 * 1024 * 1024)
    before = job(manager, SEEN)
    assert before.splitlines()[0] == "local-0"
    assert "listens" in job(manager, WORST)
    for _ in range(3):  # in each namespace that the slot keeps, in turn
        assert job(manager, SEEN) == before
        # The port is free at once, for who asks without SO_REUSEADDR, and nobody answers by the old names.
        taken = f"perl -e '{SERVER}' && ! : >/dev/tcp/127.0.0.1/7778 && echo free"
        assert "free" in job(manager, taken)


def test_a_namespace_that_a_packet_has_left_is_not_handed_on(make: Callable[..., Manager]) -> None:
    """Whoever may know of it, the host's connection tracking too, knows of a namespace that is no more."""
    manager = make(POOL.format(more="", root=""))
    manager.start()
    joined: list[str] = []

    def handed_on() -> bool:
        """A packet of the kernel's own, an answer to ARP, costs a holder now and then."""
        joined.append(sandbox(manager)["container"])
        assert job(manager, "hostname -I").count(".") == 3
        return len(set(joined)) < len(joined)

    until(handed_on, "while nothing is sent one is handed on")
    for _ in range(2):
        used = sandbox(manager)["container"]
        assert used in holders(manager)
        assert job(manager, "echo out >/dev/udp/192.0.2.1/9; echo sent") == "sent\n"
        until(lambda used=used: used not in holders(manager), "the one that it was in goes")  # type: ignore[misc]


def test_a_sandbox_outlives_its_agents_and_managers_and_goes_when_it_is_wanted_no_more(
    make: Callable[..., Manager],
) -> None:
    manager = make(POOL.format(more="", root=""))
    manager.start()
    first = sandbox(manager)["container"]
    assert job(manager, "hostname -I").count(".") == 3
    manager.kill()
    manager.start()
    second = sandbox(manager)["container"]
    until(lambda: first == second or first not in holders(manager), "what nobody watched goes")
    manager.kill()
    manager.start()
    assert sandbox(manager)["container"] == second, "the next manager finds it again"

    # Somebody outside has a socket in there, as a job may have handed one on: the sandbox is given up.
    littered = sandbox(manager)["container"]
    process = int(manager.docker("inspect", "--format", "{{.State.Pid}}", littered))
    with held_open(process):
        assert job(manager, "echo another") == "another\n"
        assert sandbox(manager)["container"] != littered
        until(lambda: littered not in holders(manager), "the littered one goes")

    # Somebody kills the holder: an idle agent without a network is replaced.
    agent, killed = manager.slot()["agent"], sandbox(manager)["container"]
    manager.docker("kill", killed)
    until(lambda: manager.slot()["agent"] not in (None, agent), "the agent is replaced")
    third = sandbox(manager)["container"]
    assert third not in (littered, killed)
    assert job(manager, "hostname") == "local-0\n"

    # Another configuration, another sandbox; then none.
    manager.configure(POOL.format(more='dns = ["10.9.8.7"]', root=""))
    assert manager.cli("reload").returncode == 0
    until(lambda: len(found := holders(manager)) == 1 and found[0] != third, "it is replaced")
    assert sandbox(manager)["container"] != third
    manager.configure(POOL.format(more="", root="").replace('"slot"', '"job"'))
    assert manager.cli("reload").returncode == 0
    until(lambda: not holders(manager), "no holder is left")
    manager.in_phase("idle")
    assert manager.slot()["sandbox"] is None
    assert job(manager, "hostname") == "local-0\n"


def test_agents_in_kept_networks_do_not_reach_each_other(make: Callable[..., Manager]) -> None:
    manager = make(POOL.format(more="slots = 2\nstandby = false", root=""))
    manager.start()
    listens = f"hostname -I; perl -e '{SERVER} print qq(listens\\n); $| = 1; print q(); sleep 600'"
    one = manager.submit("bash", "-c", listens)
    address = until(
        lambda: "listens" in (said := manager.output(one)) and said.split()[0], "it listens"
    )
    # To who may reach it a connection is made or refused at once.
    reach = f"timeout 5 bash -c ': >/dev/tcp/{address}/7777' 2>&1; echo ended $?"
    said = job(manager, reach)
    assert "refused" not in said
    assert "ended 0" not in said
    assert manager.job(one)["state"] == "running"


def test_whoever_drains_and_stops_leaves_no_holder_behind(make: Callable[..., Manager]) -> None:
    manager = make(POOL.format(more="standby = false", root=""))
    manager.start()
    sandbox(manager)
    assert manager.cli("drain", "--all", "--wait", "--timeout", "60s").returncode == 0
    assert manager.process is not None
    manager.process.send_signal(signal.SIGTERM)
    assert manager.process.wait(60) == 0
    assert holders(manager) == []

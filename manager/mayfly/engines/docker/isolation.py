"""Two throwaway containers on an agents' network: what one of them reaches is what agents would reach.

The peer has no port open: where traffic gets through, its kernel refuses the connection, and where it is
filtered nothing comes back. Neither container is listed as an agent, and both end by themselves.
"""

from __future__ import annotations

from mayfly.core.bare_command import bare
from mayfly.core.model import Breach
from mayfly.edge.faults import Passing

LABEL = "io.mayfly.probe"  # of both: whose they are
SLEEP = bare(("sleep", "30"))  # seconds that both are there at the most
SECONDS = 20.0  # for the looks from inside
METADATA = "169.254.169.254"
METADATA_LINE = (
    f"sudo iptables -t raw -I PREROUTING ! -i lo -d {METADATA} -j DROP   # until the next boot"
)
LOOK = f"""LC_ALL=C; export LC_ALL
reaches() {{
  said=$(timeout "$3" bash -c ": >/dev/tcp/$1/$2" 2>&1) && return 0
  case $said in *refused*) return 0 ;; *) return 1 ;; esac
}}
reaches "$1" 9 3 && echo peers
[ -z "$2" ] || ! reaches "$2" 9 3 || echo peers6
said=$(timeout 2 bash -c ': >/dev/tcp/{METADATA}/80' 2>&1) && echo metadata
for one in /dev/nvidia[0-9]*; do [ ! -e "$one" ] || echo devices; done
echo looked
"""


def breaches(said: bytes, network: str, *, filtered: bool | None) -> tuple[Breach, ...]:
    """What the look from inside came to; ``filtered``: iptables sees what goes over bridges, ``None``: the
    Engine does not say.
    """
    words = said.decode("ascii", "replace").split()
    if "looked" not in words:
        raise Passing("trying isolation: the pool's image has no bash, or no timeout")
    found = {
        "peers": Breach("peers", "reach each other over the network", _line(filtered)),
        "peers6": Breach("peers", "reach each other over IPv6", _line6(network)),
        "metadata": Breach(
            "metadata",
            f"reach {METADATA}: on a cloud a job can take this host's credentials there",
            METADATA_LINE,
        ),
        "devices": Breach(
            "devices",
            "see GPUs that nobody leased to them",
            "# take default-runtime out of /etc/docker/daemon.json, then: sudo systemctl restart docker",
        ),
    }
    seen = {breach.code: breach for word, breach in reversed(found.items()) if word in words}
    return tuple(reversed(seen.values()))  # one of a code, the first


def _line(filtered: bool | None) -> str:
    if filtered is False:
        return "sudo modprobe br_netfilter && sudo sysctl -w net.bridge.bridge-nf-call-iptables=1"
    line = (
        '# take "iptables": false out of /etc/docker/daemon.json, then: '
        "sudo systemctl restart docker"
    )
    if filtered is None:  # Docker 28.2 and newer
        return f"{line}; where it is not there: sudo sysctl -w net.bridge.bridge-nf-call-iptables=1"
    return line


def _line6(network: str) -> str:
    """A filter for IPv6 depends on release, settings and kernel; a network without IPv6 needs none."""
    return (
        f"# drain the pool's slots, then: sudo docker network rm {network}   # make it again without --ipv6 "
        "if it is your own"
    )

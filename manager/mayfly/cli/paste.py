"""A line to paste as it works here, now and for this user: what a `fix:` says everywhere, made to fit.

`sudo` stays only where it is needed, the configuration that was named is named again, and a unit is started
only where there is one. Pure but for ``here``, which looks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from mayfly.core.plain_text import clean

UNITS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
BOOTED = Path("/run/systemd/system")  # sd_booted(3)
# Where timedatectl finds what it may set to keep the clock; each such package has a file in one of them.
TIMEKEEPERS = (
    "/etc/systemd/ntp-units.d",
    "/usr/local/lib/systemd/ntp-units.d",
    "/usr/lib/systemd/ntp-units.d",
    "/lib/systemd/ntp-units.d",
)
DOCKER_FILE = "/etc/docker/daemon.json"
# Verbs that read what only root reads, or write where only root writes.
OF_ROOT = (
    "run",
    "gateway",
    "init",
    "install",
    "doctor",
    "shell",
    "backup",
    "restore",
    "config migrate",
    "images build",
    "images pull",
)
# Verbs that look at the host that they are typed on, or change it: a manager elsewhere has nothing to do with
# them.
OF_THIS_HOST = frozenset(
    {
        *("run", "gateway", "health", "init", "install", "doctor", "bugreport", "shell", "config"),
        *("images", "notify", "relay", "completion", "help", "backup", "restore"),
    }
)
# Verbs that no option before them means anything to.
PLAIN = ("install", "images list", "images select", "config schema", "completion", "help")
VERBS = frozenset(
    (
        *(
            "attach",
            "top",
            "backup",
            "bugreport",
            "cancel",
            "completion",
            "config",
            "cordon",
            "describe",
            "doctor",
            "drain",
            "events",
            "fetch",
            "gateway",
            "gpus",
            "idle",
        ),
        *(
            "health",
            "help",
            "history",
            "hold",
            "images",
            "init",
            "install",
            "jobs",
            "logs",
            "notify",
            "pause",
            "pipeline",
            "plan",
            "push",
            "recycle",
            "relay",
            "release",
            "reload",
            "report",
            "reservations",
            "reserve",
        ),
        *(
            "restore",
            "resume",
            "retry",
            "run",
            "runs",
            "shell",
            "status",
            "submit",
            "uncordon",
            "wait",
        ),
    )
)
_VERB = re.compile(r"(?<![\w./@-])(sudo )?mayfly ((?:config |images )?[a-z]+)(?![\w./@-])")
_OF_A_MANAGER = re.compile(r"(sudo )?mayfly |sudo ")
_SHELL = re.compile("[;&|<>()$`'\"\\\\]")
_KUBECTL = re.compile(r"(?<![\w./@-])kubectl(?= (?!--context|--kubeconfig))")


@dataclass(frozen=True, slots=True)
class Here:
    """Who types, and on what host."""

    root: bool = False
    # the file that --config or MAYFLY_CONFIG names; None: the usual one
    config: str | None = None
    # the socket that --socket names; None: nobody named one
    socket: str | None = None
    context: str | None = None  # of the cluster whose manager was asked; None: this host's was
    host: str | None = None  # the box whose manager was asked over ssh; None: as above
    unit: bool = True  # whether systemd knows mayfly.service
    systemd: bool = True  # whether it runs here
    timekeeper: bool = True  # whether there is one that timedatectl could start
    docker_file: bool = True  # whether Docker has a file of its own already, which is to be edited


def here(
    config: str | None,
    socket: str | None = None,
    context: str | None = None,
    host: str | None = None,
) -> Here:
    """This user on this host; ``host``: a box that they asked, of which nothing is seen here."""
    if host is not None:
        return Here(host=host)
    named = config or os.environ.get("MAYFLY_CONFIG")
    unit = any(Path(place, "mayfly.service").exists() for place in UNITS)
    path = str(Path(named).absolute()) if named else None
    # Who came by sudo types the next line as the user that they are.
    root = os.geteuid() == 0 and os.environ.get("SUDO_UID", "0") == "0"
    return Here(
        root,
        path,
        socket,
        context,
        None,
        unit,
        BOOTED.exists(),
        any(any(Path(place).glob("*.list")) for place in TIMEKEEPERS),
        Path(DOCKER_FILE).exists(),
    )


def pasted(line: str, place: Here) -> str:
    """The line, or a sentence with such lines in it."""
    if place.host is not None:
        return _over_ssh(line, place.host)
    if not (place.unit and place.systemd):
        line = re.sub(r"(sudo )?systemctl start mayfly", "sudo mayfly run", line)
        line = re.sub(
            r"(sudo )?systemctl restart mayfly",
            "sudo mayfly run   # once the one that runs is stopped",
            line,
        )
    if not place.systemd:
        line = re.sub(r"(sudo )?systemctl enable --now mayfly", "sudo mayfly run", line)
    if not place.timekeeper:
        line = re.sub(
            r"(sudo )?timedatectl set-ntp true",
            "sudo apt-get install --yes systemd-timesyncd",
            line,
        )
    if not place.docker_file:
        line = re.sub(
            rf"# set (\"[a-z-]+\": \w+) in {DOCKER_FILE}, then: ",
            rf"echo '{{\1}}' | sudo install -D -m 644 /dev/stdin {DOCKER_FILE} && ",
            line,
        )
    if place.context is not None:
        # Its manager is a pod, and its lines name no cluster: it is whichever one was asked by that name.
        line = _KUBECTL.sub(f"kubectl --context {quote(place.context)}", line)
    line = _VERB.sub(lambda found: _fitted(found, place), line)
    return line.replace("sudo ", "") if place.root else line


def to_paste(line: str, place: Here) -> str:
    """The same of what is nothing but a line to paste.

    One that comes from a box is that box's word: whatever of it the shell here could take for another command
    is typed on the box.
    """
    if place.host is None:
        return pasted(line, place)
    line = clean(line)
    if line.startswith("#"):
        return pasted(line, place)
    found = pasted(line, place) if _OF_A_MANAGER.match(line) and not _is_for_a_shell(line) else line
    return found if found != line else f"ssh -t {place.host} {quote(line)}"


def _is_for_a_shell(line: str) -> bool:
    """Whether a shell makes more of it than a program and its words, but for a comment behind them."""
    return _SHELL.search(line.partition(" #")[0]) is not None


def _over_ssh(line: str, host: str) -> str:
    """The line as it is typed here for that box: what asks its manager, by ``--host``, the rest by ssh."""

    def fitted(found: re.Match[str]) -> str:
        sudo, verb = found[1] or "", found[2]
        first = verb.partition(" ")[0]
        if first not in VERBS:
            return found[0]
        if verb in OF_ROOT:
            sudo = "sudo "
        if first in OF_THIS_HOST:
            return f"ssh -t {host} {sudo}mayfly {verb}"
        return f"mayfly --host {host} {verb}"

    line = re.sub(r"(?<![\w./@-])sudo (?!mayfly )", f"ssh -t {host} sudo ", line)
    return _VERB.sub(fitted, line)


def typed_again(verb: str, options: Mapping[str, object]) -> str:
    """A verb as it was typed: what is ``True`` stands alone, what was not given is left out."""
    words = [f"mayfly {verb}"]
    for option, value in options.items():
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, quote(clean(str(value)))]
    return " ".join(words)


def next_steps(place: Here) -> str:
    """What follows once there is a configuration."""
    if place.config is not None or not place.systemd:
        return pasted("mayfly doctor, then sudo mayfly run", place)
    install = "" if place.unit else "sudo mayfly install and "
    return pasted(f"mayfly doctor, then {install}sudo systemctl enable --now mayfly", place)


def _fitted(found: re.Match[str], place: Here) -> str:
    sudo, verb = found[1] or "", found[2]
    if verb.partition(" ")[0] not in VERBS:
        return found[0]
    if verb in OF_ROOT:
        sudo = "sudo "
    options = ""
    if verb not in PLAIN:
        options += f"--config {quote(place.config)} " if place.config else ""
        asks = not verb.startswith(("images ", "config ", "init"))  # the manager
        options += f"--socket {quote(place.socket)} " if place.socket and asks else ""
        options += f"--context {quote(place.context)} " if place.context and asks else ""
    return f"{sudo}mayfly {options}{verb}"

"""Who is logged in on this host, and when they last typed: systemd-logind's word, else utmp's.

logind is asked by ``loginctl`` (loginctl(1): the properties of ``show-session`` are a stable interface);
utmp(5) is read where there is no logind, and newer distributions have none. When somebody typed last is the
time at which their terminal was read, as w(1) has it; of a login without a terminal that is not known.
"""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mayfly.core.plain_text import clean, one_line, shortened
from mayfly.edge.faults import Passing

UTMP = Path("/run/utmp")
SECONDS = 10.0  # for loginctl
READ_MAX = 4 * 1024 * 1024
# struct utmp of glibc: type, pid, line, id, user, host, exit, session, time, address
_RECORD = struct.Struct("hi32s4s32s256shhiii16s20x")
_USER_PROCESS = 7
_PROPERTIES = ("Name", "Class", "State", "TTY", "Remote", "RemoteHost", "Type")


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who is logged in."""

    user: str
    terminal: str = ""  # below /dev; "": none
    host: str = ""  # from which; "": this one, or not known
    idle: float | None = None  # seconds since its terminal was used; None: not known

    @property
    def described(self) -> str:
        """For a sentence."""
        on = f" on {self.terminal}" if self.terminal else ""
        return f"{self.user}{on}" + (f" from {self.host}" if self.host else "")


def logins(utmp: Path = UTMP, devices: Path = Path("/dev")) -> tuple[Login, ...]:
    """All of them; ``Passing`` where nobody can say."""
    try:
        found = tuple(_of_logind(devices))
    except Passing as fault:
        if not utmp.exists():
            raise Passing(
                f"who is logged in is not known: {fault}, and there is no {utmp}"
            ) from fault
        return tuple(_of_utmp(utmp, devices))
    return found


def _of_logind(devices: Path) -> Iterator[Login]:
    listed = _loginctl("list-sessions", "--no-legend", "--no-pager")
    ids = [words[0] for line in listed.splitlines() if (words := line.split())]
    if not ids:
        return
    wanted = [f"--property={name}" for name in _PROPERTIES]
    for block in _loginctl("show-session", *wanted, *ids, missing_is_fine=True).split("\n\n"):
        said = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        if said.get("Class", "user") != "user" or said.get("State") == "closing" or not said:
            continue  # a greeter, a manager of services, or one that is over
        host = said.get("RemoteHost", "") if said.get("Remote") == "yes" else ""
        yield _login(said.get("Name", ""), said.get("TTY", ""), host, devices)


def _loginctl(*words: str, missing_is_fine: bool = False) -> str:
    try:
        ran = subprocess.run(
            ["loginctl", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
        )
    except OSError as error:
        raise Passing(f"loginctl cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Passing(f"loginctl did not answer within {SECONDS:g} s") from error
    told = ran.stdout[:READ_MAX].decode(errors="replace")
    if ran.returncode != 0 and not (missing_is_fine and told):
        said = one_line(clean(ran.stderr.decode(errors="replace")))
        raise Passing(f"loginctl fails: {shortened(said, 200) or ran.returncode}")
    return told  # of a session that has ended meanwhile nothing is shown


def _of_utmp(utmp: Path, devices: Path) -> Iterator[Login]:
    try:
        with utmp.open("rb") as file:
            records = file.read(READ_MAX)
    except OSError as error:
        raise Passing(f"{utmp} cannot be read: {error.strerror}") from error
    for at in range(0, len(records) - _RECORD.size + 1, _RECORD.size):
        kind, pid, line, _, user, host, *_ = _RECORD.unpack_from(records, at)
        if kind == _USER_PROCESS and Path(f"/proc/{pid}").exists():
            yield _login(_text(user), _text(line), _text(host), devices)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _login(user: str, terminal: str, host: str, devices: Path) -> Login:
    idle = _idle(devices, terminal)
    return Login(_shown(user), _shown(terminal), _shown(host), idle)


def _shown(text: str) -> str:
    return shortened(one_line(clean(text)), 64)


def _idle(devices: Path, terminal: str) -> float | None:
    if not terminal or ".." in terminal or terminal.startswith("/"):
        return None
    try:
        return max(0.0, time.time() - (devices / terminal).stat().st_atime)
    except (OSError, ValueError):
        return None


def awake(found: Iterable[Login], within: float) -> Iterator[Login]:
    """Those who have typed within so many seconds, or of whom that is not known."""
    return (login for login in found if login.idle is None or login.idle < within)

"""Who is logged in, as loginctl and utmp say it, and when they typed last."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest

from mayfly.edge.faults import Passing
from mayfly.edge.logins import Login, awake, logins

SHOWN = {
    "3": "Name=ann\nClass=user\nState=active\nTTY=pts/1\nRemote=yes\nRemoteHost=10.0.0.7\nType=tty\n",
    "c1": "Name=gdm\nClass=greeter\nState=online\nTTY=tty1\nRemote=no\nRemoteHost=\nType=x11\n",
    "7": "Name=ben\nClass=user\nState=closing\nTTY=pts/2\nRemote=yes\nRemoteHost=h\nType=tty\n",
    "9": "Name=eve\x1b[2J\nClass=user\nState=online\nTTY=\nRemote=no\nRemoteHost=\nType=tty\n",
    "11": "Name=root\nClass=manager\nState=active\nTTY=\nRemote=no\nRemoteHost=\nType=unspecified\n",
}
LIST = "      3 1000 ann -     pts/1 active no -\n     c1  120 gdm seat0 tty1  online no -\n"


@pytest.fixture
def loginctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the program prints is in files beside it."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/loginctl"
    program.write_text(
        f"#!/bin/sh\ncd {tmp_path}\n[ -e broken ] && {{ cat broken >&2; exit 1; }}\n"
        'cat "$1" 2>/dev/null\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "list-sessions").write_text(LIST)
    (tmp_path / "show-session").write_text("\n".join(SHOWN.values()))
    return tmp_path


def terminal(home: Path, name: str, idle: float) -> None:
    place = home / "dev" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    at = time.time() - idle
    os.utime(place, (at, at))


def test_logind_tells_people_and_neither_greeters_nor_who_has_left(loginctl: Path) -> None:
    terminal(loginctl, "pts/1", 7200.0)
    ann, eve = logins(loginctl / "utmp", loginctl / "dev")
    assert (ann.user, ann.terminal, ann.host) == ("ann", "pts/1", "10.0.0.7")
    assert ann.described == "ann on pts/1 from 10.0.0.7"
    assert ann.idle == pytest.approx(7200.0, abs=60)
    assert eve == Login("eve"), "without a terminal nobody knows how long"
    assert [*awake((ann, eve), 3600.0)] == [eve]
    assert [*awake((ann, eve), 9000.0)] == [ann, eve]


def test_nobody_is_logged_in(loginctl: Path) -> None:
    (loginctl / "list-sessions").write_text("")
    assert logins(loginctl / "utmp", loginctl / "dev") == ()


def record(kind: int, pid: int, line: str, user: str, host: str = "") -> bytes:
    """One entry of utmp(5) as glibc writes it on 64-bit machines."""
    return struct.pack(
        "<hxxi32s4s32s256shhiii16s20x",
        *(kind, pid, line.encode(), b"ts/1", user.encode(), host.encode(), 0, 0, 1, 0, 0, b""),
    )


def test_without_logind_utmp_is_read_and_who_is_gone_is_not_there(loginctl: Path) -> None:
    (loginctl / "broken").write_text("System has not been booted with systemd as init system\n")
    terminal(loginctl, "pts/4", 30.0)
    (loginctl / "utmp").write_bytes(
        record(2, 0, "~", "reboot")
        + record(7, os.getpid(), "pts/4", "ann", "10.0.0.7")
        + record(7, 2**22 + 1, "pts/5", "ben")
        + b"half a record"
    )
    (ann,) = logins(loginctl / "utmp", loginctl / "dev")
    assert ann.described == "ann on pts/4 from 10.0.0.7"
    assert ann.idle == pytest.approx(30.0, abs=20)


def test_where_nobody_can_say_that_is_said(loginctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (loginctl / "broken").write_text("no bus\n")
    with pytest.raises(Passing, match="who is logged in is not known: loginctl fails: no bus, and"):
        logins(loginctl / "utmp", loginctl / "dev")
    monkeypatch.setenv("PATH", str(loginctl / "bin"))
    (loginctl / "bin/loginctl").unlink()
    (loginctl / "bin/loginctl").mkdir()
    with pytest.raises(Passing, match="loginctl cannot be run"):
        logins(loginctl / "utmp", loginctl / "dev")


def test_a_terminal_that_leads_elsewhere_is_not_looked_at(loginctl: Path) -> None:
    (loginctl / "show-session").write_text(SHOWN["3"].replace("pts/1", "../utmp"))
    (loginctl / "utmp").touch()
    (only,) = logins(loginctl / "utmp", loginctl / "dev")
    assert only.idle is None

"""What systemd is told arrives as it reads it: one assignment a line."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.edge import systemd


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield ear


def test_a_sentence_of_several_lines_is_one_assignment(listener: socket.socket) -> None:
    systemd.alive("2 slots: 1 held\nMAINPID=1\r\n (a\ttab)")
    assert listener.recv(4096) == b"WATCHDOG=1\nSTATUS=2 slots: 1 held MAINPID=1 (a tab)"
    systemd.ready("2 slots\n")
    assert listener.recv(4096) == b"READY=1\nSTATUS=2 slots"


def test_without_a_listener_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")

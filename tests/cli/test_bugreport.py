"""A bug report is written whatever is broken, for its owner's eyes alone, and without secrets."""

from __future__ import annotations

import json
import os
import resource
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests import copies

CONFIG = """
[host]
name = "box"
docker_host = "unix:///nowhere/docker.sock"
state_dir = "{home}/state"
socket = "{home}/control.sock"
[[pool]]
name = "p"
provider = "local"
env = {{ LICENCE = "hunter2" }}
"""


def test_without_manager_and_engine_it_says_what_it_could_not_learn(tmp_path: Path) -> None:
    config, file = tmp_path / "config.toml", tmp_path / "report.json"
    config.write_text(CONFIG.format(home=tmp_path))
    done = copies.command("bugreport", "--output", file, "--config", config)
    assert done.returncode == 0, done.stderr
    assert "not in it: manager, status, events, recording; the report says why" in done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert "hunter2" not in text
    document = json.loads(text)
    assert document["schema"] == "mayfly.bugreport/1"
    assert document["versions"]["mayfly"]
    assert "unknown" not in document["config"]
    assert "unknown" not in document["doctor"]
    assert "unknown" in document["recording"]


def test_a_file_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(home=tmp_path))
    away = tmp_path / "none/report.json"
    done = copies.command("bugreport", "--config", config, "--output", away)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def report(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return copies.run((*copies.MAYFLY, "bugreport", *map(str, arguments)), os.environ)


@pytest.mark.parametrize("text", [None, b"[host\n", b"\xff\xfe", b"[host]\nsocket = 7\n"])
def test_it_is_written_whatever_the_configuration_is(tmp_path: Path, text: bytes | None) -> None:
    config = tmp_path / "config.toml"
    if text is not None:
        config.write_bytes(text)
    done = report("-o", "-", "--config", config)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert str(config) in document["config"]["unknown"]
    assert "unknown" in document["status"]
    assert document["versions"]["mayfly"]
    assert b"standard output: secrets are left out" in done.stderr


def test_a_file_that_is_there_stays_what_it_is(tmp_path: Path) -> None:
    config, there, link = (tmp_path / name for name in ("config.toml", "there", "link"))
    config.write_text(CONFIG.format(home=tmp_path))
    there.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere")
    for file in (there, link):
        done = report("--output", file, "--config", config)
        assert done.returncode == 1
        assert f"{file} is there already: name another file, or remove it" in done.stderr.decode()
    assert there.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_no_half_of_a_report(tmp_path: Path) -> None:
    config, file = tmp_path / "config.toml", tmp_path / "report.json"
    config.write_text(CONFIG.format(home=tmp_path))

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))

    done = subprocess.run(
        [*copies.MAYFLY, "bugreport", "--output", file, "--config", config],
        capture_output=True,
        check=False,
        timeout=60,
        preexec_fn=small,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1
    assert b"cannot be written: File too large" in done.stderr
    assert not file.exists()


def test_what_looks_like_a_token_and_what_is_no_text_does_no_harm(tmp_path: Path) -> None:
    token = "glpat-" + "a1B2" * 5
    name = os.fsdecode(b"no-\xff-text") + token
    done = report("-o", "-", "--config", tmp_path / name)
    assert done.returncode == 0, done.stderr
    assert token.encode() not in done.stdout
    assert "****" in json.loads(done.stdout)["config"]["unknown"]


def _next(listening: socket.socket) -> str | None:
    """Who asked next; None where nobody has."""
    try:
        return str(listening.accept()[1])
    except BlockingIOError:
        return None


@pytest.mark.long
def test_a_manager_that_hangs_is_waited_for_once_and_people_are_told(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(home=tmp_path))
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "control.sock"))
        hung.listen(8)
        done = report("-o", "-", "--config", config)
        hung.settimeout(0)
        asked = len(list(iter(lambda: _next(hung), None)))
    assert done.returncode == 0, done.stderr
    assert "waiting for the manager, at most 10 s an answer" in done.stderr.decode()
    assert "does not answer in time" in json.loads(done.stdout)["recording"]["unknown"]
    assert asked == 1

"""Where an Engine writes: its own root, and containerd's where images and layers are kept there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mayfly.engines.docker import places as module
from mayfly.engines.docker.places import containerd_root, places

STORE = {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
LISTEN = """
import socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[1])
    server.listen()
    print(flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("status", [None, [], [["Backing Filesystem", "extfs"]]])
def test_an_engine_with_stores_of_its_own_writes_to_its_root_alone(
    status: list[list[str]] | None,
) -> None:
    assert places({"DockerRootDir": "/d", "DriverStatus": status}) == ("/d",)


def test_the_process_behind_containerds_socket_says_where_its_root_is(tmp_path: Path) -> None:
    address = str(tmp_path / "s")
    flags = [address, "--root", "/fast/containerd"]
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as containerd:
        assert containerd.stdout is not None
        containerd.stdout.readline()
        info = {**STORE, "DockerRootDir": "/d", "Containerd": {"Address": address}}
        assert places(info) == ("/d", "/fast/containerd")
        containerd.communicate()


@pytest.mark.parametrize(
    ("flags", "text", "root"),
    [
        (("--root=/r",), "", "/r"),
        (("-root", "/r"), "", "/r"),
        (("-l", "debug", "--root", "/r", "--config", "FILE"), 'root = "/other"', "/r"),
        (("--config", "FILE"), 'version = 2\nroot = "/r"\n', "/r"),
        (("-c=FILE",), 'root = "/r"', "/r"),
        (("--config", "FILE"), "version = 2\n", "/var/lib/containerd"),
        (("--config", "FILE"), "not [toml", "/var/lib/containerd"),
        (("--config", "/nonexistent"), "", "/var/lib/containerd"),
    ],
)
def test_containerds_root_is_its_flag_its_files_or_its_own_choice(
    tmp_path: Path, flags: tuple[str, ...], text: str, root: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    command = ("containerd", *(word.replace("FILE", str(file)) for word in flags))
    assert containerd_root(command) == root


def test_a_containerd_that_may_not_be_asked_is_taken_to_be_where_its_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.toml"
    file.write_text('root = "/srv/containerd"')
    monkeypatch.setattr(module, "CONFIG", str(file))
    info = {**STORE, "DockerRootDir": "/d", "Containerd": {"Address": str(tmp_path / "nobody")}}
    assert places(info) == ("/d", "/srv/containerd")

"""A folder goes in, on a real Engine: the job starts in it, as its own, with its input."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.cli.client import Client
from mayfly.cli.workspace import of_folder, send
from tests import copies
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager

ONE = '[[pool]]\nname = "local"\nprovider = "local"\nslots = 1\n'
LOOK = 'pwd; cat; ls -A; ls -ld . sub/run | cut -c1-10; touch new sub/new && echo "mine $(id -u)"'


@pytest.fixture(scope="module")
def manager(worker_engine: PrivateEngine) -> Iterator[Manager]:
    with Manager(worker_engine.url, ONE) as made:
        made.start()
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "library"
    (place / "sub").mkdir(parents=True)
    (place / "sub/run").write_text(f"#!/bin/sh\n{LOOK}\n")
    (place / "sub/run").chmod(0o755)
    (place / "link").symlink_to("sub/run")
    (place / "large").write_bytes(os.urandom(3 << 20))
    return place


def test_a_folder_and_input_go_in_and_the_second_time_almost_nothing_does(
    manager: Manager, folder: Path
) -> None:
    words = (*copies.MAYFLY, "submit", "--dir", str(folder), "--stdin", "--wait", "--", "./link")
    told = []
    for _ in range(2):
        ran = copies.run(words, manager.environment(), b"from here\n", timeout=120)
        done = subprocess.CompletedProcess(
            words, ran.returncode, ran.stdout.decode(), ran.stderr.decode()
        )
        assert done.returncode == 0, done.stderr
        said = done.stdout.splitlines()
        assert said[:2] == ["/workspace", "from here"]
        assert said[2:5] == ["large", "link", "sub"]
        assert said[5:] == ["drwxr-xr-x", "-rwxr-xr-x", "mine 1000"]
        told.append(done.stderr)
    assert "2 files, 3.0 MiB; 3.0 MiB sent" in told[0]
    assert "2 files, 3.0 MiB; 80 bytes sent" in told[1]


def test_a_tree_outlives_a_manager_that_is_killed_and_is_needed_as_long_as_its_job(
    manager: Manager, folder: Path
) -> None:
    blocks = manager.queue("sleep", "600")
    manager.started(blocks)
    workspace = send(Client(str(manager.socket)), of_folder(folder))
    waits = manager.queue("sh", "-c", "test -x sub/run", workspace=workspace)
    manager.kill()
    manager.start(wait="answer")
    manager.cli("cancel", blocks)
    assert manager.ended(waits)["exit_code"] == 0


def test_a_tree_that_nobody_sent_is_refused(manager: Manager) -> None:
    body = json.dumps({"argv": ["true"], "workspace": "0" * 64})
    status, answer = manager.ask("POST", "/v1/jobs", body)
    assert status == 409
    assert json.loads(answer)["kind"] == "no_such_workspace"

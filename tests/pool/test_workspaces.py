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
from mayfly.core.model import LABEL_GENERATION
from tests import copies
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until

LOOK = 'pwd; cat; ls -A; ls -ld . sub/run | cut -c1-10; touch new sub/new && echo "mine $(id -u)"'


@pytest.fixture(scope="module")
def manager(worker_engine: PrivateEngine) -> Iterator[Manager]:
    with Manager(worker_engine.url) as made:
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
    assert "2 files, 3.0MiB; 3.0MiB sent" in told[0]
    assert "2 files, 3.0MiB; 80B sent" in told[1]


def test_a_tree_outlives_a_manager_that_is_killed_and_is_needed_as_long_as_its_job(
    manager: Manager, folder: Path
) -> None:
    blocks = manager.queue("sleep", "600")
    manager.started(blocks)
    workspace = send(Client(str(manager.socket)), of_folder(folder))
    waits = manager.queue("sh", "-c", "test -x sub/run", workspace=workspace)
    manager.kill()
    home = manager.state / "workspaces" / str(os.getuid())
    old = home / "00" / ("0" * 64)
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(b"nobody needs it")
    for kept in home.rglob("*"):
        os.utime(kept, (0, 0), follow_symlinks=False)
    manager.start(wait="answer")
    until(lambda: not old.exists(), "what is old goes when the manager starts")
    manager.cli("cancel", blocks)
    assert manager.ended(waits)["exit_code"] == 0


HOSTILE = """
mkdir -p results/sub; echo made >results/r.xml; ln results/r.xml results/hard; ln -s r.xml results/link
ln -s /etc/passwd results/evil; mkfifo results/pipe; echo '#!' >results/sub/run; chmod 4755 results/sub/run
truncate -s 1T results.sparse; ln -s /datasets private; echo log >/tmp/log
sleep $SECONDS_TO_SLEEP; exit 3
"""


def test_results_come_of_jobs_that_fail_are_over_their_limit_or_outlive_their_manager(
    manager: Manager, tmp_path: Path
) -> None:
    asked = (
        "results/",
        "/tmp/log",
        "none",
        "/etc/shadow",
        "/root",
        "private/x",
        "/run/mayfly/w",
        "results.sparse",
    )
    words = [word for path in asked for word in ("--out", f"{path}={tmp_path}/{path.strip('/')}")]
    done = manager.cli(
        "submit", "--wait", "-e", "SECONDS_TO_SLEEP=0", *words, "--", "sh", "-c", HOSTILE
    )
    assert done.returncode == 3, done.stderr
    assert (tmp_path / "results/r.xml").read_text() == "made\n"
    assert (tmp_path / "results/hard").read_text() == "made\n"
    assert (tmp_path / "results/sub/run").stat().st_mode & 0o7111 == 0o111
    assert (tmp_path / "tmp/log").read_text() == "log\n"
    written = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if not one.is_dir()}
    assert written == {
        *("results/r.xml", "results/hard", "results/link", "results/sub/run", "tmp/log")
    }
    for told in (
        "not brought back: none: there is no such file or directory",
        "not brought back: private/x: /workspace/private is a link: name what it leads to",
        "not brought back: /run/mayfly/w: /run/mayfly is mounted there",
        "not brought back: results.sparse: it is more than is brought back",
        "not brought back: results/pipe: no file, link or directory",
        "not brought back: shadow, root: it is not for the job to read",
        f"not written: {tmp_path}/results/evil: it is a link that leads elsewhere",
    ):
        assert told in done.stderr
    late = manager.submit("sh", "-c", HOSTILE, options=("--out", "results", "--timeout", "2", "-e",
                                                        "SECONDS_TO_SLEEP=600"))  # fmt: skip
    assert manager.ended(late)["cause"] == "timeout"
    orphan = manager.submit("sh", "-c", HOSTILE, options=("--out", "results/r.xml", "-e",
                                                          "SECONDS_TO_SLEEP=1"))  # fmt: skip
    agent = manager.started(orphan)["agent"]
    manager.kill()
    until(lambda: not manager.docker("ps", "-q", "--filter", f"label={LABEL_GENERATION}={agent}"),
          "it has ended")  # fmt: skip
    manager.start(wait="answer")
    manager.ended(orphan)
    for job in (late, orphan):
        done = manager.cli("fetch", job, "-o", str(tmp_path / job))
        assert f"{tmp_path / job}/results" in done.stdout, done.stderr
        assert (tmp_path / job / "results/r.xml").read_text() == "made\n"
    until(lambda: not manager.docker("ps", "-aq", "--filter", f"label={LABEL_GENERATION}={agent}"),
          "its container is gone")  # fmt: skip


def test_a_tree_that_nobody_sent_is_refused(manager: Manager) -> None:
    body = json.dumps({"argv": ["true"], "workspace": "0" * 64})
    status, answer = manager.ask("POST", "/v1/jobs", body)
    assert status == 409
    assert json.loads(answer)["kind"] == "no_such_workspace"

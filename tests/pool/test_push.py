"""A push into a bare repository runs its jobs in real containers, each in the files of its commit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until
from tests.pipelines.example import ENVIRONMENT, commit, git, write

TWO = '[[pool]]\nname = "local"\nprovider = "local"\nslots = 2\nnetwork = "none"\n'
FILE = """
[job.test]
paths = "stages/{stage}/**"
run = "test ! -e .git; cat stages/{{ stage }}/data; echo $MAYFLY_COMMIT | tee out"
artifacts = "out"

[job.publish]
paths = "stages/{stage}/**"
needs = "test"
run = "test {{ stage }} = vit"
"""


@pytest.fixture(scope="module")
def manager(worker_engine: PrivateEngine) -> Iterator[Manager]:
    with Manager(worker_engine.url, TWO) as made:
        made.start()
        yield made


def test_a_push_is_run_and_a_forced_one_ends_what_it_threw_away(
    manager: Manager, tmp_path: Path
) -> None:
    desk = tmp_path / "desk"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "lab.git")
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "desk")
    mayfly = [sys.executable, str(Path(sys.executable).with_name("mayfly"))]
    install = ["--socket", str(manager.socket), "pipeline", "install-hook", "--notes"]
    subprocess.run(
        [*mayfly, *install, str(tmp_path / "lab.git")], env=ENVIRONMENT, check=True, timeout=60
    )
    write(desk, ".mayfly.toml", FILE)
    for stage in ("vit", "bert"):
        write(desk, f"stages/{stage}/data", f"of {stage}\n")
    commit(desk)
    git(desk, "remote", "add", "origin", str(tmp_path / "lab.git"))
    git(desk, "push", "--quiet", "origin", "main")

    def runs() -> list[dict[str, Any]]:
        _, body = manager.ask("GET", "/v1/runs")
        return list(json.loads(body)["runs"])

    (run,) = runs()
    until(lambda: runs()[0]["finished"], "the run has ended")
    assert runs()[0]["jobs"] == {"succeeded": 3, "failed": 1}, "bert is not published"
    _, body = manager.ask("GET", f"/v1/jobs?group={run['run']}")
    jobs = {job["name"]: job for job in json.loads(body)["jobs"]}
    assert jobs["publish-bert"]["exit_code"] == 1
    head = git(desk, "rev-parse", "HEAD").strip()
    assert manager.output(jobs["test-vit"]["job"]) == f"of vit\n{head}\n"

    manager.cli("fetch", jobs["test-vit"]["job"], "-o", str(tmp_path / "back"))
    assert [file.read_text() for file in (tmp_path / "back").rglob("out")] == [f"{head}\n"]

    def note(commit: str) -> str:
        words = ["git", "notes", "--ref=mayfly", "show", commit]
        return subprocess.run(
            words, cwd=tmp_path / "lab.git", env=ENVIRONMENT, capture_output=True, text=True,
            check=False, timeout=60,
        ).stdout  # fmt: skip

    until(lambda: "failed" in note(head), "the note says how it ended")
    assert note(head).endswith(
        " of main: failed, 4 jobs: 1 failed, 3 succeeded; see publish-bert\n"
    )

    write(desk, ".mayfly.toml", FILE.replace("cat ", "sleep 600; cat "))
    commit(desk)
    git(desk, "push", "--quiet", "origin", "main")
    until(lambda: runs()[0]["state"] == "running", "the second run runs")
    git(desk, "reset", "--quiet", "--hard", "HEAD~1")
    write(desk, "stages/vit/data", "later\n")
    commit(desk)
    git(desk, "push", "--quiet", "--force", "origin", "main")
    until(lambda: all(run["finished"] for run in runs()), "all runs have ended")
    assert [run["state"] for run in runs()] == ["succeeded", "cancelled", "failed"]
    last = git(desk, "rev-parse", "HEAD").strip()
    until(lambda: "succeeded" in note(last), "the last note is there: nobody waits any more")

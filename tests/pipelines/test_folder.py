"""``push`` and ``pipeline render --submit``: the jobs of a folder or a branch as a run, without any push."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.cli import pipeline_tasks
from mayfly.cli.app import main
from mayfly.cli.client import Client
from mayfly.cli.run_submission import body_of
from mayfly.core.model import JobState
from mayfly.core.pipeline.task import Task
from mayfly.core.runs import Origin
from mayfly.edge.faults import Refused
from mayfly.edge.own_limits import OwnLimits
from mayfly.providers.local.pipeline import queue_name, queued
from mayfly.service.parameters import JOB_NAME
from tests.harness import until
from tests.pipelines.box import Box
from tests.pipelines.conftest import Ran
from tests.pipelines.example import ENVIRONMENT, commit, git, write
from tests.pipelines.test_push import ONE

Typed = Callable[..., Ran]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    found = Box(tmp_path / "box")
    yield found
    found.close()


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], box: Box) -> Typed:
    """``typed(*words)``: what `mayfly` prints for them, and how it exits."""

    def run(*words: object) -> Ran:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["mayfly", "--socket", str(box.path), *map(str, words)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capfd.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone whose branch follows `origin/main`, of three stages."""
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "lib")
    made = tmp_path / "lib"
    write(made, ".mayfly.toml", ONE)
    write(made, ".gitignore", "*.log\n")
    for stage in ("vit", "bert", "gpt"):
        write(made, f"stages/{stage}/train.py")
    commit(made)
    git(tmp_path, "clone", "--quiet", "--bare", "lib", "lib.git")
    git(made, "remote", "add", "origin", str(tmp_path / "lib.git"))
    git(made, "fetch", "--quiet", "origin")
    git(made, "branch", "--quiet", "--set-upstream-to", "origin/main")
    return made


def test_what_is_not_committed_runs_and_what_git_ignores_does_not(
    folder: Path, typed: Typed, box: Box
) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy, symlinks=True)  # of which git knows no file to be unchanged
    (copy / "link").symlink_to("stages")
    commit(copy)
    git(copy, "push", "--quiet", "origin", "main")
    shutil.copytree(copy, again := folder.with_name("again"), symlinks=True)
    for place in (folder, copy, again):
        assert typed("push", place).err == "mayfly: no job is for what changed\n"
    base = git(folder, "rev-parse", "HEAD").strip()
    write(folder, "stages/vit/train.py", "changed")
    write(folder, "stages/bert/new.py", "new")
    write(folder, "stages/gpt/x.log", "ignored")
    ran = typed("push", folder / "stages")
    assert (ran.code, ran.out) == (0, "r1\n")
    assert ran.err == "mayfly: run r1, 2 jobs: test-bert, test-vit\n"
    (run,) = box.runs
    assert box.jobs("r1").keys() == {"test-vit", "test-bert"}
    files = box.files("r1-1")
    assert (files["stages/vit/train.py"], files["stages/bert/new.py"]) == (b"changed", b"new")
    assert "stages/gpt/x.log" not in files
    kept = (run["repository"], run["ref"], run["commit"], run["base"], run["subject"])
    assert kept == (str(folder), "refs/heads/main", None, base, "")


def test_what_is_committed_is_a_run_of_that_commit(folder: Path, typed: Typed, box: Box) -> None:
    base = git(folder, "rev-parse", "HEAD").strip()
    (folder / "stages/gpt/train.py").unlink()
    write(folder, "stages/vit/train.py", "changed")
    commit(folder)
    assert typed("push", folder).out == "r1\n"
    (run,) = box.runs
    head = git(folder, "rev-parse", "HEAD").strip()
    assert (run["commit"], run["base"], run["subject"]) == (head, base, "x")
    assert box.jobs("r1").keys() == {"test-vit"}
    assert typed("push", folder, "--base", "HEAD").err == "mayfly: no job is for what changed\n"
    assert typed("push", folder, "--all").out == "r2\n"
    assert box.jobs("r2").keys() == {"test-vit", "test-bert"}


def test_another_branch_of_a_folder_is_compared_with_its_own_upstream(
    folder: Path, typed: Typed, box: Box
) -> None:
    git(folder, "checkout", "--quiet", "--track", "-b", "other", "origin/main")
    write(folder, "stages/vit/train.py", "changed")
    commit(folder)
    git(folder, "checkout", "--quiet", "-b", "alone")
    write(folder, "stages/bert/train.py", "changed, and not committed")
    assert typed("push", folder, "--ref", "other").out == "r1\n"
    assert box.jobs("r1").keys() == {"test-vit"}
    assert box.runs[0]["ref"] == "refs/heads/other"
    told = "mayfly: there is nothing to compare it with: name it, --base main say, or --all\n"
    assert typed("push", folder) == Ran(2, "", told), "its branch follows none"
    assert typed("push", folder, "--ref", "alone").err == told
    git(folder, "checkout", "--quiet", "--detach")
    assert typed("push", folder).err == told


def test_a_branch_of_a_bare_repository_is_run_as_its_hook_would_have(
    folder: Path, typed: Typed, box: Box, tmp_path: Path
) -> None:
    bare = tmp_path / "lib.git"
    main_ = git(folder, "rev-parse", "HEAD").strip()
    git(folder, "checkout", "--quiet", "-b", "wip")
    write(folder, "stages/vit/train.py", "changed")
    commit(folder)
    git(folder, "push", "--quiet", "origin", "wip")
    assert typed("push", bare).err.endswith("has no files to look at: name a branch with --ref\n")
    assert typed("push", bare, "--ref", "wip").out == "r1\n"
    assert box.runs[0]["base"] == main_
    assert box.jobs("r1").keys() == {"test-vit"}
    refused = typed("push", bare, "--ref", "main")
    told = "mayfly: there is nothing to compare it with: name it, --base main say, or --all\n"
    assert (refused.code, refused.err) == (2, told)
    assert typed("push", bare, "--ref", "wip", "--base", main_).out == "r2\n"


def test_a_run_is_waited_for_and_its_exit_code_is_that_of_its_jobs(
    folder: Path, typed: Typed, box: Box
) -> None:

    write(folder, "stages/vit/train.py", "changed")
    commit(folder)
    push = ("push", folder, "--base", "HEAD~1", "--wait")
    for words, state, code in (
        (push, JobState.SUCCEEDED, 0),
        (push, JobState.FAILED, 1),
        (("runs", "r2", "--rerun", "--failed", "--wait"), JobState.SUCCEEDED, 0),
        (("runs", "r2", "--rerun", "--wait"), JobState.FAILED, 1),
    ):
        known = len(box.runs)

        def end(state: JobState = state, known: int = known) -> None:
            until(lambda: len(box.runs) > known, "the run is there")
            (job,) = box.memory.jobs
            box.ends(job, state)

        other = threading.Thread(target=end)
        other.start()
        ran = typed(*words)
        other.join()
        assert ran.code == code, ran.err
        assert f"{state}; by " in ran.out
        assert "test-vit" in ran.out


def test_what_is_rendered_for_the_queue_can_be_submitted(
    folder: Path, typed: Typed, box: Box
) -> None:
    write(folder, "stages/vit/train.py", "changed")
    commit(folder)
    render = ("pipeline", "render", "--repository", folder)
    ran = typed(*render, "--changed", "HEAD~1..HEAD", "--for", "local", "--submit")
    assert (ran.out, ran.err) == ("r1\n", "mayfly: run r1, 1 job: test-vit\n")
    (run,) = box.runs
    assert run["commit"] == git(folder, "rev-parse", "HEAD").strip()
    assert run["base"] == git(folder, "rev-parse", "HEAD~1").strip()
    refused = typed(*render, "--all", "--for", "gitlab", "--submit")
    told = "mayfly: --submit is for the embedded queue: --for local\n"
    assert (refused.code, refused.err) == (2, told)
    ran = typed(*render, "--changed", "HEAD..HEAD", "--for", "local", "--submit")
    assert (ran.code, ran.out, ran.err) == (0, "", "mayfly: no job is for what changed\n")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (
            ONE.replace('run = "', f'run = "{"x" * 400_000}'),
            "what these 3 jobs run is longer than the",
        ),
        (
            ONE + f"matrix = {{ n = {[str(n) for n in range(334)]} }}\n",
            "that makes 1002 jobs, and a run has at most 1000",
        ),
    ],
)
def test_a_run_that_is_too_large_is_told_before_anything_is_sent(
    folder: Path, typed: Typed, box: Box, file: str, told: str
) -> None:
    (folder / ".mayfly.toml").write_text(file)
    ran = typed("push", folder)
    assert (ran.code, ran.err.startswith(f"mayfly: {told}")) == (1, True), ran.err[:300]
    assert not (box.path.parent / "workspaces").exists()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("test-vit-cuda12.8", "test-vit-cuda12.8"),
        ("tést-é", "t-st--"),
        ("a+b", "a-b"),
        ("-.x", "x"),
        ("éé", "job"),
        ("x" * 65, "x" * 55 + "-" + "9537c5fd"),
    ],
)
def test_a_name_is_one_that_the_queue_takes(name: str, wanted: str) -> None:
    assert queue_name(name) == wanted
    assert JOB_NAME.fullmatch(queue_name(name))


def test_what_a_job_waits_for_are_places_and_what_is_not_run_is_not_waited_for() -> None:
    tasks = [
        Task("publish", "publish", "b", wave=1, needs=("test-a", "test-b", "left-out")),
        Task("test-a", "test", "a"),
        Task("test-b", "test", "a", timeout=60.0, values={"cuda": "12.8"}, artifacts=("r.xml",)),
    ]
    body = body_of(Origin("/r\x1b[2J\udcff", "refs/heads/m", subject="x" * 999), tasks)
    assert body["repository"] == "/r?"
    assert len(str(body["subject"])) == 200
    found = body["tasks"]
    assert isinstance(found, list)
    assert [(task["name"], task["after"]) for task in found] == [
        ("test-a", []),
        ("test-b", []),
        ("publish", [0, 1]),
    ]
    assert (found[1]["timeout"], found[1]["cuda"], found[1]["out"]) == (60.0, "12.8", ["r.xml"])
    assert found[0]["out"] is None
    assert "image" not in found[0]
    in_an_image = Task("a", "a", "x", values={"cuda": "12.8"}, image="lab/torch:2.5")
    (task,) = queued([in_an_image])
    assert (task["image"], task["cuda"]) == ("lab/torch:2.5", None)


def test_a_run_is_run_again_of_its_commit_all_of_it_or_what_did_not_succeed(
    folder: Path, typed: Typed, box: Box
) -> None:
    head = git(folder, "rev-parse", "HEAD").strip()
    assert typed("push", folder, "--all").out == "r1\n"
    by_name = {row["name"]: row["job"] for row in box.reader.job_rows([*box.reader.members("r1")])}
    box.ends(by_name["test-vit"])
    box.ends(by_name["test-bert"], JobState.FAILED)
    box.ends(by_name["test-gpt"], JobState.LOST)
    write(folder, "stages/bert/train.py", "later")
    commit(folder)
    ran = typed("runs", "r1", "--rerun", "--failed")
    assert (ran.out, ran.err) == ("r2\n", "mayfly: run r2, 2 jobs: test-bert, test-gpt\n")
    assert typed("runs", "r1", "--rerun").out == "r3\n"
    assert box.jobs("r3").keys() == {"test-vit", "test-bert", "test-gpt"}
    for run in box.runs[1:]:
        assert (run["commit"], run["base"], run["ref"]) == (head, None, "refs/heads/main")
    assert box.files("r2-1")["stages/bert/train.py"] != b"later"


def test_what_cannot_be_run_again_is_told(folder: Path, typed: Typed, box: Box) -> None:
    write(folder, "stages/vit/train.py", "changed")
    typed("push", folder)
    told = f"mayfly: run r1 is of a folder with what nobody had committed: mayfly push {folder}\n"
    assert typed("runs", "r1", "--rerun") == Ran(1, "", told)
    commit(folder)
    typed("push", folder)
    told = "mayfly: run r2 has no job to run again: see mayfly runs r2\n"
    assert typed("runs", "r2", "--rerun", "--failed") == Ran(1, "", told)
    folder.rename(folder.with_name("moved"))
    assert typed("runs", "r2", "--rerun") == Ran(1, "", f"mayfly: there is no folder {folder}\n")
    assert len(box.runs) == 2


def test_root_does_not_read_a_repository_of_somebody_else_s_for_a_run(
    folder: Path, typed: Typed, box: Box
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can be asked to")
    typed("push", folder, "--all")
    for place in (folder, folder / ".git"):
        os.chown(place, 65534, 65534)
    ran = typed("runs", "r1", "--rerun")
    assert ran.code == 1
    assert "cannot be read as a git repository" in ran.err
    assert len(box.runs) == 1


@pytest.mark.parametrize("path", ["out/*.xml", "**", "r?", "r[1]", "!tmp"])
def test_a_pattern_of_what_is_kept_is_refused_by_the_queue(
    folder: Path, typed: Typed, box: Box, path: str
) -> None:
    write(folder, ".mayfly.toml", f'{ONE}artifacts = ["out", "{path}"]\n')
    told = (
        f"mayfly: job test-bert: artifacts '{path}': the embedded queue brings paths and knows no patterns: "
        "name the file, or the folder that it is in\n"
    )
    assert typed("push", folder, "--all") == Ran(1, "", told)
    words = ("pipeline", "render", "--repository", folder, "--all", "--for")
    assert typed(*words, "local") == Ran(1, "", told)
    assert path in typed(*words, "gitlab").out
    assert box.runs == []


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def test_what_a_clone_s_file_takes_to_work_out_has_a_bound_wherever_it_is(
    folder: Path, typed: Typed, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("push", folder, "--all")
    write(folder, ".mayfly.toml", ONE.replace("make -C", LOOP))
    commit(folder)
    hostile = {"repository": str(folder), "commit": git(folder, "rev-parse", "HEAD").strip()}
    Client(str(box.path)).post("/v1/runs", {**hostile, "tasks": [{"argv": ["true"]}]})
    monkeypatch.setattr(pipeline_tasks, "SECONDS", 0.1)
    told = "mayfly: these jobs take too much to work out: more than 0.1 s of a processor\n"
    render = ("pipeline", "render", "--repository", folder, "--all", "--for", "local")
    for words in (("push", folder, "--all"), render, ("runs", "r2", "--rerun")):
        assert typed(*words) == Ran(1, "", told)
    assert len(box.runs) == 2


def test_what_more_memory_they_may_take_counts_from_what_there_is() -> None:
    with (
        pytest.raises(Refused, match="x: more than 64 MiB of memory"),
        OwnLimits(60.0, 64 * 2**20, "x").kept(),
    ):
        bytearray(128 * 2**20)
    with OwnLimits(60.0, 64 * 2**20, "x").kept():
        assert len(bytearray(16 * 2**20)) == 16 * 2**20

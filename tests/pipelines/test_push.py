"""A push into a bare repository with the hook, by git itself: what is run, what is ended, what is told."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mayfly.cli import run_notes
from mayfly.cli.app import main
from mayfly.cli.client import Client
from mayfly.cli.run_notes import Notes, begun, written_in_time
from mayfly.core.commands import CancelJobs
from mayfly.core.model import JobState
from mayfly.core.pipeline.pushes import BRANCHES_MOST, PushError, Update, run_of, updates
from mayfly.core.run_note import LINES_MOST, line, with_line
from mayfly.edge.repository import Repository
from tests.harness import until
from tests.pipelines.box import Box
from tests.pipelines.example import ENVIRONMENT, commit, git, write
from tests.relayed import Relayed

CLOSED = "others who push cannot run "  # this checkout may be anywhere
A, B = "a" * 40, "b" * 40
FILE = """
[job.test]
paths = "stages/{stage}/**"
run = "make -C stages/{{ stage }} test"

[job.publish]
paths = "stages/{stage}/**"
needs = "test"
run = "publish {{ stage }}"
"""
ONE = """
[job.test]
paths = "stages/{stage}/**"
run = "make -C stages/{{ stage }} test"
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    found = Box(tmp_path / "box")
    yield found
    found.close()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    """The command that the hook calls."""
    (tmp_path / "bin").mkdir()
    with Relayed(tmp_path / "bin") as mayfly:
        yield mayfly.path


@dataclass
class Lab:
    """A bare repository on the box, a clone of it, and who pushes."""

    box: Box
    bare: Path
    clone: Path

    def push(self, *words: str, well: bool = True) -> str:
        """What git says of a push."""
        done = subprocess.run(
            ["git", "push", *(words or ("--quiet", "origin", "HEAD"))],
            cwd=self.clone, env=ENVIRONMENT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == well, done.stderr
        lines = done.stderr.splitlines()
        return "\n".join(
            line.removeprefix("remote: ").rstrip() for line in lines if line.startswith("remote: ")
        )

    def change(self, *paths: str) -> str:
        """One more commit that changes those; its id."""
        for path in paths:
            old = self.clone / path
            write(self.clone, path, (old.read_text() if old.exists() else "") + "more\n")
        commit(self.clone)
        return git(self.clone, "rev-parse", "HEAD").strip()

    def says(self, ref: str) -> str:
        return git(self.bare, "rev-parse", ref).strip()


Install = Callable[..., str]


@pytest.fixture
def install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], box: Box, program: Path
) -> Install:
    """``install(bare, *options, code=0)``: what `mayfly pipeline install-hook` says."""

    def run(bare: Path, *options: str, code: int = 0) -> str:
        words = ["--socket", str(box.path), "pipeline", "install-hook", str(bare), *options]
        monkeypatch.setattr(sys, "argv", [str(program), *words])
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        ended = 0
        try:
            main()
        except SystemExit as end:
            ended = int(end.code or 0)
        said = capfd.readouterr().err
        assert ended == code, said
        return "".join(line for line in said.splitlines(True) if CLOSED not in line)

    return run


@pytest.fixture
def lab(box: Box, tmp_path: Path, install: Install) -> Lab:
    """A repository of two stages, on the box, where it is before the hook is."""
    bare, clone = tmp_path / "lab.git", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "lab.git")
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "clone")
    write(clone, ".mayfly.toml", FILE)
    for stage in ("vit", "bert"):
        write(clone, f"stages/{stage}/train.py")
    commit(clone)
    git(clone, "remote", "add", "origin", str(bare))
    found = Lab(box, bare, clone)
    found.push()
    install(bare)
    return found


# -- what is run -----------------------------------------------------------------------------------


def test_a_push_with_a_change_in_one_of_200_stages_runs_one_job(
    box: Box, tmp_path: Path, install: Install
) -> None:
    bare, clone = tmp_path / "lab.git", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "lab.git")
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "clone")
    write(clone, ".mayfly.toml", ONE)
    for number in range(200):
        write(clone, f"stages/s{number}/train.py", str(number))
    commit(clone)
    git(clone, "remote", "add", "origin", str(bare))
    lab = Lab(box, bare, clone)
    lab.push()
    install(bare)
    head = lab.change("stages/s123/train.py")
    told = lab.push()
    assert told == (
        f"mayfly: main at {head[:12]}: run r1, 1 job: test-s123; how they stand: mayfly runs r1"
    )
    (run,) = box.runs
    assert (run["repository"], run["ref"], run["commit"]) == (str(bare), "refs/heads/main", head)
    assert (run["base"], run["subject"], run["uid"]) == (lab.says("main~1"), "x", os.getuid())
    assert box.jobs("r1") == {"test-s123": "queued"}
    (job,) = box.memory.jobs
    payload = box.reader.payload(job)
    assert payload is not None
    assert payload.argv == ("sh", "-ec", "make -C stages/s123 test")
    files = box.files(job)
    assert files["stages/s123/train.py"] == b"123more\n"
    assert len(files) == 201


def test_the_first_push_runs_everything_in_its_order(lab: Lab, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "new.git")
    (lab.bare / "hooks/post-receive").rename(tmp_path / "new.git/hooks/post-receive")
    first, second = lab.push("--quiet", str(tmp_path / "new.git"), "main").splitlines()
    assert first == "mayfly: main: there is nothing to compare it with: every job is asked for"
    assert ", 4 jobs: test-bert, test-vit, publish-bert and 1 more; " in second
    (run,) = lab.box.runs
    assert (run["base"], run["commit"]) == (None, lab.says("main"))
    rows = lab.box.reader.job_rows([*lab.box.reader.members("r1")])
    by_name = {row["name"]: row for row in rows}
    assert by_name["publish-vit"]["after"] == [by_name["test-vit"]["job"]]
    assert by_name["test-vit"]["after"] == []


def test_a_new_branch_is_compared_with_where_it_left_the_default_one(lab: Lab) -> None:
    parted = lab.says("main")
    lab.change("README.md")
    lab.push()
    assert lab.push("--quiet", "origin", "HEAD:refs/heads/same") == (
        f"mayfly: same at {lab.says('same')[:12]}: no job is for what changed"
    )
    git(lab.clone, "checkout", "--quiet", "-b", "wip", parted)
    lab.change("stages/vit/train.py")
    lab.push()
    assert lab.box.runs[-1]["base"] == parted
    assert lab.box.jobs("r1").keys() == {"test-vit", "publish-vit"}


def test_of_several_branches_each_is_a_run_and_tags_and_deletions_are_none(lab: Lab) -> None:
    for branch, stage in (("one", "vit"), ("two", "bert")):
        git(lab.clone, "checkout", "--quiet", "-b", branch, "main")
        lab.change(f"stages/{stage}/train.py")
    git(lab.clone, "tag", "v1")
    told = lab.push("--quiet", "origin", "one", "two", "v1")
    assert [run["ref"] for run in lab.box.runs] == ["refs/heads/one", "refs/heads/two"]
    assert len(told.splitlines()) == 2
    assert lab.push("--quiet", "origin", ":refs/tags/v1", "HEAD:refs/notes/x") == ""
    assert len(lab.box.runs) == 2


def test_of_very_many_branches_only_the_default_one_is_run(lab: Lab) -> None:
    lab.change("stages/vit/train.py")
    branches = [f"main:refs/heads/b{number}" for number in range(BRANCHES_MOST)]
    told = lab.push("--quiet", "origin", "main", *branches)
    assert [run["ref"] for run in lab.box.runs] == ["refs/heads/main"]
    first, _ = told.splitlines()
    assert first == (
        "mayfly: the jobs of more than 20 branches at once are too many: only those of main are run; for "
        f"one: mayfly push {lab.bare} --ref BRANCH"
    )


def test_each_job_starts_in_exactly_its_commit(lab: Lab) -> None:
    git(lab.clone, "checkout", "--quiet", "-b", "wip")
    lab.change("stages/vit/train.py")
    (lab.clone / "link").symlink_to("/etc/passwd")
    git(lab.clone, "update-index", "--add", "--cacheinfo", f"160000,{A},sub")
    git(lab.clone, "add", "link")
    git(lab.clone, "commit", "--quiet", "--message", "x")
    first, _ = lab.push().splitlines()
    assert first == "mayfly: not sent: submodule sub: it is in another repository"
    lab.change("stages/bert/train.py")
    lab.push()
    before, after = (lab.box.files(f"{run}-1") for run in ("r1", "r2"))
    assert before.keys() == after.keys()
    assert {path for path in before if before[path] != after[path]} == {"stages/bert/train.py"}
    assert {entry.kind for entry in lab.box.entries("r1-1")} == {"file", "link"}


def test_a_branch_without_the_file_is_told(lab: Lab) -> None:
    git(lab.clone, "rm", "--quiet", ".mayfly.toml")
    commit(lab.clone)
    assert lab.push().endswith(": there is no .mayfly.toml, so nothing is run")
    assert lab.box.runs == []


# -- what is ended ---------------------------------------------------------------------------------


def test_a_forced_push_ends_the_jobs_of_what_it_threw_away_and_runs_what_it_brings(
    lab: Lab,
) -> None:
    git(lab.clone, "checkout", "--quiet", "-b", "wip")
    kept = lab.change("stages/vit/train.py")
    lab.push()
    gone = lab.change("stages/bert/train.py")
    lab.push()
    git(lab.clone, "reset", "--quiet", "--hard", kept)
    head = lab.change("stages/vit/other.py")
    told = lab.push("--quiet", "--force", "origin", "HEAD")
    assert told.splitlines() == [
        f"mayfly: wip: run r2 of {gone[:12]}, which is gone, is ended",
        f"mayfly: wip at {head[:12]}: run r3, 2 jobs: test-vit, publish-vit; how they stand: mayfly runs r3",
    ]
    states = {run["run"]: run["state"] for run in lab.box.runs}
    assert states == {"r1": "queued", "r2": "cancelled", "r3": "queued"}
    assert lab.box.runs[-1]["base"] == kept


def test_what_another_branch_still_has_goes_on_and_a_deleted_branch_ends_its_own(lab: Lab) -> None:
    git(lab.clone, "checkout", "--quiet", "-b", "wip")
    shared = lab.change("stages/vit/train.py")
    lab.push()
    lab.push("--quiet", "origin", "HEAD:refs/heads/keeps")
    assert lab.push("--quiet", "origin", ":wip") == ""
    assert lab.box.runs[0]["state"] == "queued", "keeps has its commit"
    git(lab.clone, "checkout", "--quiet", "-b", "more")
    own = lab.change("stages/bert/train.py")
    lab.push()
    number = lab.box.runs[-1]["run"]
    assert lab.push("--quiet", "origin", ":more") == (
        f"mayfly: more: run {number} of {own[:12]}, which is gone, is ended"
    )
    assert lab.box.runs[-1]["state"] == "cancelled"
    assert lab.box.runs[0]["commit"] == shared


def test_a_run_of_somebody_else_s_goes_on_and_that_is_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(lab.clone, "checkout", "--quiet", "-b", "wip")
    gone = lab.change("stages/vit/train.py")
    lab.push()
    jobs = lab.box.memory.jobs
    others = {
        one: replace(job, uid=job.uid + 1) for one, job in jobs.items() if job.uid is not None
    }
    lab.box.memory = replace(lab.box.memory, jobs=others)
    lab.box.operators = False
    assert lab.push("--quiet", "origin", ":wip").startswith(
        f"mayfly: wip: run r1 of {gone[:12]}, which is gone, is not ended: job r1-1 is not one of "
    )
    assert lab.box.runs[0]["state"] == "queued"


def claimed(lab: Lab, commit: str, many: int) -> None:
    """Runs of somebody else, who only says that they are of that commit of `main`."""
    client = Client(str(lab.box.path))
    body = {"repository": str(lab.bare), "ref": "refs/heads/main", "commit": commit}
    lab.box.uid = os.getuid() + 1
    for _ in range(many):
        client.post("/v1/runs", {**body, "tasks": [{"argv": ["true"]}]})
    lab.box.uid, lab.box.operators = None, False


def test_what_others_say_is_of_a_branch_is_told_once_and_the_own_is_ended(lab: Lab) -> None:
    gone = lab.change("stages/vit/train.py")
    lab.push()
    claimed(lab, gone, 3)
    claimed(lab, A, 3)
    git(lab.clone, "reset", "--quiet", "--hard", "HEAD~1")
    lab.change("README.md")
    first, second, *more = lab.push("--quiet", "--force", "origin", "HEAD").splitlines()
    assert first == f"mayfly: main: run r1 of {gone[:12]}, which is gone, is ended"
    assert second.startswith(f"mayfly: main: run r4 of {gone[:12]}, which is gone, is not ended: ")
    assert len(more) == 1, "what is run of the push"
    asked = [one for one in lab.box.asked if isinstance(one, CancelJobs)]
    assert len(asked) == 2


def test_it_can_be_left_to_run(lab: Lab, install: Install) -> None:
    install(lab.bare, "--keep-former")
    git(lab.clone, "checkout", "--quiet", "-b", "wip")
    lab.change("stages/vit/train.py")
    lab.push()
    assert lab.push("--quiet", "origin", ":wip") == ""
    assert lab.box.runs[0]["state"] == "queued"


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_broken_file_is_told_in_the_push_s_own_output_and_the_push_lands(lab: Lab) -> None:
    (lab.clone / ".mayfly.toml").write_text(FILE.replace("needs", "neds"))
    commit(lab.clone)
    told = lab.push()
    assert told == (
        "mayfly: main: .mayfly.toml:8: [job.publish] neds: there is no such key; did you mean needs?"
    )
    assert lab.says("main") == git(lab.clone, "rev-parse", "HEAD").strip()
    assert lab.box.runs == []


def test_where_that_is_wanted_it_refuses_the_push(lab: Lab, install: Install) -> None:
    install(lab.bare, "--strict")
    before = lab.says("main")
    (lab.clone / ".mayfly.toml").write_text(FILE.replace("needs", "neds"))
    commit(lab.clone)
    assert "[job.publish] neds: there is no such key" in lab.push(well=False)
    (lab.clone / ".mayfly.toml").write_text(ONE + 'artifacts = "*.xml"\n')
    commit(lab.clone)
    assert "the embedded queue brings paths and knows no patterns" in lab.push(well=False)
    assert lab.says("main") == before
    (lab.clone / ".mayfly.toml").write_text(FILE)
    lab.change("stages/vit/train.py")
    lab.push()
    assert lab.box.jobs("r1").keys() == {"test-vit", "publish-vit"}
    install(lab.bare)
    (lab.clone / ".mayfly.toml").write_text("x")
    commit(lab.clone)
    lab.push()
    assert lab.says("main") == git(lab.clone, "rev-parse", "HEAD").strip()


def test_where_no_manager_runs_the_push_lands_and_what_to_type_is_told(lab: Lab) -> None:
    lab.box.close()
    before = lab.says("main")
    head = lab.change("stages/vit/train.py")
    first, *_, last = lab.push().splitlines()
    assert first.startswith(
        "mayfly: the push has landed, and nothing of it is run: the manager is not"
    )
    assert last == f"  then: mayfly push {lab.bare} --ref main --base {before}"
    assert lab.says("main") == head


def test_what_the_queue_refuses_is_told_and_other_branches_are_run(lab: Lab) -> None:
    git(lab.clone, "checkout", "--quiet", "-b", "bad")
    (lab.clone / ".mayfly.toml").write_text(ONE + 'pool = "nope"\n')
    lab.change("stages/vit/train.py")
    git(lab.clone, "checkout", "--quiet", "-b", "good", "main")
    lab.change("stages/bert/train.py")
    bad, good = lab.push("--quiet", "origin", "bad", "good").splitlines()
    assert (
        bad == 'mayfly: bad: job test-bert: there is no pool "nope" with a queue; there are: local'
    )
    assert good.startswith("mayfly: good at ")


EVIL = "\x1b]0;evil\x07\x1b[2J"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f'x = "{EVIL}"\n', ".mayfly.toml"),
        ('[job."\\u001b[2J"]\nrun = "x"\n', ".mayfly.toml"),
        ("#" * 10_000_000, ".mayfly.toml is larger than 1 MiB"),
        ("\xff\xfe", "byte 0"),
    ],
)
def test_a_hostile_file_is_a_sentence(lab: Lab, text: str, told: str) -> None:
    (lab.clone / ".mayfly.toml").write_bytes(text.encode("latin-1"))
    commit(lab.clone)
    said = lab.push()
    assert told in said
    assert all(line.isprintable() for line in said.splitlines())
    assert len(said) < 2000


def test_the_file_may_be_a_link_a_folder_or_a_submodule_and_nothing_is_followed(lab: Lab) -> None:
    file = lab.clone / ".mayfly.toml"
    file.unlink()
    file.symlink_to("/etc/hostname")
    commit(lab.clone)
    assert ".mayfly.toml is a link" in lab.push()
    file.unlink()
    write(lab.clone, ".mayfly.toml/x")
    commit(lab.clone)
    assert ".mayfly.toml is a folder" in lab.push()
    git(lab.clone, "rm", "--quiet", "-r", ".mayfly.toml")
    git(lab.clone, "update-index", "--add", "--cacheinfo", f"160000,{A},.mayfly.toml")
    git(lab.clone, "commit", "--quiet", "--message", "x")
    assert ".mayfly.toml is a submodule" in lab.push()


def test_names_of_branches_and_subjects_are_shown_as_text_and_read_by_no_shell(lab: Lab) -> None:
    lab.change("stages/vit/train.py")
    git(lab.clone, "commit", "--quiet", "--amend", "--message", f"{EVIL}Train" + "x" * 5000)
    name = "$(touch${IFS}pwned);'\u202e"
    said = lab.push("--quiet", "origin", f"HEAD:refs/heads/{name}")
    assert all(line.isprintable() for line in said.splitlines())
    run = lab.box.runs[-1]
    assert run["subject"].startswith("Train")
    assert len(run["subject"]) == 200
    assert not any(path.name == "pwned" for path in lab.bare.parent.rglob("*"))


def test_a_template_that_never_ends_is_told(lab: Lab, program: Path) -> None:
    """Within the minute of a processor that a push has, or this test's own time: a limit of the process."""
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    (lab.clone / ".mayfly.toml").write_text(ONE.replace("make -C", loop))
    commit(lab.clone)
    hook = lab.bare / "hooks/post-receive"
    own = hook.read_text().replace(str(program), str(Path(sys.executable).with_name("mayfly")))
    hook.write_text(own.replace("pushed=", "ulimit -S -t 2\npushed="))
    assert "mayfly: main: these jobs take too much to work out" in lab.push()


# -- notes ----------------------------------------------------------------------------------------


def noted(lab: Lab, commit: str) -> str:
    shown = subprocess.run(
        ["git", "notes", "--ref=mayfly", "show", commit],
        cwd=lab.bare, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return shown.stdout


def test_how_a_run_ended_becomes_a_note_once_it_has(lab: Lab, install: Install) -> None:
    install(lab.bare, "--notes")
    head = lab.change("stages/vit/train.py")
    lab.push()
    assert noted(lab, head) == "run r1 of main: queued, 2 jobs: 2 queued\n"
    lab.box.ends("r1-1", JobState.FAILED)
    lab.box.ends("r1-2", JobState.CANCELLED)
    until(lambda: "failed" in noted(lab, head), "the note says how it ended")
    assert noted(lab, head) == (
        "run r1 of main: failed, 2 jobs: 1 cancelled, 1 failed; see test-vit, publish-vit\n"
    )
    author = git(lab.bare, "log", "-1", "--format=%an <%ae>", "refs/notes/mayfly").strip()
    assert author == "Mayfly <mayfly@localhost>"


def test_a_note_has_a_line_for_each_run_that_somebody_who_may_write_there_has_named(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    head = lab.change("stages/vit/train.py")
    lab.push()
    lab.push("--quiet", "origin", "HEAD~1:refs/heads/wip")
    lab.push("--quiet", "origin", "HEAD:wip")
    hook = lab.bare / "hooks/reference-transaction"
    hook.write_text("#!/bin/sh\ntouch ran\n")
    hook.chmod(0o755)

    def typed(*words: str) -> str:
        whole = ["mayfly", "--socket", str(lab.box.path), "pipeline", "note", str(lab.bare), *words]
        monkeypatch.setattr(sys, "argv", whole)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capfd.readouterr().err

    assert typed("--run", "r1", "--run", "r2") == "mayfly: 0 notes are written\n"
    assert noted(lab, head).count(": queued, 2 jobs: 2 queued\n") == 2
    forged = git(lab.clone, "rev-parse", "HEAD~1").strip()
    body = {"repository": str(lab.bare), "commit": forged, "tasks": [{"argv": ["true"]}]}
    Client(str(lab.box.path)).post("/v1/runs", body)
    for job in ("r1-1", "r1-2", "r2-1", "r2-2", "r3-1"):
        lab.box.ends(job)
    assert typed() == "mayfly: 2 notes are written\n"
    lines = [f"run {run}: succeeded, 2 jobs: 2 succeeded" for run in ("r1 of main", "r2 of wip")]
    assert noted(lab, head).splitlines() == lines
    assert noted(lab, forged) == "", "anybody can submit what they say is of this repository"
    assert typed() == "mayfly: 0 notes are written\n"
    assert not (lab.bare / "ran").exists(), "no hook of a repository runs"


def test_runs_that_others_claim_hide_no_run_of_a_push_and_are_not_waited_for(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_notes, "LAST", 2)
    head = lab.change("stages/vit/train.py")
    lab.push()
    notes = Notes(Repository(lab.bare, ENVIRONMENT), Client(str(lab.box.path)))
    notes.begin("r1")
    claimed(lab, head, 3)
    assert notes.write() == (0, 1), "one goes on: that which a note is of"
    for job in ("r1-1", "r1-2"):
        lab.box.ends(job)
    assert written_in_time(notes) == 1
    assert noted(lab, head) == "run r1 of main: succeeded, 2 jobs: 2 succeeded\n"
    assert notes.write() == (0, 0)


def test_a_line_of_a_run_that_nobody_knows_is_left_as_it_is(lab: Lab) -> None:
    head, forged = lab.says("main"), line("r1", "main", "queued", {"queued": 1})
    notes = Notes(Repository(lab.bare, ENVIRONMENT), Client(str(lab.box.path)))
    begun(notes.where, head, forged)
    assert notes.write() == (0, 0)
    claimed(lab, B, 1)
    assert Notes(notes.where, notes.manager).write() == (0, 0), "it is of another commit"
    assert noted(lab, head) == f"{forged}\n"


def test_what_a_note_says() -> None:
    jobs = {"succeeded": 3, "failed": 1}
    told = line("r2", "main", "failed", jobs, ["test-vit"])
    assert told == "run r2 of main: failed, 4 jobs: 1 failed, 3 succeeded; see test-vit"
    assert line("r2", "main", "succeeded", {"succeeded": 1}).endswith(
        ": succeeded, 1 job: 1 succeeded"
    )
    many = line("r2", "main", "failed", {"failed": 9}, [f"t{n}" for n in range(9)])
    assert many.endswith("; see t0, t1, t2, t3, t4 and 4 more")
    before = "a person's\nrun r2 of main: cancelled\nrun r20 of wip: failed\n"
    assert with_line(before, told) == f"a person's\nrun r20 of wip: failed\n{told}\n"
    full = "".join(f"run x{n} of main: failed\n" for n in range(LINES_MOST))
    assert len(with_line(full, told).splitlines()) == LINES_MOST


# -- the hook itself -------------------------------------------------------------------------------


def test_it_is_installed_once_and_removed(lab: Lab, install: Install) -> None:
    hook = lab.bare / "hooks/post-receive"
    before = hook.read_text()
    assert stat.S_IMODE(hook.stat().st_mode) == 0o755
    assert install(lab.bare) == f"mayfly: {hook} is there already\n"
    assert hook.read_text() == before
    assert install(lab.bare, "--remove") == f"mayfly: {hook} is removed\n"
    assert not hook.exists()
    assert install(lab.bare, "--remove") == f"mayfly: {lab.bare} has no hook of Mayfly's\n"
    lab.change("stages/vit/train.py")
    assert lab.push() == ""


def test_the_hook_that_was_there_goes_on_and_comes_back(lab: Lab, install: Install) -> None:
    install(lab.bare, "--remove")
    hook = lab.bare / "hooks/post-receive"
    own = "#!/bin/sh\ncat > seen\nexit 3\n"
    hook.write_text(own)
    hook.chmod(0o755)
    assert "after the one that was there (post-receive.own)" in install(lab.bare)
    assert "is there already" in install(lab.bare)
    before = lab.says("main")
    head = lab.change("stages/vit/train.py")
    assert "run r1" in lab.push()
    assert (lab.bare / "seen").read_text() == f"{before} {head} refs/heads/main\n"
    assert "the one before it is back" in install(lab.bare, "--remove")
    assert hook.read_text() == own


def test_a_command_that_others_cannot_run_is_told(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "mayfly").write_text("#!/bin/sh\n")
    (closed / "mayfly").chmod(0o755)
    closed.chmod(0o700)
    monkeypatch.setattr(
        sys, "argv", [str(closed / "mayfly"), "pipeline", "install-hook", str(lab.bare)]
    )
    with pytest.raises(SystemExit):
        main()
    told = f"mayfly: others who push cannot run {closed}/mayfly: {closed} is closed to them\n"
    assert told in capfd.readouterr().err
    hook = (lab.bare / "hooks/post-receive").read_text()
    assert hook.endswith(f"| {closed}/mayfly pipeline receive\n")


def test_one_that_was_there_may_still_refuse_a_push(lab: Lab, install: Install) -> None:
    hook = lab.bare / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    install(lab.bare, "--strict")
    lab.change("stages/vit/train.py")
    assert lab.push(well=False) == "no"


def test_it_is_put_nowhere_but_into_a_bare_repository_of_one_s_own(
    lab: Lab, install: Install
) -> None:
    assert "is no bare repository" in install(lab.clone, code=1)
    assert "there is no folder /no/such" in install(Path("/no/such"), code=1)
    git(lab.bare, "config", "core.hooksPath", "/srv/hooks")
    assert "/srv/hooks (core.hooksPath)" in install(lab.bare, code=1)
    git(lab.bare, "config", "--unset", "core.hooksPath")
    install(lab.bare, "--remove")
    hooks = lab.bare / "hooks"
    hooks.rename(lab.bare / "elsewhere")
    hooks.symlink_to(lab.bare / "elsewhere")
    assert f"{hooks} is a link" in install(lab.bare, code=1)
    if os.getuid() == 0:
        os.chown(lab.bare, 65534, 65534)
        assert "sudo -u nobody mayfly pipeline install-hook" in install(lab.bare, code=1)


# -- what git says ---------------------------------------------------------------------------------


def test_what_git_says_of_a_push_is_read() -> None:
    zero = "0" * 40
    found = updates(f"{A} {B} refs/heads/m\n{zero} {A} refs/tags/v 1\n{A} {zero} refs/x\n".encode())
    assert found == (
        Update("refs/heads/m", A, B),
        Update("refs/tags/v 1", None, A),
        Update("refs/x", A, None),
    )
    assert updates(b"") == ()
    for wrong in (b"x", f"{A} {B}".encode(), f"{A} {B} \0".encode(), f"{A}  {B} r".encode()):
        with pytest.raises(PushError):
            updates(wrong)


def test_which_branches_are_run() -> None:
    def branches(many: int) -> list[Update]:
        return [Update(f"refs/heads/{number}", None, A) for number in range(many)]

    others = [Update("refs/tags/v", None, A), Update("refs/heads/gone", A, None)]
    assert len(run_of([*branches(BRANCHES_MOST), *others], None)) == BRANCHES_MOST
    many = branches(BRANCHES_MOST + 1)
    assert run_of(many, "refs/heads/3") == (many[3],)
    assert run_of(many, None) == ()


def test_a_failed_run_is_seen(lab: Lab) -> None:
    lab.change("stages/vit/train.py")
    lab.push()
    test, *_ = lab.box.reader.members("r1")
    lab.box.ends(test, JobState.FAILED)
    assert lab.box.runs[-1]["state"] == "running"

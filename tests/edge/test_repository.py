"""A git repository asked by git: what changed, what is there, and what is refused in one sentence."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mayfly.core.pipeline.changes import Change
from mayfly.edge.faults import Refused
from mayfly.edge.lock_file import locked
from mayfly.edge.repository import Repository
from tests.pipelines.example import ENVIRONMENT, commit, git, write


def empty(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two commits on `main`, and one on `change` that began after the first."""
    place = empty(tmp_path / "r")
    write(place, "a/one")
    write(place, "a/two")
    commit(place)
    git(place, "branch", "change")
    write(place, "a/of main")
    commit(place)
    git(place, "checkout", "--quiet", "change")
    return place


def opened(folder: Path, **more: str) -> Repository:
    return Repository(folder, {**ENVIRONMENT, **more})


def changes(repository: Repository, base: str, head: str) -> set[Change]:
    first, last = repository.commit(base), repository.commit(head)
    return set(repository.changes(repository.merge_base(first, last), last))


def test_what_changed_is_counted_from_where_both_began(folder: Path) -> None:
    git(folder, "mv", "a/two", "a/2")
    (folder / "a/one").unlink()
    write(folder, "new")
    commit(folder)
    assert changes(opened(folder), "main", "HEAD") == {
        Change("a/two", gone=True),
        Change("a/2"),
        Change("a/one", gone=True),
        Change("new"),
    }


ODD = [
    b"a b",
    b"it's",
    b'"q"',
    b"x\ny",
    b"\xff\xfe",
    "größe".encode(),
    b"-rf",
    b"t\tt",
    b"*",
    b"\\",
]


def test_names_of_any_bytes_come_as_they_are(folder: Path) -> None:
    for name in ODD:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(name * 30)
    commit(folder)
    repository = opened(folder)
    found = {
        one.path.encode("utf-8", "surrogateescape") for one in changes(repository, "main", "HEAD")
    }
    assert found == set(ODD)
    for head in (repository.commit("HEAD"), None):
        there = {path.encode("utf-8", "surrogateescape") for path in repository.paths(head)}
        assert there == {*ODD, b"a/one", b"a/two"}
        assert repository.file(head, "a b") == b"a b" * 30


def test_the_folder_as_it_is_has_new_files_and_neither_ignored_nor_deleted_ones(
    folder: Path,
) -> None:
    write(folder, ".gitignore", "junk\n")
    write(folder, "junk")
    write(folder, "new")
    (folder / "a/one").unlink()
    repository = opened(folder / "a")
    assert set(repository.paths(None)) == {".gitignore", "new", "a/two"}
    assert set(repository.paths(repository.commit("HEAD"))) == {"a/one", "a/two"}


def test_a_bare_repository_has_all_of_it(folder: Path, tmp_path: Path) -> None:
    write(folder, "new", "text")
    commit(folder)
    git(tmp_path, "clone", "--quiet", "--bare", str(folder), "bare.git")
    repository = opened(tmp_path / "bare.git")
    assert repository.bare
    assert changes(repository, "main", "change") == {Change("new")}
    assert repository.file(repository.commit("change"), "new") == b"text"


def test_nothing_that_the_repository_names_is_run(folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {proof}\n")
    program.chmod(0o755)
    for key in (
        "core.fsmonitor",
        "diff.external",
        "core.pager",
        "diff.x.textconv",
        "diff.x.command",
    ):
        git(folder, "config", key, str(program))
    write(folder, ".gitattributes", "* diff=x\n")
    git(folder, "-c", "core.fsmonitor=false", "add", "--all")
    git(folder, "-c", "core.fsmonitor=false", "commit", "--quiet", "--message", "x")
    repository = opened(folder, GIT_EXTERNAL_DIFF=str(program), GIT_PAGER=str(program))
    assert changes(repository, "main", "HEAD") == {Change(".gitattributes")}
    assert repository.paths(None)
    assert not proof.exists()


NAMES = [
    "nope",
    "",
    "-x",
    "--output=x",
    "HEAD:a/one",
    "main..change",
    "0" * 40,
    "deadbeef" * 5,
    "a\0b",
    "\n",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_commit_is_told(folder: Path, name: str) -> None:
    with pytest.raises(Refused, match=r"is no (commit|name of a commit)") as told:
        opened(folder).commit(name)
    assert "shallow" not in str(told.value)
    assert sorted(path.name for path in folder.iterdir()) == [".git", "a"]


def test_a_shallow_clone_says_what_it_lacks_and_how_to_have_it(
    folder: Path, tmp_path: Path
) -> None:
    before = git(folder, "rev-parse", "HEAD").strip()
    write(folder, "new")
    commit(folder)
    git(tmp_path, "clone", "--quiet", "--depth", "1", "--no-single-branch", folder.as_uri(), "s")
    repository = opened(tmp_path / "s")
    with pytest.raises(Refused, match=r"this clone is shallow.*--unshallow"):
        repository.commit(before)
    with pytest.raises(Refused, match="have no commit in common; this clone is shallow"):
        repository.merge_base(repository.commit("origin/main"), repository.commit("HEAD"))


def test_histories_without_a_common_commit_are_told(folder: Path) -> None:
    git(folder, "checkout", "--quiet", "--orphan", "other")
    write(folder, "own")
    commit(folder)
    repository = opened(folder)
    with pytest.raises(Refused, match=r"have no commit in common$"):
        repository.merge_base(repository.commit("main"), repository.commit("other"))


def test_what_is_no_repository_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read as a git repository: not a git repository"):
        opened(tmp_path, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    with pytest.raises(Refused, match="there is no folder"):
        opened(tmp_path / "nope")
    with pytest.raises(Refused, match="there is no git here"):
        Repository(tmp_path, {"PATH": str(tmp_path)})


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "./a", "a//b", ""])
def test_no_file_outside_is_read(folder: Path, path: str) -> None:
    repository = opened(folder)
    for head in (None, repository.commit("HEAD")):
        with pytest.raises(Refused, match="is no path of this repository"):
            repository.file(head, path)


@pytest.mark.parametrize(
    "path", [".git/config", ".GIT/config", "secret", "a/link", "linked/config"]
)
def test_what_is_in_the_folder_and_no_file_of_the_repository_is_not_read(
    folder: Path, path: str
) -> None:
    write(folder, ".gitignore", "secret\n")
    write(folder, "secret")
    (folder / "a/link").symlink_to("../.git/config")
    (folder / "linked").symlink_to(".git")
    repository = opened(folder)
    assert repository.file(None, "a/one") == (folder / "a/one").read_bytes()
    with contextlib.suppress(Refused):  # that it is a link may be told
        assert repository.file(None, path) is None


def test_a_tree_that_names_files_without_end_is_not_read_to_its_end(folder: Path) -> None:
    tree = git(folder, "rev-parse", "HEAD:a").strip()
    for _ in range(14):
        rows = "".join(f"040000 tree {tree}\t{name}\n" for name in "0123456789")
        made = subprocess.run(
            ["git", "mktree"], cwd=folder, env=ENVIRONMENT, input=rows, text=True,
            stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        tree = made.stdout.strip()
    last = git(folder, "commit-tree", "-m", "x", tree).strip()
    with pytest.raises(Refused, match="git ls-tree has more to say than 64 MiB"):
        opened(folder).paths(last)


def test_what_is_no_file_is_told_and_a_large_file_too(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "near").symlink_to("a/one")
    git(folder, "init", "--quiet", "module")
    git(folder / "module", "commit", "--quiet", "--allow-empty", "--message", "x")
    (folder / "large").write_bytes(b"x" * (1024 * 1024 + 1))
    commit(folder)
    repository = opened(folder)
    kinds = {"link": "a link", "near": "a link", "a": "a folder", "module": "a submodule"}
    for head in (None, repository.commit("HEAD")):
        with pytest.raises(Refused, match="large is larger than 1 MiB"):
            repository.file(head, "large")
        for path, kind in kinds.items():
            with pytest.raises(Refused, match=f"{path} is {kind}, and only what a file"):
                repository.file(head, path)
        for path in ("nope", "a/one/x", ":(top)a/one", "*", "linked/one"):
            assert repository.file(head, path) is None


def test_no_folder_that_a_link_names_is_gone_into(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "out", "one")
    (folder / "linked").symlink_to(tmp_path / "out")
    commit(folder)
    repository = opened(folder)
    with pytest.raises(Refused, match="leads out of this repository"):
        repository.file(None, "linked/one")
    assert repository.file(repository.commit("HEAD"), "linked/one") is None


def test_git_s_own_variables_lead_to_a_repository_as_in_a_hook(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / ".git", tmp_path / "moved.git")
    repository = opened(tmp_path, GIT_DIR=str(tmp_path / "moved.git"))
    assert repository.commit("main")


def test_notes_that_are_written_at_once_are_all_there(folder: Path) -> None:
    """Two of one commit, and of others: git by itself ends well and has lost some."""
    commits = git(folder, "rev-list", "--all").split()
    words = [f"{number}" for number in range(4)]
    begin = threading.Barrier(len(commits) * len(words))

    def write_one(commit: str, word: str) -> bool:
        where = opened(folder)
        begin.wait()
        return where.change_note(commit, lambda before: f"{before}{word}\n")

    with ThreadPoolExecutor(len(commits) * len(words)) as pool:
        written = [pool.submit(write_one, one, word) for one in commits for word in words]
        assert all(one.result() for one in written)
    where = opened(folder)
    assert all(sorted((where.note(one) or "").split()) == words for one in commits)
    assert not where.change_note(commits[0], lambda _: None)
    assert sorted(where.lines_of_notes("[13]")) == sorted(
        (one, word) for one in commits for word in ("1", "3")
    )
    assert where.lines_of_notes("x") == ()
    assert len(opened(folder / "a").lines_of_notes("[13]")) == 2 * len(commits)
    git(folder, "clone", "--quiet", "--mirror", ".", "../bare")
    assert len(opened(folder.with_name("bare")).lines_of_notes("[13]")) == 2 * len(commits)


def test_lines_of_notes_that_are_not_there_are_none_and_of_broken_ones_that_is_told(
    folder: Path,
) -> None:
    where = opened(folder)
    assert where.lines_of_notes("x") == ()
    assert where.change_note(where.commit("HEAD"), lambda _: "x")
    with pytest.raises(Refused, match="refs/notes/mayfly cannot be read: "):
        where.lines_of_notes("(")


def test_who_may_read_a_repository_can_wait_for_its_lock(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(0o077)
    try:
        with locked(tmp_path / "lock", 1.0) as first, locked(tmp_path / "lock", 0.0) as second:
            assert (first, second) == (True, False)
    finally:
        os.umask(before)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o644
    with locked(tmp_path / "lock", 0.0) as again:
        assert again

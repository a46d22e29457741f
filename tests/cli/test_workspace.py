"""A folder as a job gets it: what goes, what is told, and how little the second time."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.cli import workspace
from mayfly.cli.allowance import Allowance, lasting, most_in, most_of
from mayfly.cli.client import Client
from mayfly.cli.trouble import Trouble, Usage
from mayfly.cli.workspace import Sending, Tree, of_commit, of_folder, send
from mayfly.core.tree_manifest import MOST_ENTRIES, TreeEntry
from mayfly.edge.workspaces import Bounds, Workspaces
from mayfly.service.pending_command import Answer
from tests.cli.conftest import Answers, Mayfly
from tests.service.standin import StandIn

UID = os.getuid()


@pytest.fixture
def kept(manager: StandIn) -> Workspaces:
    """What the manager keeps."""
    return manager.workspaces


@pytest.fixture
def client(manager: StandIn) -> Client:
    return Client(str(manager.path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of no repository."""
    place = tmp_path / "folder"
    (place / "src").mkdir(parents=True)
    (place / "src/a.py").write_text("print()\n" * 100)
    (place / "run").write_text("#!/bin/sh\n")
    (place / "run").chmod(0o755)
    (place / "link").symlink_to("../elsewhere")
    (place / "empty").mkdir()
    return place


def paths(tree: Tree) -> dict[str, str]:
    return {entry.path: entry.kind for entry in tree.entries}


def test_a_folder_without_git_goes_as_it_is(folder: Path) -> None:
    tree = of_folder(folder)
    assert paths(tree) == {
        "empty": "dir",
        "link": "link",
        "run": "file",
        "src": "dir",
        "src/a.py": "file",
    }
    modes = {entry.path: entry.mode for entry in tree.entries if entry.kind == "file"}
    assert modes == {"run": 0o755, "src/a.py": 0o644}
    assert tree.left_out == ()


def test_what_the_ignore_file_names_stays_as_git_would_have_it(folder: Path) -> None:
    for name in ("data/big", "data/keep", "x.o", "src/x.o"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    (folder / ".mayfly-ignore").write_text("# big ones\n/data/*\n!/data/keep\n*.o\nempty/\n")
    assert set(paths(of_folder(folder))) == {
        *(".mayfly-ignore", "data", "data/keep", "link", "run", "src", "src/a.py")
    }
    (folder / ".mayfly-ignore").write_text("[z-a]*\n")
    with pytest.raises(Trouble, match="has a pattern that is none"):
        of_folder(folder)


def test_a_checkout_goes_as_git_has_it_and_what_the_job_makes_stays(folder: Path) -> None:
    subprocess.run(["git", "init", "-q", folder], check=True)
    (folder / ".gitignore").write_text("*.o\n")
    (folder / "x.o").write_text("")
    (folder / "results").mkdir()
    (folder / "results/baseline").write_text("tracked")
    subprocess.run(["git", "-C", folder, "add", "results"], check=True)
    (folder / "results/r.xml").write_text("made")
    (folder / "src/a.py").unlink()
    tree = of_folder(folder, ["results/", "/tmp/x", "."])
    assert set(paths(tree)) == {".gitignore", "link", "results/baseline", "run"}
    assert tree.left_out == ("results: the job makes it (--out)",)


def test_a_file_beneath_what_is_a_link_by_now_does_not_go_twice(folder: Path) -> None:
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "-C", folder, "add", "."], check=True)
    (folder / "src").rename(folder.parent / "src")
    (folder / "src").symlink_to("../src")
    assert paths(of_folder(folder)) == {"link": "link", "run": "file", "src": "link"}


def test_what_cannot_go_is_told_in_one_line_a_reason(folder: Path) -> None:
    os.mkfifo(folder / "pipe\x1b[2J")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "socket"))
        tree = of_folder(folder)
    assert tree.left_out == ("pipe, socket: no file, link or directory",)
    names = [f"p{number}" for number in range(10)]
    for name in names:
        os.mkfifo(folder / name)
    (told,) = of_folder(folder).left_out
    assert told.startswith("p0, p1, p2 and 9 more: ")


def test_what_is_no_folder_or_no_repository_that_git_reads_is_refused(folder: Path) -> None:
    with pytest.raises(Usage, match="there is no folder"):
        of_folder(folder / "run")
    (folder / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(Trouble, match="cannot be read as a git repository"):
        of_folder(folder)


def test_the_second_time_nothing_goes_and_then_what_changed(
    folder: Path, client: Client, kept: Workspaces
) -> None:
    first, again, changed = Sending(), Sending(), Sending()
    (folder / "large").write_bytes(os.urandom(1 << 20))
    found = send(client, of_folder(folder), first)
    assert kept.has_tree(UID, found)
    assert first.bytes > 1 << 20
    assert send(client, of_folder(folder), again) == found
    assert again.bytes < 200
    (folder / "src/a.py").write_text("print(1)\n")
    assert send(client, of_folder(folder), changed) != found
    assert changed.bytes < 2000


def test_many_files_and_a_large_one_go_in_bodies_of_bounded_size(
    tmp_path: Path, client: Client, kept: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "BODY", 10_000)
    monkeypatch.setattr(workspace, "ASKED_MAX", 7)
    monkeypatch.setattr(workspace, "CONTENTS_MAX", 7)
    for number in range(50):
        (tmp_path / f"{number}").write_bytes(b"%d" % number * 500)
    (tmp_path / "large").write_bytes(os.urandom(300_000))
    found = send(client, of_folder(tmp_path))
    read = {
        entry.path: b"".join(kept.content(UID, entry.digest, entry.size))
        for entry in kept.entries(UID, found)
        if entry.kind == "file" and entry.path.isdigit()
    }
    assert read == {f"{number}": b"%d" % number * 500 for number in range(50)}


def _replaced(place: Path) -> Path:
    place.unlink()
    return place


@pytest.mark.parametrize(
    "change",
    [
        lambda place: place.write_text("longer than it was before\n" * 200),
        lambda place: place.write_text("short"),
        lambda place: place.write_bytes(b"X" * place.stat().st_size),
        lambda place: place.unlink(),
        lambda place: _replaced(place).symlink_to("/etc/passwd"),
        lambda place: os.mkfifo(_replaced(place)),
    ],
)
def test_a_file_that_changes_meanwhile_is_told_and_no_other_is_sent(
    folder: Path, client: Client, kept: Workspaces, change: Callable[[Path], object]
) -> None:
    tree = of_folder(folder)
    change(folder / "src/a.py")
    with pytest.raises(
        Trouble, match=r"src/a\.py (changed while it was being sent|cannot be read)"
    ):
        send(client, tree)


def test_a_tree_that_is_too_large_is_refused_before_all_of_it_went(
    folder: Path, client: Client, kept: Workspaces
) -> None:
    kept.bounds = Bounds(1 << 20, 1 << 30, 1 << 30)
    (folder / "large").write_bytes(b"\0" * (3 << 20))
    sent = Sending()
    with pytest.raises(Trouble, match=r"3MiB in 2 files so far, and a job brings at most 1MiB"):
        send(client, of_folder(folder), sent)
    assert not [*kept._directory.rglob("*")]
    (folder / "large").unlink()
    for number in range(3):
        (folder / f"part{number}").write_bytes(b"%d" % number * 400_000)
    with pytest.raises(Trouble, match="host\\.workspace_max"):
        send(client, of_folder(folder))


def far_too_large(folder: Path) -> Path:
    """With five files of a TiB each: who reads one does not come to its end."""
    for number in range(5):
        (folder / f"model{number}.bin").touch()
        os.truncate(folder / f"model{number}.bin", 1 << 40)
    return folder


def test_a_folder_that_is_far_too_large_is_refused_before_a_file_is_read(
    folder: Path, manager: StandIn, mayfly: Mayfly, answers: Answers
) -> None:
    answers.by_verb["submit"] = lambda _: Answer(201, {"job": "j1"})
    limit = "and a job brings at most 1GiB (host.workspace_max)"
    ran = mayfly("submit", "--dir", far_too_large(folder), "--", "true")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    assert ran.err.startswith(f"mayfly: {folder} is too large: 1TiB in ")
    assert limit in ran.err
    assert ".bin, 1TiB: name what stays in .mayfly-ignore at its top" in ran.err
    assert manager.commands == []
    (folder / ".mayfly-ignore").write_text("*.bin\n")
    ran = mayfly("submit", "--dir", folder, "--", "true")
    assert ran.code == 0, ran.err
    assert "3 files, " in ran.err


def test_a_file_that_grows_while_it_is_read_is_refused_at_the_bound() -> None:
    read = Allowance("library", 1000)
    came: list[bytes] = []
    with pytest.raises(Trouble, match=r"the largest file so far is log, 1.1KiB"):
        came.extend(read.of("log", itertools.repeat(b"x" * 100)))
    assert len(came) == 10


def test_a_folder_of_more_files_than_a_tree_has_is_refused_while_it_is_walked() -> None:
    seen = Allowance("library")
    for number in range(MOST_ENTRIES):
        seen.enter(f"{number}")
    with pytest.raises(Trouble, match="library has more than 200000 files: name what stays in"):
        seen.enter("one more")


def test_a_walk_that_lasts_has_a_word_of_progress_ever_more_rarely() -> None:
    now, said = [0.0], list[str]()
    seen = Allowance("library", progress=lasting(said.append, lambda: now[0]))
    for number in range(12):
        seen.enter(f"{number}", 1024)
        now[0] += 1
    assert said == [
        f"looking at library: {number} files, {number}KiB so far" for number in (3, 5, 9)
    ]


def test_a_manager_that_does_not_tell_its_bound_is_sent_to_as_before(client: Client) -> None:
    assert most_of(client) == 1 << 30
    assert most_in({"lacking": []}) is None
    Allowance("library", None).enter("large", 1 << 50)


def test_a_commit_that_is_too_large_is_refused_before_a_file_of_it_is_read(folder: Path) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    (folder / "large").write_bytes(b"x" * 5000)
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    subprocess.run(["git", "-C", folder, "add", "."], check=True)
    subprocess.run(["git", "-C", folder, *who, "commit", "-qm", "x"], check=True)
    with pytest.raises(Trouble, match=r"commit main is too large: .* at most 1000B"):
        of_commit(folder, "main", 1000)


def test_a_sparse_giant_is_refused_without_being_sent(tmp_path: Path, client: Client) -> None:
    content = TreeEntry("giant", "file", 0o644, 1 << 40, "0" * 64)

    def never(entry: TreeEntry) -> Iterator[bytes]:
        del entry
        while True:
            yield b"\0" * (1 << 16)

    with pytest.raises(Trouble, match=r"at most 1GiB \(host\.workspace_max\)"):
        send(client, Tree((content,), never))


def test_a_commit_of_a_bare_repository_goes_like_a_folder(
    folder: Path, tmp_path: Path, client: Client, kept: Workspaces
) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    subprocess.run(["git", "-C", folder, "add", "."], check=True)
    subprocess.run(["git", "-C", folder, *who, "commit", "-qm", "x"], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", folder, tmp_path / "bare"], check=True)
    tree = of_commit(tmp_path / "bare", "main")
    assert tree.entries == of_folder(folder).entries
    found = send(client, tree)
    assert kept.has_tree(UID, found)
    with pytest.raises(Trouble, match="no commit"):
        of_commit(tmp_path / "bare", "gone")
    assert replace(tree, left_out=()).size == sum(entry.size for entry in tree.entries)

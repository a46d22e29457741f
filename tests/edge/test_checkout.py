"""What git would take of a folder, and what a commit has, by the real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mayfly.edge.checkout import Checkout, Commit
from mayfly.edge.faults import Refused

WHO = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *WHO, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A repository with a submodule, a nested one, and files of all kinds."""
    other, folder = tmp_path / "other", tmp_path / "library"
    for one in (other, folder):
        one.mkdir()
        git(one, "init", "-q", "-b", "main")
    (other / "inner").write_text("inner")
    git(other, "add", ".")
    git(other, "commit", "-qm", "x")
    (folder / ".gitignore").write_text("*.o\n/venv/\n")
    (folder / "a\nb").write_text("odd")
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)
    (folder / "link").symlink_to("program")
    (folder / "removed").write_text("")
    git(folder, "add", ".")
    git(folder, "submodule", "-q", "add", str(other), "sub")
    git(folder, "commit", "-qm", "x")
    (folder / "removed").unlink()
    (folder / "new").write_text("new")
    (folder / "sub/untracked").write_text("new")
    (folder / "a.o").write_text("ignored")
    (folder / "venv").mkdir()
    (folder / "venv/x").write_text("ignored")
    git(folder, "clone", "-q", str(other), "nested")
    return folder


def test_a_folder_has_what_is_tracked_and_not_ignored_of_its_submodules_too(library: Path) -> None:
    found = Checkout.of(library)
    assert found is not None
    assert set(found.tracked) == {
        *(".gitignore", ".gitmodules", "a\nb", "program", "link", "removed"),
        *("sub/inner", "nested/inner"),
    }
    assert set(found.others) == {"new", "sub/untracked"}
    assert found.missing == ()


def test_a_folder_in_a_checkout_has_what_is_beneath_it_alone(library: Path) -> None:
    (library / "deep").mkdir()
    (library / "deep/x").write_text("")
    found = Checkout.of(library / "deep")
    assert found is not None
    assert (found.tracked, found.others) == ((), ("x",))


def test_a_submodule_that_is_not_checked_out_is_told(library: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(library), "clone")
    found = Checkout.of(tmp_path / "clone")
    assert found is not None
    assert found.missing == ("sub",)


def test_a_second_worktree_whose_git_is_elsewhere_counts(library: Path, tmp_path: Path) -> None:
    git(library, "worktree", "add", "-q", str(tmp_path / "tree"))
    found = Checkout.of(tmp_path / "tree")
    assert found is not None
    assert "program" in found.tracked
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved/.git").symlink_to(library / ".git")
    assert Checkout.of(tmp_path / "moved") is not None


def test_no_checkout_is_none_and_one_that_git_does_not_read_is_refused(tmp_path: Path) -> None:
    assert Checkout.of(tmp_path) is None
    (tmp_path / ".git").mkdir()
    with pytest.raises(Refused, match="cannot be read as a git repository"):
        Checkout.of(tmp_path)


def test_nothing_that_a_repository_configures_is_run(library: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    git(library, "config", "core.fsmonitor", f"touch {trap}; false")
    Checkout.of(library)
    assert not trap.exists()


def test_a_commit_of_a_bare_repository_has_its_files_links_and_modes(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(library), "bare.git")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    commit = Commit.of(tmp_path / "bare.git", "main")
    entries = {one.path: one for one in commit.entries()}
    assert {path: one.kind for path, one in entries.items() if one.kind != "file"} == {
        "link": "link",
        "sub": "submodule",
    }
    assert (entries["program"].mode, entries["a\nb"].mode) == (0o755, 0o644)
    assert "new" not in entries
    odd = entries["a\nb"].object
    assert b"".join(commit.content(odd)) == b"odd"
    next(commit.content(odd))  # one that is read no further leaves the next to be read
    assert b"".join(commit.content(entries["program"].object)) == b"#!/bin/sh\n"
    with pytest.raises(Refused, match="git does not have"):
        list(commit.content("0" * 40))
    with pytest.raises(Refused, match="no name of a commit"):
        Commit.of(tmp_path / "bare.git", "--exec=x")

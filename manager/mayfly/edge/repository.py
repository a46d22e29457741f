"""A git repository, asked by the program ``git``: what changed, what is there, what a file says.

Nothing of a repository is believed or run: no hook, no pager, no filter, no program that its configuration
names, and no option that hides in a name.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from shlex import quote

from mayfly.core.pipeline.changes import Change, ChangesError, name_status, text
from mayfly.core.quantities import whole_number
from mayfly.edge.faults import Refused
from mayfly.edge.lock_file import locked

SECONDS = 120.0
# bytes of one answer: a few kilobytes of trees can name files without end
SAID_MAX = 64 * 1024 * 1024
FILE_MAX = 1024 * 1024  # bytes of a file that is read
TOLD_MAX = 64 * 1024  # bytes of its complaints
NOTES = "refs/notes/mayfly"
NOTES_LOCK = "mayfly-notes-written.lock"
NOTES_SECONDS = 30.0  # how long others may take to write theirs
COMPARED_MAX = 64 * 1024 * 1024  # bytes of a file that is read to see whether it changed
MESSAGE_MAX = 1000  # bytes of a commit's message
# The variables that git gets: where the repository is, and what a CI service has set so that git reads it.
_KEPT = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR")
_KEPT_OF_GIT = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"),
    *("GIT_QUARANTINE_PATH", "GIT_CEILING_DIRECTORIES", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"),
)
_SAFE = (
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.quotePath=false"),
    # of what it maps of packs, by itself a GiB at a time: who asks may have less (edge/own_limits.py)
    *("-c", "core.packedGitWindowSize=64m", "-c", "core.packedGitLimit=512m"),
    *("-c", "diff.external="),
)
_KINDS = {"120000": "a link", "040000": "a folder", "160000": "a submodule"}  # by git's modes
_SHALLOW = (
    "; this clone is shallow: fetch more of its history (`git fetch --unshallow`, fetch-depth: 0, "
    "GIT_DEPTH: 0)"
)


class Repository:
    """The repository that a folder belongs to; it may be a bare one."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        """``Refused`` where there is none, or no ``git``."""
        self._folder = folder
        environ = os.environ if environ is None else environ
        self._environment = {
            **{name: environ[name] for name in (*_KEPT, *_KEPT_OF_GIT) if name in environ},
            **_configured(environ),
            "LC_ALL": "C",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
        }
        found = self._run("rev-parse", "--is-bare-repository")
        if found.returncode != 0:
            why = _reason(found.stderr)
            if "dubious ownership" in why:
                place = quote(str(folder.resolve()))
                trust = f"git config --global --add safe.directory {place}"
                why = f"it is another user's; where you trust it: {trust}"
            raise Refused(f"{folder} cannot be read as a git repository: {why}")
        self.bare = found.stdout.strip() == b"true"
        # where its files are; of a bare one the folder that was named
        self.top = (
            Path(os.fsdecode(self._git("rev-parse", "--show-toplevel").strip(b"\n")))
            if (not self.bare)
            else folder
        )

    @property
    def place(self) -> str:
        """Where it is on this host, as text: the folder of its files, of a bare one its own."""
        found = os.path.realpath(self.git_folder if self.bare else self.top)
        return os.fsencode(found).decode("utf-8", "replace")

    @property
    def git_folder(self) -> Path:
        """Where git has its own."""
        return Path(os.fsdecode(self._git("rev-parse", "--absolute-git-dir").rstrip(b"\n")))

    @property
    def common_folder(self) -> Path:
        """Where git has what all working trees of the repository share: refs and objects."""
        found = self._git("rev-parse", "--git-common-dir").rstrip(b"\n")
        return (self._folder / os.fsdecode(found)).resolve()

    def commit(self, name: str) -> str:
        """The commit that a name means."""
        if name.startswith("-") or not name or "\0" in name:
            raise Refused(f"{name!r} is no name of a commit")
        found = self._run(
            *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        )
        if found.returncode != 0:
            raise Refused(f"{name} is no commit of this repository{self._shallow()}")
        return found.stdout.decode("ascii").strip()

    def merge_base(self, base: str, head: str) -> str:
        """The commit at which two began to differ."""
        found = self._run("merge-base", base, head)
        if found.returncode != 0:
            raise Refused(f"{base} and {head} have no commit in common{self._shallow()}")
        return found.stdout.decode("ascii").split()[0]

    def parted(self, base: str, head: str) -> str | None:
        """The commit at which two began to differ; ``None`` where they have none in common."""
        found = self._run("merge-base", base, head)
        return found.stdout.decode("ascii").split()[0] if found.returncode == 0 else None

    def kept(self, commit: str) -> bool:
        """Whether a branch or a tag has the commit in its history."""
        words = ("for-each-ref", "--count=1", "--contains", commit, "refs/heads", "refs/tags")
        found = self._run(*words)
        return found.returncode == 0 and bool(found.stdout.strip())

    def has(self, commit: str) -> bool:
        """Whether the commit is there, in a history or not."""
        return self._run("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0

    def note(self, commit: str) -> str | None:
        """What Mayfly's note of a commit says; ``None`` where there is none."""
        found = self._run("notes", f"--ref={NOTES}", "list", commit)
        if found.returncode != 0:
            return None
        blob = found.stdout.decode("ascii").split()[0]
        return self._git("cat-file", "blob", blob).decode("utf-8", "replace")

    def lines_of_notes(self, pattern: str) -> tuple[tuple[str, str], ...]:
        """The lines of Mayfly's notes that an extended regular expression finds, each with its commit."""
        if self.commit_of_ref(NOTES) is None:
            return ()
        told = ("--no-color", "--no-line-number", "--no-column", "--full-name", "--null")
        how = ("--text", "--no-textconv", "--no-recurse-submodules", "--threads=1")
        found = self._run("grep", *told, *how, "-E", "-e", pattern, NOTES, "--", ":/")
        if found.returncode > 1:
            raise Refused(f"{NOTES} cannot be read: {_reason(found.stderr)}")
        lines = []
        for line in found.stdout.decode("utf-8", "replace").split("\n"):
            place, _, words = line.partition("\0")
            # REF:ab/cd…: a folder for each pair of digits, where there are many
            lines.append((place.removeprefix(f"{NOTES}:").replace("/", ""), words))
        return tuple(lines[:-1])

    def change_note(self, commit: str, changed: Callable[[str], str | None]) -> bool:
        """Let it say what ``changed`` makes of what it says, ``""`` where there is none; ``None``: nothing.

        Whether it was written. One process writes at a time: git by itself loses what two add at once.
        ``Refused`` where this user may not write there, or others take too long to.
        """
        try:
            with locked(self.common_folder / NOTES_LOCK, NOTES_SECONDS) as alone:
                if not alone:
                    raise Refused(
                        f"{NOTES} cannot be written: others write there for {NOTES_SECONDS:g} s"
                    )
                note = changed(self.note(commit) or "")
                if note is not None:
                    self._set_note(commit, note)
                return note is not None
        except OSError as error:
            raise Refused(f"{NOTES} cannot be written: {error.strerror}") from error

    def _set_note(self, commit: str, note: str) -> None:
        own = ("-c", "user.name=Mayfly", "-c", "user.email=mayfly@localhost")
        found = self._run(*own, "notes", f"--ref={NOTES}", "add", "--force", "-m", note, commit)
        if found.returncode != 0:
            raise Refused(f"{NOTES} cannot be written: {_reason(found.stderr)}")

    def ref_at_head(self) -> str | None:
        """The branch that HEAD names, by its whole name, there or not; ``None``: it names none."""
        found = self._run("symbolic-ref", "--quiet", "HEAD")
        return text(found.stdout.rstrip(b"\n")) if found.returncode == 0 else None

    def upstream(self, branch: str) -> str | None:
        """The ref that a branch follows, both by their whole names; ``None``: it follows none."""
        found = self._run("for-each-ref", "--count=1", "--format=%(upstream)", "--", branch)
        return text(found.stdout.rstrip(b"\n")) or None

    def commit_of_ref(self, ref: str) -> str | None:
        """The commit of a ref by its whole name; ``None`` where there is none."""
        if not ref.startswith("refs/"):
            return None
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        found = self._run(*words)
        return found.stdout.decode("ascii").strip() if found.returncode == 0 else None

    def subject(self, commit: str) -> str:
        """The first line of what a commit says."""
        found = self._git("cat-file", "commit", commit)
        message = found.partition(b"\n\n")[2].lstrip(b"\n")
        return message[:MESSAGE_MAX].decode("utf-8", "replace").partition("\n")[0].strip()

    def changes_here(self, base: str) -> tuple[Change, ...]:
        """What is not in the folder as a commit has it: new files too, ignored ones not."""
        top = ("-C", str(self.top))
        words = ("diff-index", "--raw", "-z", "--no-renames", "--no-abbrev", base, "--")
        others = (*top, "ls-files", "-z", "--others", "--exclude-standard")
        fields = iter(self._git(*top, *words).split(b"\0"))
        found = []
        for told, path in zip(fields, fields, strict=False):
            before, after, name, _, letter = told.decode("ascii").lstrip(":").split(" ")
            if letter != "M" or before != after or not self._is(text(path), before, name):
                found.append(Change(text(path), gone=letter == "D"))
        return (*found, *(Change(path) for path in _split(self._git(*others))))

    def _is(self, path: str, mode: str, name: str) -> bool:
        """Whether a file is that object: git's index may know no more than that it was touched."""
        place = self.top / path
        try:
            if mode == "120000":
                content = os.fsencode(place.readlink())
            elif place.is_symlink() or place.stat().st_size > COMPARED_MAX:
                return False
            else:
                content = place.read_bytes()
        except OSError:
            return False
        kind = "sha1" if len(name) == 40 else "sha256"  # git's own, of an object with its head
        head = f"blob {len(content)}\0".encode()
        return hashlib.new(kind, head + content, usedforsecurity=False).hexdigest() == name

    def setting(self, name: str) -> str | None:
        """What git's configuration says there, for this user; ``None``: nothing."""
        found = self._run("config", "--local", "--get", name)
        if found.returncode != 0:
            found = self._run("config", "--global", "--get", name)
        return text(found.stdout.rstrip(b"\n")) if found.returncode == 0 else None

    def changes(self, base: str, head: str) -> tuple[Change, ...]:
        """What is not the same in two commits."""
        words = ("diff", "--name-status", "-z", "-M", "--no-ext-diff", "--no-textconv")
        try:
            return name_status(self._git(*words, base, head, "--"))
        except ChangesError as error:
            raise Refused(str(error)) from error

    def paths(self, commit: str | None) -> tuple[str, ...]:
        """Every file of a commit; ``None``: of the folder as it is, new files too, ignored ones not."""
        if commit is not None:
            return _split(self._git("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit))
        words = (
            "-C",
            str(self.top),
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        )
        gone = set(_split(self._git("-C", str(self.top), "ls-files", "-z", "--deleted")))
        return tuple(path for path in dict.fromkeys(_split(self._git(*words))) if path not in gone)

    def beneath(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """What is in the folder: tracked paths with their modes (``160000``: a submodule), and the others
        that are not ignored. A repository in it that is no submodule is a path with a slash at its end.
        """
        tracked = {}
        for line in _split(self._git("ls-files", "-z", "--stage")):
            told, _, path = line.partition("\t")
            tracked[path] = told.split(" ")[0]
        others = _split(self._git("ls-files", "-z", "--others", "--exclude-standard"))
        return tracked, others

    def committed(self, commit: str) -> tuple[tuple[str, str, int, str], ...]:
        """What is in a commit: mode, object, bytes and path of each; a submodule has none."""
        found = []
        for line in _split(self._git("ls-tree", "-rlz", "--full-tree", self.commit(commit))):
            told, _, path = line.partition("\t")
            mode, _, name, size = told.split()
            found.append((mode, name, whole_number(size) or 0, path))
        return tuple(found)

    def objects(self) -> subprocess.Popen[bytes]:
        """A process that is asked for objects, a name a line, and answers as ``git cat-file --batch``."""
        try:
            return subprocess.Popen(
                ["git", *_SAFE, "cat-file", "--batch"],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise Refused(f"git cannot be run in {self._folder}: {error.strerror}") from error

    def file(self, commit: str | None, path: str) -> bytes | None:
        """What a file says in a commit, or in the folder; ``None`` where nothing is there.

        ``Refused`` where it is no file: no link is followed, nor taken for what it says.
        """
        if path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
            raise Refused(f"{path!r} is no path of this repository")
        if commit is None:
            return self._own_file(path)
        words = (
            "--literal-pathspecs",
            "ls-tree",
            "-z",
            "--long",
            "--full-tree",
            commit,
            "--",
            path,
        )
        row = self._git(*words).partition(b"\t")[0].split()
        if not row:
            return None
        mode, _, name, size = (word.decode("ascii") for word in row)
        _see_that_it_is_a_file(path, _KINDS.get(mode))
        if int(size) > FILE_MAX:
            raise Refused(f"{path} is larger than 1 MiB")
        return self._git("cat-file", "blob", name)

    def _own_file(self, path: str) -> bytes | None:
        named = self.top / path
        linked, folder = named.is_symlink(), named.is_dir()
        inside = "a submodule" if (named / ".git").exists() else "a folder"
        _see_that_it_is_a_file(path, "a link" if linked else inside if folder else None)
        place, top = named.resolve(), self.top.resolve()
        if not place.is_relative_to(top):
            raise Refused(f"{path} leads out of this repository")
        # Beside its files stand what git keeps for itself, with passwords of services, and what it ignores.
        if text(os.fsencode(place.relative_to(top))) not in self._own_paths:
            return None
        try:
            if not place.is_file():
                return None
            with place.open("rb") as file:
                found = file.read(FILE_MAX + 1)
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}") from error
        if len(found) > FILE_MAX:
            raise Refused(f"{path} is larger than 1 MiB")
        return found

    @cached_property
    def _own_paths(self) -> frozenset[str]:
        return frozenset(self.paths(None))

    def _shallow(self) -> str:
        found = self._run("rev-parse", "--is-shallow-repository")
        return _SHALLOW if found.stdout.strip() == b"true" else ""

    def _git(self, *words: str) -> bytes:
        found = self._run(*words)
        if found.returncode != 0:
            raise Refused(f"git {words[0]} failed: {_reason(found.stderr)}")
        return found.stdout

    def _run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        command = ["git", *_SAFE, *words]
        try:
            with (
                tempfile.TemporaryFile() as trouble,
                subprocess.Popen(
                    command,
                    cwd=self._folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=trouble,
                ) as process,
            ):
                said = _said(process, words[0])
                trouble.seek(0)
                told = trouble.read(TOLD_MAX)
            return subprocess.CompletedProcess(command, process.returncode, said, told)
        except FileNotFoundError as error:
            there = self._folder.is_dir()
            raise Refused(
                "there is no git here: install it"
                if there
                else f"there is no folder {self._folder}"
            ) from error
        except OSError as error:
            raise Refused(f"git cannot be run in {self._folder}: {error.strerror}") from error


def _see_that_it_is_a_file(path: str, kind: str | None) -> None:
    if kind is not None:
        raise Refused(f"{path} is {kind}, and only what a file of the repository says is read")


def _said(process: subprocess.Popen[bytes], what: str) -> bytes:
    """All that a process says until its end, of which there is neither more than is read nor too late."""
    assert process.stdout is not None
    began = time.monotonic()
    late = threading.Timer(SECONDS, process.kill)
    late.daemon = True
    late.start()
    try:
        said = process.stdout.read(SAID_MAX + 1)
        if len(said) > SAID_MAX:
            raise Refused(f"git {what} has more to say than {SAID_MAX >> 20} MiB")
        process.wait()
    finally:
        late.cancel()
        process.kill()
    if time.monotonic() - began >= SECONDS:
        raise Refused(f"git {what} took longer than {SECONDS:g} s")
    return said


def _configured(environ: Mapping[str, str]) -> dict[str, str]:
    """What a service has configured by variables: directories that git may read, in most cases."""
    names = ("GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_")
    return {name: value for name, value in environ.items() if name.startswith(names)}


def _split(output: bytes) -> tuple[str, ...]:
    return tuple(text(path) for path in output.split(b"\0") if path)


def _reason(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    first = lines[0].removeprefix("fatal: ") if lines else "it does not say why"
    return first if first.isprintable() else ascii(first)

"""A folder, or a commit, as a job gets it: what is in it, and how it goes to the manager.

What goes is what git has: tracked files and those that it does not ignore, of submodules too, as they are on
disk; without git all of the folder. ``.mayfly-ignore`` at its top names what stays, as ``.gitignore`` would.
Each content has its digest as its name, so that only what the manager lacks is sent. What cannot go (a
socket, a device, what may not be read) is told, never left out in silence.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from mayfly.cli.allowance import IGNORED_BY, Allowance, Progress, counted, most_in, quiet
from mayfly.cli.client import Client
from mayfly.cli.trouble import Lacking, Trouble, Usage
from mayfly.core.content_wire import ASKED_MAX, CONTENTS_MAX, LENGTH
from mayfly.core.plain_text import clean
from mayfly.core.quantities import spoken_size
from mayfly.core.tree_manifest import (
    Digesting,
    TreeEntry,
    digest_of,
    is_name_in_tree,
    manifest,
)
from mayfly.edge.checkout import Checkout, Commit
from mayfly.edge.faults import Refused
from mayfly.edge.pieces import PIECE, gathered

BODY = 64 * 1024 * 1024  # bytes of contents that go in one request; a larger one goes by itself
INSTEAD = "what is too large for a job can be mounted into its pool, or fetched by it"
TOLD = 3  # names that a sentence has


class Contents(Protocol):
    """Where what is in a tree's files comes from."""

    def __call__(self, entry: TreeEntry) -> Iterator[bytes]:
        """What is in that file, in pieces; ``Trouble`` where it cannot be had."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What a job is to start in."""

    entries: tuple[TreeEntry, ...]
    contents: Contents
    left_out: tuple[str, ...] = ()  # sentences: what does not go, and why

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    @property
    def counted(self) -> str:
        """How many files it has, for people."""
        return counted(sum(1 for entry in self.entries if entry.kind == "file"))


@dataclass(slots=True)
class Sending:
    """What went over the socket."""

    bytes: int = 0
    progress: Progress = quiet


def told(tree: Tree, sending: Sending) -> str:
    """What it came to, for people."""
    return f"{tree.counted}, {spoken_size(tree.size)}; {spoken_size(sending.bytes)} sent"


# -- a folder ----------------------------------------------------------------------------------------


def of_folder(
    path: Path | str,
    without: Sequence[str] = (),
    most: int | None = None,
    progress: Progress = quiet,
) -> Tree:
    """The folder as git would send it, or all of it. ``without``: paths that a job makes, and that only go
    where git tracks them. ``most``: bytes that may go; ``None``: as many as there are.

    ``Trouble`` where it is none, cannot be looked at, or is more than may go: then nothing of it was read.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise Usage(f"there is no folder {clean(str(folder))}")
    try:
        checkout = Checkout.of(folder)
        names = _Names(checkout.tracked, checkout.others) if checkout is not None else None
        names = names or _Names((), _walked(folder))
        missing = checkout.missing if checkout is not None else ()
    except Refused as fault:
        raise Trouble(str(fault)) from fault
    seen = Allowance(clean(str(folder)), most, progress)
    kept, left_out = _chosen(folder, names, without, seen)
    left_out += [f"submodule {clean(one)}: it is not checked out" for one in missing]
    read = Allowance(seen.name, most, progress, "reading")
    return _read(folder, kept, left_out, read)


@dataclass(frozen=True, slots=True)
class _Names:
    tracked: tuple[str, ...]
    others: Iterable[str]


def _walked(folder: Path) -> Iterator[str]:
    """All that is in it, by its names in it, directories with a slash at their end; of one that may not be
    read, itself alone.
    """

    def unreadable(_: OSError) -> None:
        pass  # it is told when it is read itself

    top = os.fspath(folder)
    for place, directories, files in os.walk(top, onerror=unreadable):
        here = os.path.relpath(place, top)
        directories[:] = sorted(one for one in directories if one != ".git")
        links = [one for one in directories if Path(f"{place}/{one}").is_symlink()]
        for name in (*files, *(f"{one}/" for one in directories if one not in links), *links):
            yield name if here == "." else f"{here}/{name}"


def _chosen(
    folder: Path, names: _Names, without: Sequence[str], seen: Allowance
) -> tuple[list[str], list[str]]:
    ignored = _ignored(folder)
    made = [one.strip("/") for one in without if not one.startswith("/")]
    made = [os.path.normpath(one) for one in made if one not in ("", ".")]
    kept: list[str] = []
    results = 0

    def keep(name: str) -> None:
        _look_at(folder, name, seen)
        kept.append(name)

    for name in names.tracked:
        if not ignored(name):
            keep(name)
    for name in names.others:
        if any(name == one or name.startswith(f"{one}/") for one in made):
            results += 1
        elif not ignored(name):
            keep(name.rstrip("/"))
    told = [f"{', '.join(made)}: the job makes it (--out)"] if results else []
    return kept, told


def _look_at(folder: Path, name: str, seen: Allowance) -> None:
    try:
        found = (folder / name).lstat()
    except OSError:
        return  # it is told when it is read
    seen.enter(name, found.st_size if stat.S_ISREG(found.st_mode) else 0)


def _ignored(folder: Path) -> Callable[[str], bool]:
    try:
        lines = (folder / IGNORED_BY).read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return lambda _: False
    except OSError as error:
        raise Trouble(f"{IGNORED_BY} cannot be read: {error.strerror}") from error
    from pathspec import GitIgnoreSpec  # noqa: PLC0415  only where there is such a file: costs 10 ms

    try:
        return GitIgnoreSpec.from_lines(lines).match_file
    except (ValueError, re.error) as error:
        raise Trouble(f"{IGNORED_BY} has a pattern that is none: {clean(str(error))}") from error


def _read(folder: Path, names: Iterable[str], left_out: list[str], read: Allowance) -> Tree:
    entries, odd = [], _Odd()
    for name in sorted(set(names)):
        entry = _entry(folder, name, odd, read)
        if entry is not None:
            entries.append(entry)
    kept = _upright(entries)

    def contents(entry: TreeEntry) -> Iterator[bytes]:
        with _opened(folder / entry.path) as file:
            while piece := file.read(PIECE):
                yield piece

    return Tree(kept, contents, (*left_out, *odd.told()))


def _entry(folder: Path, name: str, odd: _Odd, read: Allowance) -> TreeEntry | None:
    place = folder / name
    try:
        seen = place.lstat()
        if not is_name_in_tree(name):
            odd.add("a name that no job can have", name)
        elif stat.S_ISLNK(seen.st_mode):
            return TreeEntry(name, "link", target=os.fspath(place.readlink()))
        elif stat.S_ISREG(seen.st_mode):
            mode = 0o755 if seen.st_mode & 0o100 else 0o644
            with _opened(place) as file:
                size, digest = _digested(read.of(name, iter(lambda: file.read(PIECE), b"")))
            return TreeEntry(name, "file", mode, size, digest)
        elif stat.S_ISDIR(seen.st_mode):
            with os.scandir(place):  # whether it may be looked into
                pass
            return TreeEntry(name, "dir", seen.st_mode & 0o777 | 0o700)
        else:
            odd.add("no file, link or directory", name)
    except FileNotFoundError:
        pass  # it was removed, which is how things stand
    except OSError as error:
        odd.add(error.strerror or "cannot be read", name)
    return None


@dataclass(slots=True)
class _Odd:
    """What cannot go, by why."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, why: str, name: str) -> None:
        self.found.setdefault(why, []).append(name)

    def told(self) -> list[str]:
        return [f"{_some(names)}: {why}" for why, names in self.found.items()]


def _some(names: Sequence[str]) -> str:
    told = ", ".join(clean(os.fsencode(one).decode(errors="replace")) for one in names[:TOLD])
    return told + (f" and {len(names) - TOLD} more" if len(names) > TOLD else "")


def _opened(place: Path) -> IO[bytes]:
    """A file, opened as the file that it was seen to be: no link is followed, no pipe is waited for."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(place, flags), "rb")


def _upright(entries: list[TreeEntry]) -> tuple[TreeEntry, ...]:
    """In their order, without what lies beneath a link: git tracks a file there that is a link by now."""
    found: list[TreeEntry] = []
    over: TreeEntry | None = None
    for entry in sorted(entries, key=lambda one: one.order):
        if over is None or not entry.path.startswith(f"{over.path}/"):
            found.append(entry)
            over = entry if entry.kind != "dir" else None
    return tuple(found)


# -- a commit ----------------------------------------------------------------------------------------


def of_commit(
    repository: Path | str, commit: str, most: int | None = None, progress: Progress = quiet
) -> Tree:
    """What a commit of a repository has, which may be a bare one: no file of a checkout is looked at.
    ``most``: bytes that may go; ``None``: as many as there are.

    ``Trouble`` where there is none of that name, it cannot be read, or it is more than may go: then no file
    of it was read.
    """
    try:
        found = Commit.of(Path(repository), commit)
        name = f"commit {clean(commit)[:12]}"
        seen = Allowance(name, most, instead=INSTEAD)
        for one in found.entries():
            seen.enter(one.path, one.size if one.kind == "file" else 0)
        entries, left_out = [], []
        read = Allowance(name, most, progress, "reading", INSTEAD)
        for one in found.entries():
            if one.kind == "link":
                target = b"".join(found.content(one.object)).decode("utf-8", "surrogateescape")
                entries.append(TreeEntry(one.path, "link", target=target))
            elif one.kind == "file":
                size, digest = _digested(read.of(one.path, found.content(one.object)))
                entries.append(TreeEntry(one.path, "file", one.mode, size, digest))
            else:
                left_out.append(f"submodule {clean(one.path)}: it is in another repository")
        objects = {one.path: one.object for one in found.entries()}
    except Refused as fault:
        raise Trouble(str(fault)) from fault

    def contents(entry: TreeEntry) -> Iterator[bytes]:
        return found.content(objects[entry.path])

    return Tree(_upright(entries), contents, tuple(left_out))


def _digested(pieces: Iterable[bytes]) -> tuple[int, str]:
    found = Digesting()
    for piece in pieces:
        found.update(piece)
    return found.size, found.digest


# -- sending -----------------------------------------------------------------------------------------


def send(manager: Client, tree: Tree, sending: Sending | None = None) -> str:
    """See that the manager has the tree, and send of it what is lacking; the workspace's id.

    ``Trouble`` where the manager takes it not, or a file changed meanwhile.
    """
    sending = sending if sending is not None else Sending()
    listed = b"".join(manifest(tree.entries))
    whole = {"manifest": digest_of(listed)}
    try:
        return _made(manager, whole, sending)
    except Lacking:
        pass
    wanted = {entry.digest: entry for entry in tree.entries if entry.kind == "file"}
    lacking = _lacking(manager, list(wanted), sending, _fits(tree))
    contents: list[_Content] = [
        _Content(wanted[digest].path, digest, wanted[digest].size, _of(tree, wanted[digest]))
        for digest in lacking
    ]
    contents.append(_Content("its list", whole["manifest"], len(listed), lambda: iter((listed,))))
    _send(manager, contents, sending)
    try:
        return _made(manager, whole, sending)
    except Lacking as trouble:
        raise Trouble(f"the manager did not keep what was sent: {trouble}; submit again") from None


def send_content(
    manager: Client, pieces: Callable[[], Iterator[bytes]], digest: str, size: int
) -> str:
    """See that the manager has that content; its digest, which ``POST /v1/jobs`` takes as ``stdin``."""
    sending = Sending()
    whole = TreeEntry("standard input", "file", size=size)
    if _lacking(manager, [digest], sending, _fits(Tree((whole,), lambda _: pieces()))):
        _send(manager, [_Content("standard input", digest, size, pieces)], sending)
    return digest


@dataclass(frozen=True, slots=True)
class _Content:
    name: str
    digest: str
    size: int
    pieces: Callable[[], Iterator[bytes]]


def _of(tree: Tree, entry: TreeEntry) -> Callable[[], Iterator[bytes]]:
    return lambda: tree.contents(entry)


def _made(manager: Client, whole: dict[str, str], sending: Sending) -> str:
    sending.bytes += len(str(whole))
    return str(manager.post("/v1/workspaces", whole)["workspace"])


def _fits(tree: Tree) -> Callable[[int | None], None]:
    """What refuses a tree of which less may go."""

    def see(most: int | None) -> None:
        whole = Allowance("what is to be sent", most, instead=INSTEAD)
        for entry in tree.entries:
            whole.enter(entry.path, entry.size)

    return see


def _lacking(
    manager: Client, digests: list[str], sending: Sending, see: Callable[[int | None], None]
) -> list[str]:
    """Those that the manager has not, once ``see`` has heard how many bytes may go, and refused nothing."""
    found: list[str] = []
    for at in range(0, len(digests), ASKED_MAX):
        asked = digests[at : at + ASKED_MAX]
        sending.bytes += sum(len(one) + 3 for one in asked)
        answer = manager.post("/v1/content/lacking", {"digests": asked})
        if not at:
            see(most_in(answer))
        found += answer["lacking"]
    return found


def _send(manager: Client, contents: Iterable[_Content], sending: Sending) -> None:
    batch: list[_Content] = []
    size = 0
    for one in contents:
        if batch and (size + one.size > BODY or len(batch) == CONTENTS_MAX):
            _send_batch(manager, batch, sending)
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        _send_batch(manager, batch, sending)


def _send_batch(manager: Client, batch: list[_Content], sending: Sending) -> None:
    length = sum(LENGTH.size + one.size for one in batch)

    def body() -> Iterator[bytes]:
        for one in batch:
            yield LENGTH.pack(one.size)
            yield from _exactly(one)
            sending.progress(lambda: f"sending: {spoken_size(sending.bytes)} so far")

    kept = manager.upload("/v1/content", lambda: gathered(body()), length)["digests"]
    sending.bytes += length
    for one, digest in zip(batch, kept, strict=True):
        if one.digest != digest:
            raise Trouble(f"{clean(one.name)} changed while it was being sent: submit again")


def _exactly(one: _Content) -> Iterator[bytes]:
    """As many bytes as were told, whatever has become of the file."""
    left = one.size
    try:
        for piece in one.pieces():
            yield piece[:left]
            left -= len(piece[:left])
            if not left:
                break
    except OSError as error:
        raise Trouble(f"{clean(one.name)} cannot be read: {error.strerror}") from error
    if left:
        raise Trouble(f"{clean(one.name)} changed while it was being sent: submit again")

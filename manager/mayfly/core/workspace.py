"""Where a job starts that brings something with it, or has something brought back.

Pure. Such a job starts in a directory of its own at the container's root; a program that is the job user by
then goes there, takes its input, and becomes the job. So an image need know nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mayfly.core.model import PoolSpec, Removal
from mayfly.core.quantities import NOBODY_AT_ALL, whole_number
from mayfly.core.reserved_paths import unaliased, within

WORKSPACE = "/workspace"
STDIN = "/.mayfly-stdin"
HOME = "/home"  # where directories may be private and yet the job's
FAILED = 70  # of who cannot go there; sysexits(3)
# $0 is where to go, $1 what standard input is; the rest is the job's own.
_GOES = f'cd "$0" && exec <"$1" && shift && unset OLDPWD && exec "$@"; exit {FAILED}'


@dataclass(frozen=True, slots=True)
class Brought:
    """What a job brings with it: its owner's content, by digest."""

    uid: int
    workspace: str | None  # None: it brings no tree
    stdin: str | None  # None: it has no input
    user: str = ""  # whom the job runs as, as its pool says it


class Unbrought(StrEnum):
    """Why what a job brings can be put into no agent, for everybody to read: no name of the job's."""

    NAME_TOO_LONG = "a path in it is too long"
    NAME_INVALID = "a name in it is none that the container's file system takes"
    LINK = "a link in it leads to where nothing can be put"
    KIND = "the image has a directory where it has a file, or the other way round"
    NO_ARCHIVE = "the Engine did not take it"
    NO_USER = "the image has no such user"
    NOT_KEPT = "it is not here any more: send it again"
    DAMAGED = "it is damaged on this disk: send it again"
    NOTHING_KEPT = "this manager keeps nothing for jobs"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose the tree is in the container."""

    uid: int
    gid: int


def begun_there(argv: tuple[str, ...], brought: Brought) -> tuple[str, ...]:
    """The command that goes to the workspace and becomes that one."""
    stdin = STDIN if brought.stdin is not None else "/dev/null"
    return ("/bin/sh", "-c", _GOES, WORKSPACE, stdin, *argv)


def owner(user: str, entry: bytes) -> Owner | None:
    """Who the job runs as; ``entry`` is the user's line of passwd(5), or nothing. ``None``: nobody knows."""
    name, _, group = user.partition(":")
    fields = entry.decode(errors="replace").strip().split(":")
    known = len(fields) == 7
    uid = _number(fields[2] if known else name)
    gid = _number(group or (fields[3] if known else name))
    return Owner(uid, gid) if uid is not None and gid is not None else None


def _number(text: str) -> int | None:
    """Of a user or a group; an image may have written anything there."""
    number = whole_number(text)
    return number if number is not None and number < NOBODY_AT_ALL else None


def problem_with_pool(pool: PoolSpec, *, takes: bool) -> str | None:
    """Why a job can bring nothing to that pool, or ``takes`` nothing back from it; ``None``: it can."""
    if pool.security.read_only:
        return (
            f"nothing can be put into agents of pool {pool.name}: their files are read-only "
            "(security.read_only)"
        )
    targets = (*(mount.target for mount in pool.mounts), *pool.security.tmpfs)
    for target in targets:
        place = unaliased(target)
        if within(place, WORKSPACE) or within(WORKSPACE, place):
            return (
                f"nothing can be put into agents of pool {pool.name}: it mounts {target}, and a job's files "
                f"are in {WORKSPACE}"
            )
    if takes and pool.removal is Removal.ENGINE:
        return (
            f"nothing is brought back from pool {pool.name}: its containers remove themselves "
            '(removal = "engine")'
        )
    return None


def place_of(path: str) -> str:
    """Where a path of a job's is in its container: from where it starts, or absolute."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts if path.startswith("/") else [WORKSPACE.strip("/"), *parts])

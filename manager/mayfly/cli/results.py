"""What a job has made, brought to the user's disk: by ``submit --out`` at its end, by ``fetch`` later."""

from __future__ import annotations

import os
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mayfly.cli.client import Client, Document, segment, some_of
from mayfly.cli.talk import say
from mayfly.cli.trouble import Busy, Down, NoSuch, TimedOut, Trouble, Usage
from mayfly.core.plain_text import clean
from mayfly.core.quantities import spoken_size
from mayfly.core.workspace import place_of

if TYPE_CHECKING:
    from mayfly.cli.unpacking import Unpacked

WAIT = 60.0  # seconds of one question
AWAY = 1.0  # seconds until it is asked again where it did not answer
# Bytes that are taken of a manager that is a stranger, unless more are asked for.
FROM_ELSEWHERE = 16 * 1024**3
SAID = 20  # sentences of a manager's that are said on
PATIENCE = 900.0  # seconds until results are there that a manager takes from an ended container


def wanted(given: Sequence[str], *, grouped: bool = False, waits: bool = True) -> dict[str, Path]:
    """Where each path of a job is to be here: ``PATH`` or ``PATH=HERE``, which several jobs cannot share,
    nor is there one for a job that nobody ``waits`` for.
    """
    found: dict[str, Path] = {}
    for entry in given:
        path, equals, here = entry.partition("=")
        if not path or (equals and not here):
            raise Usage(f"--out {clean(entry)}: write PATH, or PATH=HERE")
        if place_of(path) == "/":
            raise Usage(
                f"--out {clean(path)} is all of the container: name the file or folder that is meant"
            )
        if equals and grouped:
            raise Usage(
                f"--out {clean(entry)}: several jobs cannot write to one place: say --out {clean(path)}, and "
                "what each makes comes into a folder called as the job"
            )
        if equals and not waits:
            raise Usage(
                f"--out {clean(entry)}: nothing is written here without --wait: say --wait, or --out "
                f"{clean(path)} and later `mayfly fetch JOB -o DIR`"
            )
        if path in found:
            raise Usage(f"--out {clean(path)} is there twice")
        found[path] = _here(path, here) if equals else place_here(path, Path())
    return found


def is_group(matrix: Mapping[str, Sequence[str]], versions: Sequence[str]) -> bool:
    """Whether what is asked for may be several jobs."""
    return bool(matrix) or len(versions) > 1 or "all" in versions


def place_here(path: str, folder: Path) -> Path:
    """Where a path of a job goes by itself: under its own name, an absolute one under its last part."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/"):
        parts = parts[-1:]
    return folder.joinpath(*parts)


def places_in(folder: Path, out: Iterable[object]) -> dict[str, Path]:
    """Where what a manager says that a job brings back goes below the folder; ``Trouble`` where that would be
    outside of it: a manager of another box is a stranger.
    """
    places = {str(path): place_here(str(path), folder) for path in out}
    for path, place in places.items():
        if ".." in place.parts[len(folder.parts) :]:
            raise Trouble(f"nothing is brought back: {clean(path)} leads out of the job's folder")
    return places


def folder_of(job: str) -> Path:
    """A folder that is called as the job, here; ``Trouble`` where that would be elsewhere."""
    name = clean(job)
    if name in ("", ".", "..") or "/" in name:
        raise Trouble(f"nothing is brought back: {name} is no name of a job")
    return Path(name)


def _here(path: str, here: str) -> Path:
    """A directory that is named as one takes a file into it."""
    named = here.endswith("/") and not path.endswith("/") and os.path.isdir(here)  # noqa: PTH112
    return Path(here) / Path(path).name if named else Path(here)


def fetched(manager: Client, job: str, places: Mapping[str, Path], most: int | None = None) -> bool:
    """Bring the results of a job that has ended; whether all of it came. What did not is said.

    ``most``: bytes that are taken, whatever the manager says that there is; ``None``: all where it is of this
    host, and else ``FROM_ELSEWHERE``.
    """
    row = _when_kept(manager, job)
    told: Document = row.get("results") or {}
    numbers = {
        str(number): places[path] for number, path in enumerate(row["out"]) if path in places
    }
    whole = not told.get("left_out")
    for sentence in list(told.get("left_out", ()))[:SAID]:
        say(f"not brought back: {clean(str(sentence))}")
    if not told.get("files") and not told.get("bytes") and not whole:
        return False
    size = int(told.get("bytes") or 0)
    if most is None and manager.elsewhere:
        most = FROM_ELSEWHERE
    bound, words = size, "was told"
    if most is not None and most < size:
        bound = most
        words = f"{spoken_size(most)}; more of it: mayfly fetch {clean(job)} -o DIR --most SIZE"
    unpacked = _unpacked(manager, job, numbers, bound, words)
    for sentence in unpacked.left_out:
        say(f"not written: {sentence}")
    return whole and not unpacked.left_out


def _when_kept(manager: Client, job: str) -> Document:
    """The job's row once its results are kept, or will never be."""
    path, end = f"/v1/jobs/{segment(job)}", time.monotonic() + PATIENCE
    while True:
        try:
            row = manager.get(path)
            if not row.get("out"):
                raise Usage(f"job {job} brings nothing back: name it with `mayfly submit --out`")
            if row.get("finished") is None:
                raise Trouble(
                    f"job {job} is {row.get('state')}: its results come when it has ended"
                )
            state = (row.get("results") or {}).get("state")
            if state == "never":
                raise Trouble(f"job {job} has not run, so that there is nothing of it")
            if state == "kept":
                return row
            _wait(manager, f"{path}/results")
        except (Down, TimedOut, Busy):
            if time.monotonic() > end:
                raise
            time.sleep(some_of(AWAY))
        if time.monotonic() > end:
            raise TimedOut(f"the results of job {job} are still being taken: mayfly fetch {job}")


def _wait(manager: Client, path: str) -> None:
    """Until results are kept, of which there may be none, or for a while."""
    with suppress(NoSuch), closing(manager.fetched(path, {"wait": WAIT})) as pieces:
        next(pieces, None)


def _unpacked(
    manager: Client, job: str, places: Mapping[str, Path], most: int, told: str
) -> Unpacked:
    from mayfly.cli.unpacking import unpack  # noqa: PLC0415  only where there is something: 10 ms

    try:
        pieces = manager.fetched(f"/v1/jobs/{segment(job)}/results", {"wait": WAIT})
        return unpack(pieces, places, most, told)
    except (tarfile.TarError, RecursionError) as error:
        raise Trouble(f"the results of job {job} did not come whole: mayfly fetch {job}") from error

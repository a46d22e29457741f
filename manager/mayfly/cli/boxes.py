"""Several boxes asked at once over ssh: what each answers beside the others, and which has what by its name.

One that does not answer is a row, and costs the others nothing: each is asked by a thread of its own, within
a time of its own. What a box says is foreign: rows are taken as they are, and shown as any manager's are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from mayfly.cli import ssh_socket
from mayfly.cli.box_names import boxes_in, label, parted
from mayfly.cli.client import Client, Document, segment
from mayfly.cli.misread import NOT_UNDERSTOOD
from mayfly.cli.render_boxes import (
    Reply,
    called,
    code_of,
    merged,
    sections,
    silent,
    understood,
)
from mayfly.cli.talk import Called, client, hosts, over_ssh, print_json, say, terminal_width, where
from mayfly.cli.trouble import Denied, Down, NoSuch, TimedOut, Trouble, Usage

SECONDS = 60.0  # for all of it, where the answer of none may take longer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What came of asking one box."""

    box: str
    answer: T | None
    trouble: Trouble | None  # why there is no answer


class Boxes:
    """The managers of several boxes."""

    def __init__(self, boxes: Sequence[str]) -> None:
        self._boxes = {label(one): ssh_socket.box(one, alone=False) for one in boxes}
        self.names = tuple(self._boxes)

    def client(self, name: str) -> Client:
        """One of them, now that it is asked alone."""
        return over_ssh(self._boxes[name])

    def each(self, ask: Callable[[Client], T], seconds: float = SECONDS) -> list[Told[T]]:
        """What all of them say, in their order."""
        last = time.monotonic() + seconds
        done: SimpleQueue[tuple[str, T | Exception]] = SimpleQueue()
        for name, box in self._boxes.items():
            asking = partial(_asked, name, over_ssh(box, patient=False), ask, done)
            threading.Thread(target=asking, name=f"box {name}", daemon=True).start()
        came: dict[str, T | Exception] = {}
        while len(came) < len(self._boxes):
            try:
                name, found = done.get(timeout=max(0.0, last - time.monotonic()))
            except Empty:
                break
            came[name] = found
        late = TimedOut(f"no answer within {seconds:.0f} s")
        return [_told(name, came.get(name, late)) for name in self.names]

    def get(
        self, path: str, query: Mapping[str, object] | None = None, seconds: float | None = None
    ) -> list[Reply]:
        """The document of each at that path."""

        def ask(manager: Client) -> Document:
            return manager.get(path, query, seconds)

        return replies(self.each(ask, SECONDS if seconds is None else seconds + SECONDS))

    def found(self, name: str) -> tuple[str, str]:
        """The box of a job that may be called ``BOX/JOB``, and what it is called there."""
        box, rest = parted(name)
        if box and box not in self._boxes:
            there = ", ".join(self.names)
            raise Usage(f"{name}: there is no {box} among the boxes that are named: {there}")
        return (box, rest) if box else (self.holding(name), name)

    def holding(self, name: str) -> str:
        """The box that has a slot, job, group or run of that name; a ``Trouble`` where that is none, or not
        known to be one alone.
        """
        found = self.each(partial(_has, name=name))
        having = [one.box for one in found if one.answer]
        if len(having) > 1:
            ways = " or ".join(f"{box}/{name}" for box in having)
            raise Usage(f"{name} is on {' and on '.join(having)}: write {ways}")
        if having:
            return having[0]
        silent = [f"{one.box} ({_first_line(one.trouble)})" for one in found if one.trouble]
        if silent:
            raise Down(
                f"no box that answers has a slot or job {name}, and it was not asked of {', '.join(silent)}"
            )
        raise NoSuch(f"there is no slot or job {name} on {', '.join(self.names)}")


def several(ctx: Called, socket: str | None, config: str | None) -> Boxes | None:
    """The boxes that are named, where these are more than one."""
    named = hosts(ctx, socket, config)
    return Boxes(named) if len(named) > 1 else None


def found_by(ctx: Called, socket: str | None, config: str | None, name: str) -> tuple[Client, str]:
    """The manager that has the slot, job, group or run of that name, and what it is called there.

    ``BOX/JOB`` names the box too, one of those that were named, or any where none was.
    """
    named, before = hosts(ctx, socket, config), where(ctx)
    box, rest = parted(name)
    chosen = (socket, config, before.socket, before.config, before.context)
    if box and not named and not any(chosen):
        return over_ssh(ssh_socket.box(boxes_in(box, name)[0], alone=True)), rest
    if not named:
        return client(ctx, socket, config), name
    boxes = Boxes(named)
    if box or len(named) > 1:
        found, rest = boxes.found(name)
        alone = box or len(named) == 1  # nobody else was asked
        return (_alone(named, found) if alone else boxes.client(found)), rest
    return _alone(named, boxes.names[0]), name


def _alone(named: Sequence[str], name: str) -> Client:
    """The one of them that is called so, of which ssh may ask a person what it likes."""
    meant = next(one for one in named if label(one) == name)
    return over_ssh(ssh_socket.box(meant, alone=True))


def show(
    found: Sequence[Reply],
    as_json: bool,
    lines: Callable[[Document], Iterable[str]],
    apart: bool = False,
) -> int:
    """Print what several boxes answered, as one table or ``apart``; the exit code."""
    if as_json:
        print_json(merged(found))
        return code_of(found)
    width = terminal_width()
    if apart:
        found = understood(found, lambda one: list(lines(one.document or {})))
        for line in sections(found, width, lines):
            print(line)
        return code_of(found)
    found = understood(found, lambda one: list(lines(called(merged([one])))))
    if any(one.document is not None for one in found):
        for line in lines(called(merged(found))):
            print(line)
    for line in silent(found, width):
        print(line)
    return code_of(found)


def replies(told: Sequence[Told[Document]]) -> list[Reply]:
    """As what is shown takes them."""
    return [
        Reply(one.box, one.answer, "", 0)
        if one.trouble is None
        else Reply(one.box, None, str(one.trouble), one.trouble.code)
        for one in told
    ]


def say_who_is_silent(told: Sequence[Told[T]]) -> None:
    """A sentence for each that did not answer, where only those that did are wanted."""
    for one in told:
        if one.trouble is not None:
            say(f"{one.box} is left out: {one.trouble}")


def _asked(
    name: str,
    manager: Client,
    ask: Callable[[Client], T],
    done: SimpleQueue[tuple[str, T | Exception]],
) -> None:
    try:
        done.put((name, ask(manager)))
    except Exception as error:  # noqa: BLE001  it is told of this box, and costs the others nothing
        done.put((name, error))


def _told(name: str, found: T | Exception) -> Told[T]:
    if isinstance(found, Trouble):
        return Told(name, None, found)
    if isinstance(found, Exception):  # of what it answered nothing could be made
        return Told(name, None, Trouble(NOT_UNDERSTOOD.format(type(found).__name__)))
    return Told(name, found, None)


def _has(manager: Client, name: str) -> bool:
    """Whether that manager knows anything by that name."""
    try:
        manager.get(f"/v1/jobs/{segment(name)}")
    except Denied:  # somebody else's
        return True
    except NoSuch:
        slots = manager.get("/v1/status").get("slots", ())
        if any(row.get("slot") == name for row in slots):
            return True
        group = manager.get("/v1/jobs", {"group": name, "limit": 1, "most": 1})
        return bool(group.get("jobs")) or _is_reserved(manager, name)
    return True


def _is_reserved(manager: Client, name: str) -> bool:
    """Whether a reservation there is called so; a manager of before has none."""
    try:
        rows = manager.get("/v1/reservations").get("reservations", ())
    except (Down, TimedOut):
        raise
    except Trouble:
        return False
    return any(row.get("reservation") == name for row in rows)


def _first_line(trouble: Trouble | None) -> str:
    return str(trouble).split("\n", maxsplit=1)[0]

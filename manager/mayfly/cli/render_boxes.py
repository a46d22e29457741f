"""What several boxes answered, as one document and as text: pure.

In a document each row says its ``box``, and ``boxes`` how each of them answered. In text what is typed again
(a slot, a job) is called by its box, ``BOX/JOB``, and one that did not answer is a row behind the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mayfly.cli import render
from mayfly.cli.misread import NOT_UNDERSTOOD
from mayfly.cli.table import table

Row = Mapping[str, Any]
OWN = ("box", "boxes", "answered", "error", "exit_code")  # ours to say, whatever a box says
NAMES = ("slot", "job", "run", "group", "reservation")  # of a row, that a person types
LISTS = ("slots",)  # of a row, of such names


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of asking one box for a document."""

    box: str
    document: dict[str, Any] | None
    why: str = ""  # there is none
    code: int = 0  # that a verb would exit with which asked this box alone

    @property
    def first_line(self) -> str:
        """Why it did not answer, without what to type."""
        return render.text(self.why.split("\n", maxsplit=1)[0])


def code_of(replies: Sequence[Reply]) -> int:
    """How a verb exits: 0 where all answered, 1 where some did; where none did, as each of them says."""
    codes = {one.code for one in replies if one.document is None}
    if not codes:
        return 0
    if len(codes) == 1 and all(one.document is None for one in replies):
        return codes.pop()
    return 1


def merged(replies: Sequence[Reply]) -> dict[str, Any]:
    """One document of all: the rows of each with their ``box``, and in ``boxes`` what is of a box alone."""
    found: dict[str, Any] = {}
    boxes: list[dict[str, Any]] = []
    rows: dict[str, list[dict[str, Any]]] = {}
    for one in replies:
        told: dict[str, Any] = {"box": one.box, "answered": one.document is not None}
        if one.document is None:
            told |= {"error": one.first_line, "exit_code": one.code}
        for key, value in (one.document or {}).items():
            if key == "schema":
                found.setdefault(key, value)
            elif key in OWN:
                continue
            elif _is_rows(value):
                rows.setdefault(key, []).extend(_of_box(one.box, row) for row in value)
            elif key != "rev":
                told[key] = value
        boxes.append(told)
    return {**found, "boxes": boxes, **rows}


def _of_box(box: str, row: Row) -> dict[str, Any]:
    """The row, first of all with whose it is: a box cannot say that one is another's."""
    return {"box": box, **{key: value for key, value in row.items() if key != "box"}}


def called(document: Row) -> dict[str, Any]:
    """A merged document with each slot, job and run called by its box."""
    return {
        key: [_called(row) for row in value] if _is_rows(value) and key != "boxes" else value
        for key, value in document.items()
    }


def _called(row: Mapping[str, Any]) -> dict[str, Any]:
    box = row["box"]
    names = {key: f"{box}/{row[key]}" for key in NAMES if row.get(key) is not None}
    lists = {
        key: [f"{box}/{name}" for name in row[key]]
        for key in LISTS
        if isinstance(row.get(key), list | tuple)
    }
    return {**row, **names, **lists}


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def understood(replies: Sequence[Reply], read: Callable[[Reply], object]) -> list[Reply]:
    """The same; one of whose answer ``read`` can make nothing is a row as one that did not answer: it costs
    the others nothing, whether it has another version or means harm.
    """
    return [one if one.document is None else _understood(one, read) for one in replies]


def _understood(reply: Reply, read: Callable[[Reply], object]) -> Reply:
    try:
        read(reply)
    except Exception as error:  # noqa: BLE001  of whatever kind, it is of one box alone
        return Reply(reply.box, None, NOT_UNDERSTOOD.format(type(error).__name__), 1)
    return reply


def silent(replies: Sequence[Reply], width: int | None) -> Iterator[str]:
    """A row for each that did not answer, and below it what to do."""
    for one in replies:
        if one.document is None:
            yield from render.wrapped(f"{one.box}: {one.first_line}", width, "  ")
            yield from (render.text(line) for line in one.why.split("\n")[1:])


def sections(
    replies: Sequence[Reply], width: int | None, lines: Callable[[dict[str, Any]], Iterable[str]]
) -> Iterator[str]:
    """The text of each box below its name, one after the other."""
    for number, one in enumerate(replies):
        if one.document is not None:
            yield from [*([""] if number else []), f"{one.box}:", *lines(one.document)]
    yield from silent(replies, width)


def csv_of(replies: Sequence[Reply], lines: Callable[[Row], str]) -> str:
    """The rows of all for a spreadsheet, with the box before each; a row is a line."""
    found: list[str] = []
    for one in replies:
        if one.document is not None:
            heading, *rows = lines(one.document).rstrip("\n").split("\n")
            found += [*([] if found else [f"box,{heading}"]), *(f"{one.box},{row}" for row in rows)]
    return "".join(f"{line}\n" for line in found)


def status(
    replies: Sequence[Reply], now: float, width: int | None, colour: bool, height: int | None
) -> list[str]:
    """A row a box, then slots and conditions as of one, in what is left of so many lines."""
    rows = [_standing(one) for one in replies]
    head = table(("BOX", "SLOTS", "PHASES", "SAYS"), rows, width, whole=("BOX",))
    hints = [line for one in replies for line in one.why.split("\n")[1:] if one.document is None]
    head += [render.text(line) for line in hints]
    document = called(merged(replies))
    for slot in document.get("slots", ()):
        slot["pool"] = f"{slot['box']}/{slot.get('pool')}"
    for line in document.get("health", ()):
        line["text"] = f"{line['box']}: {line.get('text')}"
    if not document.get("slots"):
        return [*head, *render.health(document.get("health", ()), width, colour)]
    return [*head, *render.standings(document, now, width, colour, height, len(head))]


def _standing(reply: Reply) -> tuple[str, ...]:
    if reply.document is None:
        return (reply.box, "-", "no answer", reply.first_line)
    slots = [row for row in reply.document.get("slots", ()) if isinstance(row, dict)]
    headline = render.text(reply.document.get("headline"))
    return (reply.box, str(len(slots)), render.phases(slots) or "-", headline)

"""What the page shows, as markup: pure, the manager's own documents in, sections out.

Nothing is worked out here that the documents do not say, so that the page and ``mayfly status --json``
cannot disagree. Times are absolute; how long ago that was is the script's to say, so that what has not
changed is not sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mayfly.core.quantities import parse_time, rfc3339, spoken_age, written_duration
from mayfly.core.read_on import line
from mayfly.service.page import acts
from mayfly.service.page.markup import NOTHING, Child, Html, el, join, link_elsewhere, safe_id
from mayfly.service.page.other_boxes import OtherBox
from mayfly.service.page.strip import PIECES, Strip, Week

Row = Mapping[str, Any]
GIB = 2**30
SHORT = 12  # characters of an id that is shown in a table
ENDED = frozenset({"succeeded", "failed", "cancelled", "lost"})
ROWS = 50  # jobs on one page of the list
QUEUED = 20  # of the queue on the first page
CONDITIONS = 50
PROCESSES = 16  # of one GPU


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose work a job is."""

    name: str = ""
    owner: str = ""
    repository: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that the first page is made of: documents as the control socket has them."""

    status: Row
    gpus: Row = field(default_factory=dict)
    week: Week | None = None
    queued: Sequence[Row] = ()  # with ``starts_at`` and ``why``
    queued_in_all: int = 0
    others: Sequence[Row] = ()  # that run, and the last that have ended
    runs: Sequence[Row] = ()
    reserved: Sequence[Row] = ()  # GPUs that people have for themselves, or are to have
    whose: Mapping[str, Whose] = field(default_factory=dict)  # of the jobs that run, by their ids
    boxes: Sequence[OtherBox] = ()  # others of the lab
    may_reserve: Sequence[str] = ()  # pools that let people reserve
    user: str | None = None  # who may change what is theirs


def sections(seen: Seen) -> dict[str, Html]:
    """The first page's sections, by their ids."""
    return {
        "summary": summary(seen.status),
        **({"boxes": boxes(seen.boxes)} if seen.boxes else {}),
        "conditions": conditions(seen.status),
        "slots": slots(seen.status, seen.whose),
        "gpus": gpus(seen.gpus, seen.status, seen.week, seen.whose),
        **own_sections(seen),
        "runs": runs(seen.runs),
    }


def own_sections(seen: Seen) -> dict[str, Html]:
    """Those that show a person what they may do to what is theirs."""
    return {
        "reservations": reservations(seen.reserved, seen.user, seen.may_reserve),
        "queue": queue(seen.queued, seen.queued_in_all, seen.user),
        "jobs": others(seen.others, seen.user),
    }


def summary(status: Row) -> Html:
    """The one sentence that says what the host does, with the status's revision that all of it is of."""
    paused = el("strong", "paused ", class_="bad") if status.get("paused") else None
    headline = str(status.get("headline", ""))
    return el("p", paused, headline, class_="headline", data_rev=str(status.get("rev", 0)))


def boxes(found: Sequence[OtherBox]) -> Html:
    """A row for each other box: the way to its page, and how it stands as that tells."""
    rows = [
        (
            link_elsewhere(one.name, one.address),
            _state_of(one),
            str(one.queued) if one.why is None else "",
            _conditions_of(one) if one.why is None else "",
            one.headline if one.why is None else _silence(one),
        )
        for one in found
    ]
    headings = ("Box", "Slots", "Queue", "Conditions", "Says")
    return join(_heading("Other boxes", len(found)), _table(headings, rows, ""))


def _state_of(box: OtherBox) -> Child:
    if box.why is not None:
        return el("strong", "no answer", class_="bad") if box.why else "not asked yet"
    counted = sorted(box.phases.items(), key=lambda one: -one[1])
    told = ", ".join(f"{count} {phase}" for phase, count in counted) or "none"
    return join(el("strong", "paused ", class_="bad"), told) if box.paused else told


def _conditions_of(box: OtherBox) -> Child:
    told = [
        f"{count} {word}{'s' if count > 1 else ''}"
        for count, word in ((box.errors, "error"), (box.warnings, "warning"))
        if count
    ]
    return el("strong", ", ".join(told), class_="bad") if box.errors else ", ".join(told)


def _silence(box: OtherBox) -> Child:
    if box.at is None:
        return box.why
    return join(str(box.why), "; it last answered: ", _moment(rfc3339(box.at), age=True))


def conditions(status: Row) -> Html:
    """What is the matter, and what to type; the worst first."""
    found = [one for one in status.get("health", ()) if isinstance(one, Mapping)]
    ranks = {"error": 0, "warning": 1}
    found.sort(key=lambda one: ranks.get(str(one.get("severity")), 2))
    head = _heading("Conditions", len(found))
    if not found:
        return join(head, el("p", "Nothing is the matter.", class_="none"))
    rows = [
        el(
            "li",
            el("strong", str(one.get("severity", "")), class_="severity"),
            " ",
            str(one.get("text", "")),
            _typed(one.get("fix")),
            _read_on(one),
            class_=f"condition {_word(one.get('severity'))}",
        )
        for one in found[:CONDITIONS]
    ]
    more = len(found) - CONDITIONS
    left = el("p", f"{more} more: mayfly status", class_="none") if more > 0 else None
    return join(head, el("ul", rows), left)


def slots(status: Row, whose: Mapping[str, Whose]) -> Html:
    """A row a slot: phase, verdict, pool, job."""
    found = list(status.get("slots", ()))
    rows = [
        (
            str(slot.get("slot", "")),
            str(slot.get("pool", "")),
            _phase(slot),
            _moment(slot.get("since"), age=True),
            _job_link(slot.get("job"), whose),
            _verdict(slot),
        )
        for slot in found
    ]
    return join(
        _heading("Slots", len(found)),
        _table(
            ("Slot", "Pool", "Phase", "Since", "Job", "Verdict"), rows, "No slot is configured."
        ),
    )


def gpus(document: Row, status: Row, week: Week | None, whose: Mapping[str, Whose]) -> Html:
    """A row a GPU or part of one: how it is, who has it, and its seven days."""
    found = list(document.get("gpus", ()))
    problem = document.get("problem")
    late = document.get("late_since")
    told = join(
        el("p", str(problem), class_="bad") if problem else None,
        el("p", "NVML has not answered since ", _moment(late), class_="bad") if late else None,
    )
    by_slot = {str(slot.get("slot")): slot for slot in status.get("slots", ())}
    devices: list[tuple[str, str, Row]] = []
    for gpu in found:
        devices.append((str(gpu.get("index", "")), str(gpu.get("name", "")), gpu))
        devices += [
            (f"{gpu.get('index', '')}:{number}", str(part.get("profile", "")), part)
            for number, part in enumerate(gpu.get("mig", ()))
        ]
    rows = [
        (
            number,
            join(name, el("span", str(device.get("uuid", "")), class_="uuid")),
            _use(device),
            _memory(device),
            _temperature(device),
            _who(device, by_slot, whose),
            _strip(week, str(device.get("uuid", ""))),
        )
        for number, name, device in devices
    ]
    headings = ("GPU", "Model", "Use", "Memory", "Temperature", "Who", "Seven days")
    nothing = "No GPU is watched." if not document.get("watched") else "There is no GPU."
    return join(_heading("GPUs", len(found)), told, _table(headings, rows, nothing))


def reservations(found: Sequence[Row], user: str | None, may_reserve: Sequence[str]) -> Html:
    """The calendar of reserved GPUs; nothing where nobody has reserved any, or can here."""
    offers = user is not None and bool(may_reserve)
    if not found and not offers:
        return NOTHING
    rows = [
        (
            str(one.get("reservation", "")),
            str(one.get("user", "")),
            str(one.get("pool", "")),
            el("span", str(one.get("state", "")), class_=f"state {_word(one.get('state'))}"),
            _moment(one.get("start")),
            _moment(one.get("until")),
            ", ".join(map(str, one.get("slots") or ()))
            or f"{one.get('slots_asked', 1)} of the pool",
            "a shell" if one.get("shell") else "outside of containers",
            acts.of_reservation(one, user),
        )
        for one in found
    ]
    headings = ("Reservation", "User", "Pool", "State", "From", "Until", "Slots", "As", "")
    way = el("a", "Reserve…", href="/reserve", id="to-reserve", class_="button calm")
    return join(
        _heading("Reservations", len(found)),
        _table(headings, rows, "Nothing is reserved."),
        el("p", way) if offers else None,
    )


def queue(found: Sequence[Row], in_all: int, user: str | None) -> Html:
    """Who is next, why they wait, and when they may start."""
    rows = [
        (
            str(job.get("position") or "-"),
            job_link(job),
            str(job.get("pool", "")),
            str(job.get("owner") or "-"),
            str(job.get("why") or "it waits for a slot"),
            _moment(job.get("starts_at")),
            _moment(job.get("submitted"), age=True),
            acts.of_job(job, user),
        )
        for job in found
    ]
    headings = ("Place", "Job", "Pool", "Owner", "Why it waits", "May start", "Waits", "")
    more = in_all - len(found)
    link = (
        el("p", el("a", f"{more} more", href="/jobs?state=queued", id="more-queued"))
        if more > 0
        else None
    )
    return join(_heading("Queue", in_all), _table(headings, rows, "No job waits."), link)


def others(found: Sequence[Row], user: str | None) -> Html:
    """What runs, and what has ended of late."""
    return join(
        el("h2", "Jobs"),
        jobs_table(found, user, "No job has run."),
        el("p", el("a", "All jobs", href="/jobs", id="all-jobs")),
    )


def jobs_table(found: Sequence[Row], user: str | None, nothing: str) -> Html:
    """A row a job."""
    rows = [
        (
            job_link(job),
            str(job.get("pool", "")),
            str(job.get("owner") or "-"),
            el("span", str(job.get("state", "")), class_=f"state {_word(job.get('state'))}"),
            str(job.get("slot") or "-"),
            _ran(job),
            _moment(job.get("submitted"), age=True),
            _end(job),
            acts.of_job(job, user),
        )
        for job in found
    ]
    headings = ("Job", "Pool", "Owner", "State", "Slot", "Ran", "Submitted", "End", "")
    return _table(headings, rows, nothing)


def runs(found: Sequence[Row]) -> Html:
    """The jobs of pushes and folders, as one each."""
    rows = [
        (
            el(
                "a",
                str(run.get("run", "")),
                href=f"/jobs?group={safe_id(run.get('run'))}",
                id=f"run-{safe_id(run.get('run'))}",
            ),
            _base_name(str(run.get("repository", ""))),
            str(run.get("ref") or "-").removeprefix("refs/heads/"),
            el("code", str(run.get("commit") or "-")[:SHORT]),
            str(run.get("owner") or "-"),
            el("span", str(run.get("state", "")), class_=f"state {_word(run.get('state'))}"),
            _progress(run.get("jobs") or {}),
            _moment(run.get("submitted"), age=True),
        )
        for run in found
    ]
    headings = ("Run", "Repository", "Ref", "Commit", "Owner", "State", "Jobs", "Submitted")
    return join(
        _heading("Runs", len(found)), _table(headings, rows, "No run of a repository is known.")
    )


def job(row: Row, user: str | None, *, whole: bool) -> Html:
    """One job; ``whole``: to whoever sees what it runs, too."""
    told: list[tuple[str, Child]] = [
        ("State", el("span", str(row.get("state", "")), class_=f"state {_word(row.get('state'))}")),
        ("Why", str(row.get("why") or "") or None),
        ("Place", str(row.get("position") or "") or None),
        ("May start", _moment(row.get("starts_at")) if row.get("starts_at") else None),
        ("Name", str(row.get("name") or "") or None),
        ("Pool", str(row.get("pool", ""))),
        ("Slot", str(row.get("slot") or "") or None),
        ("Owner", str(row.get("owner") or "-")),
        ("Run", _run_link(row.get("group"))),
        ("Variant", str(row.get("variant") or "") or None),
        ("Image", str(row.get("image") or "") or None),
        ("Submitted", _moment(row.get("submitted"))),
        ("Started", _moment(row.get("started"))),
        ("Finished", _moment(row.get("finished"))),
        ("End", _end(row) if row.get("state") in ENDED else None),
        ("Held", _held(row) or None),
    ]
    if whole and isinstance(row.get("argv"), list | tuple):
        told.append(("Command", el("code", " ".join(map(str, row["argv"])))))
    shown = [
        join(el("dt", name), el("dd", value)) for name, value in told if value not in (None, "")
    ]
    return join(el("dl", shown), el("p", acts.of_job(row, user)))


# -- parts -----------------------------------------------------------------------------------------


def _held(row: Row) -> str:
    """For whom its container is held, and until when, or that it is to be; nothing where it is not."""
    held = row.get("held")
    if isinstance(held, Mapping):
        return str(held.get("words") or "")
    seconds = acts.wish(row) if row.get("state") in acts.OPEN else 0.0
    return f"when it has ended, for {written_duration(round(seconds))}" if seconds > 0 else ""


def job_link(row: Row) -> Html:
    """A job by its name, and by its id where it has none."""
    own = str(row.get("job", ""))
    name = row.get("name")
    beside = el("span", str(name), class_="beside") if name else None
    return join(el("a", own, href=f"/jobs/{safe_id(own)}", id=f"job-{safe_id(own)}"), beside)


def _run_link(group: object) -> Html | None:
    if not group:
        return None
    return el("a", str(group), href=f"/jobs?group={safe_id(group)}")


def _job_link(own: object, whose: Mapping[str, Whose]) -> Child:
    """A slot's job: of the embedded queue it has a page, of a service it has what the service calls it."""
    if not own:
        return "-"
    known = whose.get(str(own))
    if known is None:
        return str(own)
    beside = " · ".join(one for one in (known.name, known.owner, known.repository) if one)
    return join(
        el("a", str(own), href=f"/jobs/{safe_id(own)}", id=f"slot-job-{safe_id(own)}"),
        el("span", beside, class_="beside") if beside else None,
    )


def _phase(slot: Row) -> Html:
    phase = el("span", str(slot.get("phase", "")), class_=f"phase {_word(slot.get('phase'))}")
    return join(phase, el("span", " cordoned", class_="beside") if slot.get("cordoned") else None)


def _verdict(slot: Row) -> Child:
    cordon = slot.get("cordoned")
    told = [str(slot["note"])] if slot.get("note") else []
    if isinstance(cordon, Mapping):
        note = f": {cordon['note']}" if cordon.get("note") else ""
        told.append(f"cordoned by {cordon.get('by')}{note}")
    return "; ".join(told) or "-"


def _use(device: Row) -> Child:
    value = device.get("utilisation")
    if value is None:
        return "-"
    return join(el("meter", value=value, min=0, max=100, aria_hidden="true"), f" {value} %")


def _memory(device: Row) -> str:
    used, total = device.get("used"), device.get("memory")
    told = "-" if used is None else f"{used / GIB:.1f}"
    return f"{told} of {total / GIB:.0f} GiB" if total else told


def _temperature(device: Row) -> str:
    value = device.get("temperature")
    return "-" if value is None else f"{value} °C"


def _who(device: Row, by_slot: Mapping[str, Row], whose: Mapping[str, Whose]) -> Child:
    """Whose it is now: the slots at work on it, and processes that are none of theirs."""
    told: list[Html] = []
    if device.get("problem"):
        told.append(el("li", str(device["problem"]), class_="bad"))
    working = list(device.get("at_work") or ())
    for name in device.get("slots") or ():
        slot = by_slot.get(str(name), {})
        if name in working and slot.get("job"):
            told.append(el("li", f"{name}: ", _job_link(slot.get("job"), whose)))
        else:
            told.append(el("li", f"{name}: {slot.get('phase') or 'vacant'}"))
    foreign = [one for one in device.get("processes") or () if not one.get("agent")]
    told += [el("li", _foreign(one), class_="bad") for one in foreign[:PROCESSES]]
    if len(foreign) > PROCESSES:
        told.append(el("li", f"and {len(foreign) - PROCESSES} more processes", class_="bad"))
    return el("ul", told, class_="plain") if told else "-"


def _foreign(process: Row) -> Child:
    user = process.get("user") or "a user who is not known"
    since = process.get("since")
    container = process.get("container")
    return join(
        f"not ours: {user}, PID {process.get('pid')}",
        join(", since ", _moment(since)) if since else None,
        f", container {str(container)[:SHORT]}" if container else None,
    )


def _strip(week: Week | None, uuid: str) -> Child:
    strip = week.strips.get(uuid) if week is not None else None
    if week is None or strip is None:
        return "-"
    label = f"{strip.share:.0%} of seven days".replace("%", " %")
    rects = [
        el("rect", x=at, y=0, width=length, height=8, class_=f"u{level}")
        for at, length, level in _levels(strip)
    ]
    days = [el("rect", x=at, y=8, width=1, height=1, class_="day") for at in range(0, PIECES, 12)]
    picture = el(
        "svg",
        rects,
        days,
        viewBox=f"0 0 {PIECES} 9",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
        class_="strip",
    )
    return join(picture, el("span", label, class_="beside"))


def _levels(strip: Strip) -> Iterable[tuple[int, int, int]]:
    """Pieces that look alike as one: where it begins, how many they are, and how dark: 0 to 4."""
    levels = [0 if share < 0.01 else 1 + min(3, int(share * 4)) for share in strip.pieces]
    at = 0
    while at < len(levels):
        end = at
        while end < len(levels) and levels[end] == levels[at]:
            end += 1
        yield at, end - at, levels[at]
        at = end


def _ran(row: Row) -> Child:
    started, finished = row.get("started"), row.get("finished")
    if not started:
        return "-"
    if not finished:
        return _moment(started, age=True)
    return spoken_age(parse_time(str(finished)) - parse_time(str(started)))


def _end(row: Row) -> str:
    if row.get("state") not in ENDED:
        return "-"
    told = [
        str(row[key]) for key in ("exit_code", "cause", "detail") if row.get(key) not in (None, "")
    ]
    held = _held(row)
    return " ".join(dict.fromkeys((*told, *([held] if held else [])))) or "-"


def _moment(value: object, *, age: bool = False) -> Child:
    """A time; ``age``: with a script it says how long ago that was."""
    if not isinstance(value, str):
        return "-"
    shown = f"{value[:10]} {value[11:16]} UTC" if len(value) > 16 else value
    return el("time", shown, datetime=value, title=shown, data_age=age)


def _progress(jobs: Row) -> str:
    every = sum(jobs.values())
    return f"{every - jobs.get('queued', 0) - jobs.get('running', 0)}/{every}"


def _base_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].removesuffix(".git") or path or "-"


def _typed(fix: object) -> Html | None:
    return el("pre", el("code", str(fix)), tabindex="0") if fix else None


def _read_on(condition: Row) -> Html | None:
    """Where the code is explained: a link where somebody said where the docs are, else what to type."""
    code, place = str(condition.get("code") or ""), str(condition.get("anchor") or "")
    if not code:
        return None
    link = place.startswith(("https://", "http://"))
    more = link_elsewhere(code, place) if link else el("code", line(code))
    return el("p", "Read on: ", more, class_="none")


def _heading(name: str, count: int) -> Html:
    return el("h2", name, " ", el("span", count, class_="count"))


def _table(headings: Sequence[str], rows: Sequence[Sequence[Child]], nothing: str) -> Html:
    if not rows:
        return el("p", nothing, class_="none")
    head = el("tr", [el("th", one, scope="col") for one in headings])
    body = [
        el(
            "tr",
            [el("td", cell, data_label=name) for name, cell in zip(headings, row, strict=True)],
        )
        for row in rows
    ]
    return el("table", el("thead", head), el("tbody", body))


def _word(value: object) -> str:
    """A state as a class's name."""
    text = str(value or "")
    return text if text.isascii() and text.isalpha() else "other"

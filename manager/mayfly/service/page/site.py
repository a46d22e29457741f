"""The page's addresses: each asks the manager what its own clients ask, and shows it.

A GET changes nothing. What a visitor sees is what the users' socket shows them, and what they may do is
what it lets them do: every answer is ``Control.respond``'s, with the visitor as the caller.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from mayfly.core.commands import Caller
from mayfly.core.model import JobId, JobState, Phase
from mayfly.core.quantities import parse_time
from mayfly.edge.faults import Fault
from mayfly.edge.history_reader import JobsWanted
from mayfly.edge.http_connection import (
    RETRY,
    ClientGone,
    HttpReply,
    OnFailure,
    Reply,
    Request,
)
from mayfly.edge.places import ROOT, Places
from mayfly.edge.tcp_http import ANYBODY
from mayfly.service.board import StatusBoard
from mayfly.service.control import Control, Listing
from mayfly.service.page import acts, other_boxes, reserve_form, streams, views
from mayfly.service.page.acts import Act
from mayfly.service.page.markup import Child, Html, document, el, join
from mayfly.service.page.no_answer import NoAnswer
from mayfly.service.page.other_boxes import OtherBox
from mayfly.service.page.report_kept import Reports
from mayfly.service.page.report_view import chosen_by
from mayfly.service.page.strip import Stint, Stints, Week, week
from mayfly.service.page.visitor import Visitor, Visitors, form

HTML = "text/html; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
CSV = "text/csv; charset=utf-8"
FRESH = 1.0  # seconds for which what was gathered is shown to others, too
SHARE = 10.0  # so many times as long as gathering took is what it gave shown, at the least
ENDED_SHOWN = 20
RUNNING_SHOWN = 100
RUNS_SHOWN = 20
ENDED_LISTED = 10_000
PAGES = 10_000
STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # (with none, a browser would send a form without its Origin)
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
JOB = r"(?P<job>[A-Za-z0-9][A-Za-z0-9._-]{0,127})"
RESERVATION = JOB.replace("job", "reservation")
RESERVED = "/#reservations"


def _words(known: Mapping[str, Act]) -> str:
    """The last word of an address: what is to be done."""
    return f"(?P<word>{'|'.join(known)})"


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What was gathered for everybody, and until when it is shown."""

    until: float
    seen: views.Seen
    sections: Mapping[str, Html]


class Site:
    """All that the page's addresses need; ``respond`` is the only way in."""

    def __init__(
        self,
        control: Control,
        board: StatusBoard,
        visitors: Visitors,
        stints: Stints,
        *,
        on_failure: OnFailure,
        ignored: Callable[[str], None] = lambda _: None,
        only_proxies: bool = False,
        boxes: Callable[[], Sequence[OtherBox]] = tuple,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``ignored`` hears of headers that were not believed; ``only_proxies``: nobody else is answered.
        ``boxes`` are those that are shown beside this one.
        """
        self._control = control
        self._board = board
        self._visitors = visitors
        self._stints = stints
        self._on_failure = on_failure
        self._ignored = ignored
        self._only_proxies = only_proxies
        self._boxes = boxes
        self._now = now
        self._stop = threading.Event()
        self._places = Places(streams.PLACES)
        self._told: frozenset[str] = frozenset()
        # So that one of many who look gathers: docs/adr/0051. What it guards is a copy of what others own.
        self._gathering = threading.Lock()
        self._gathered: _Gathered | None = None
        self._static = {name: _static(name) for name in STATIC}
        self._reports = Reports(partial(self._data, ANYBODY), now)

    def stop(self) -> None:
        """End all that is followed."""
        self._stop.set()

    def respond(self, request: Request) -> Reply:
        """The answer to one request, whatever happens."""
        try:
            reply = self._route(request)
        except ClientGone:
            raise
        except NoAnswer as error:
            reply = self._plain_page(error.status, str(error))
        except Fault as error:
            reply = self._plain_page(503, str(error))
        except Exception as error:  # noqa: BLE001  a bug must neither end the server nor show itself
            self._on_failure(request.path, error)
            reply = self._plain_page(500, "This is a bug in mayfly; the manager's log has it.")
        return replace(reply, headers={**HEADERS, **reply.headers})

    def _route(self, request: Request) -> HttpReply:
        name = request.path.removeprefix("/static/")
        if request.path.startswith("/static/") and name in self._static and request.method == "GET":
            return HttpReply(
                200, STATIC[name], self._static[name], {"Cache-Control": "max-age=86400"}
            )
        if self._only_proxies and not self._visitors.is_trusted(request.caller):
            raise NoAnswer(403, "This address answers the proxies of web_trusted_proxies alone.")
        visitor = self._visitors.of(request)
        self._tell(visitor)
        for method, path, answer in self.ROUTES:
            found = re.fullmatch(path, request.path)
            if found is not None and method == request.method:
                return answer(self, request, visitor, **found.groupdict())
        if any(re.fullmatch(path, request.path) for _, path, _ in self.ROUTES):
            raise NoAnswer(405, f"This address does not take {request.method}.")
        raise NoAnswer(404, "There is no such page.")

    def _tell(self, visitor: Visitor) -> None:
        """Once of each, and of so many."""
        if visitor.note and visitor.note not in self._told and len(self._told) < 20:
            self._told |= {visitor.note}
            self._ignored(visitor.note)

    # -- the first page ------------------------------------------------------------------------------

    def _home(self, request: Request, visitor: Visitor) -> HttpReply:
        del request
        found = self._sections(visitor)
        return self._page("", visitor, self._shown(found), live="/live")

    def _box(self, request: Request, visitor: Visitor) -> HttpReply:
        """How this one stands, for the pages of others: what this page shows everybody."""
        del request, visitor
        seen = self._gather().seen
        told = other_boxes.document(seen.status, seen.queued_in_all)
        return HttpReply(200, "application/json", json.dumps(told).encode())

    def _live(self, request: Request, visitor: Visitor) -> HttpReply:
        return self._followed(
            request,
            visitor,
            streams.parts(self._board, partial(self._sections, visitor), self._stop.wait),
        )

    def _sections(self, visitor: Visitor) -> Mapping[str, Html]:
        gathered = self._gather()
        user = visitor.caller.name if visitor.named else None
        if user is None:
            return gathered.sections
        return {**gathered.sections, **views.own_sections(replace(gathered.seen, user=user))}

    def _gather(self) -> _Gathered:
        """What everybody sees of the whole host; gathering it takes a tenth of the time at most."""
        with self._gathering:
            began = time.monotonic()
            last = self._gathered
            if last is not None and began < last.until:
                return last
            seen = self._seen()
            sections = views.sections(seen)
            took = time.monotonic() - began
            self._gathered = _Gathered(began + max(FRESH, SHARE * took), seen, sections)
            return self._gathered

    def _seen(self) -> views.Seen:
        status = self._ask("/v1/status", ANYBODY)
        gpus = self._ask("/v1/gpus", ANYBODY)
        runs = self._ask("/v1/runs", ANYBODY, limit=RUNS_SHOWN).get("runs", [])
        calendar = self._ask("/v1/reservations", ANYBODY)
        listing = self._control.listing(JobsWanted(limit=ENDED_SHOWN))
        running = self._rows(listing.running[:RUNNING_SHOWN])
        next_ones = listing.queued[: views.QUEUED]
        standings = self._control.standings(next_ones)
        queued = [{**row, **standings.get(str(row["job"]), {})} for row in self._rows(next_ones)]
        return views.Seen(
            reserved=calendar.get("reservations", []),
            may_reserve=calendar.get("pools", []),
            status=status,
            gpus=gpus,
            week=self._week(status) if gpus.get("gpus") else None,
            queued=queued,
            queued_in_all=len(listing.queued),
            others=[*running, *self._rows(listing.ended[:ENDED_SHOWN])],
            runs=runs,
            whose=self._whose(running, runs),
            boxes=self._boxes(),
        )

    def _week(self, status: Mapping[str, Any]) -> Week:
        """The strips, with the agents that are at work now."""
        now = self._now()
        found, whole = self._stints.last(now, time.monotonic())
        current = [
            Stint(parse_time(str(slot["since"])), now, tuple(slot["gpus"]))
            for slot in status.get("slots", ())
            if slot.get("phase") == Phase.BUSY and slot.get("since") and slot.get("gpus")
        ]
        return week([*current, *found], now, whole=whole)

    def _whose(
        self, running: Sequence[views.Row], runs: Sequence[views.Row]
    ) -> dict[str, views.Whose]:
        """Whose the jobs are that run; of a run that is not among the last ones it is asked."""
        repositories = {str(run.get("run")): str(run.get("repository", "")) for run in runs}
        for group in {
            str(row["group"]) for row in running if row.get("group")
        } - repositories.keys():
            try:
                found = self._ask(f"/v1/runs/{group}", ANYBODY)
            except NoAnswer:  # a group that is no run
                found = {}
            repositories[group] = str(found.get("repository", ""))
        return {
            str(row["job"]): views.Whose(
                str(row.get("name") or ""),
                str(row.get("owner") or ""),
                repositories.get(str(row.get("group")), ""),
            )
            for row in running
        }

    def _rows(self, jobs: Sequence[JobId]) -> Sequence[views.Row]:
        return self._control.rows_of(ANYBODY, jobs)

    # -- the report ----------------------------------------------------------------------------------

    def _report(self, request: Request, visitor: Visitor) -> HttpReply:
        found = self._reports.of(chosen_by(request.query))
        return self._page("Report", visitor, found.shown)

    def _report_csv(self, request: Request, visitor: Visitor) -> HttpReply:
        del visitor
        chosen = chosen_by(request.query)
        name = f"report-{chosen.by}-{chosen.per}-{chosen.last}.csv"
        named = {"Content-Disposition": f'attachment; filename="{name}"'}
        return HttpReply(200, CSV, self._reports.of(chosen).csv(), named)

    # -- jobs ----------------------------------------------------------------------------------------

    def _jobs(self, request: Request, visitor: Visitor) -> HttpReply:
        wanted = {
            name: request.query[name][:128]
            for name in ("state", "pool", "group")
            if request.query.get(name)
        }
        try:
            state = JobState(wanted["state"]).value if "state" in wanted else None
        except ValueError:
            raise NoAnswer(400, "There is no such state of a job.") from None
        text = request.query.get("page", "1")
        at = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1
        at = min(max(at, 1), PAGES)
        listing = self._control.listing(
            JobsWanted(ENDED_LISTED, wanted.get("pool"), state, group=wanted.get("group"))
        )
        return self._page("Jobs", visitor, self._list(listing, wanted, at, visitor))

    def _list(self, listing: Listing, wanted: Mapping[str, str], at: int, visitor: Visitor) -> Html:
        """One page of the list, and the way to the others."""
        every, begin = listing.all, (at - 1) * views.ROWS
        rows = self._control.rows_of(visitor.caller, every[begin : begin + views.ROWS])
        user = visitor.caller.name if visitor.named else None

        def way(name: str, to: int, there: bool) -> Child:
            query = urlencode({**wanted, "page": to})
            return el("a", name, href=f"/jobs?{query}", id=f"page-{name}") if there else None

        pages = max(1, -(-len(every) // views.ROWS))
        states = [el("a", one, href=f"/jobs?state={one}") for one in JobState]
        told = ", ".join(f"{key} {value}" for key, value in wanted.items())
        return join(
            el("h2", "Jobs", el("span", f" {len(every)} {told}", class_="count")),
            el("p", el("a", "all", href="/jobs"), [join(" · ", one) for one in states]),
            views.jobs_table(rows, user, "There is no such job."),
            el(
                "nav",
                way("earlier", at - 1, at > 1),
                f" page {at} of {pages} ",
                way("later", at + 1, at < pages),
                aria_label="Pages",
            ),
        )

    def _job(self, request: Request, visitor: Visitor, job: str) -> HttpReply:
        del request
        row, whole = self._one_job(job, visitor)
        user = visitor.caller.name if visitor.named else None
        body = join(el("h2", f"Job {job}"), views.job(row, user, whole=whole), el("h3", "Log"))
        if not whole:
            told = el("p", "What a job prints is shown to its owner. On the host: ",
                      el("code", f"mayfly logs {job}"), class_="none")  # fmt: skip
            return self._page(f"Job {job}", visitor, join(body, told))
        shown = el(
            "pre", id="log", tabindex="0", data_log=f"/jobs/{job}/log/live", aria_label="Log"
        )
        raw = el("p", el("a", "The whole log as text", href=f"/jobs/{job}/log", id="raw-log"))
        return self._page(f"Job {job}", visitor, join(body, shown, raw))

    def _one_job(self, job: str, visitor: Visitor) -> tuple[Mapping[str, Any], bool]:
        """The job, and whether it is seen whole: as its owner, else as a list shows it."""
        try:
            return self._ask(f"/v1/jobs/{job}", visitor.caller), True
        except NoAnswer as error:
            if error.status != 403:
                raise
        rows = self._control.rows_of(visitor.caller, [JobId(job)])
        if not rows:
            raise NoAnswer(404, f"There is no job {job}.")
        return {**rows[0], **self._control.standings([job]).get(job, {})}, False

    def _log(self, request: Request, visitor: Visitor, job: str) -> HttpReply:
        del request
        found = self._reply(f"/v1/jobs/{job}/output", visitor.caller, {"format": "text"})
        return HttpReply(200, PLAIN, found.data)

    def _log_live(self, request: Request, visitor: Visitor, job: str) -> HttpReply:
        def read(query: Mapping[str, str]) -> Iterator[bytes]:
            found = self._reply(f"/v1/jobs/{job}/output", visitor.caller, query)
            return iter(()) if isinstance(found.data, bytes) else found.data

        self._ask(f"/v1/jobs/{job}", visitor.caller)  # before a stream has begun it can be refused
        return self._followed(request, visitor, streams.log(read))

    # -- what people change --------------------------------------------------------------------------

    def _ask_of_job(self, request: Request, visitor: Visitor, job: str, word: str) -> HttpReply:
        del request
        _see_that_they_are_named(visitor)
        row, whole = self._one_job(job, visitor)
        if not whole:
            raise NoAnswer(403, f"Job {job} is not one of {visitor.caller.name}'s.")
        shown = views.job(row, None, whole=True)
        return self._asked(visitor, acts.OF_JOBS[word], job, f"/jobs/{job}", word, shown)

    def _change_job(self, request: Request, visitor: Visitor, job: str, word: str) -> HttpReply:
        self._see_that_it_is_meant(request, visitor)
        body = acts.OF_JOBS[word].body
        return self._change(visitor, f"/v1/jobs/{job}/{word}", body, f"/jobs/{job}")

    def _ask_of_reservation(
        self, request: Request, visitor: Visitor, reservation: str, word: str
    ) -> HttpReply:
        del request
        _see_that_they_are_named(visitor)
        found = self._ask("/v1/reservations", visitor.caller).get("reservations", ())
        row = next((one for one in found if one.get("reservation") == reservation), None)
        if row is None:
            raise NoAnswer(404, f"There is no reservation {reservation}.")
        if row.get("user") != visitor.caller.name and not visitor.caller.operator:
            name = visitor.caller.name
            raise NoAnswer(403, f"Reservation {reservation} is not one of {name}'s.")
        act, address = acts.OF_RESERVATIONS[word], f"/reservations/{reservation}"
        shown = views.reservations([row], None, ())
        return self._asked(visitor, act, reservation, address, word, shown)

    def _change_reservation(
        self, request: Request, visitor: Visitor, reservation: str, word: str
    ) -> HttpReply:
        self._see_that_it_is_meant(request, visitor)
        body = acts.OF_RESERVATIONS[word].body
        return self._change(visitor, f"/v1/reservations/{reservation}/{word}", body, RESERVED)

    def _reserve_form(self, request: Request, visitor: Visitor) -> HttpReply:
        del request
        _see_that_they_are_named(visitor)
        return self._reserving(visitor, {}, "", 200)

    def _reserve(self, request: Request, visitor: Visitor) -> HttpReply:
        """A wish that is refused comes back with the reason, and with what was filled in."""
        given = self._see_that_it_is_meant(request, visitor)
        try:
            body = reserve_form.body(given)
            return self._change(visitor, "/v1/reservations", body, RESERVED)
        except reserve_form.Unmeant as error:
            return self._reserving(visitor, given, str(error), 400)
        except NoAnswer as error:
            return self._reserving(visitor, given, str(error), error.status)

    def _reserving(
        self, visitor: Visitor, given: Mapping[str, str], why: str, status: int
    ) -> HttpReply:
        pools = self._ask("/v1/reservations", visitor.caller).get("pools", ())
        token = self._visitors.token(visitor)
        shown = reserve_form.form([str(one) for one in pools], token, given, why)
        return self._page("Reserve", visitor, shown, status=status)

    def _asked(
        self, visitor: Visitor, act: Act, name: str, address: str, word: str, shown: Html
    ) -> HttpReply:
        leave = address if address.startswith("/jobs/") else RESERVED
        token = self._visitors.token(visitor)
        asked = acts.question(act, name, f"{address}/{word}", leave, token, shown)
        return self._page(word.capitalize(), visitor, asked)

    def _see_that_it_is_meant(self, request: Request, visitor: Visitor) -> Mapping[str, str]:
        """The form's fields, where a person has sent it who may change something, from this page."""
        _see_that_they_are_named(visitor)
        given = form(request.body)
        why = self._visitors.meant(request, visitor, given.get("token", ""))
        if why is not None:
            raise NoAnswer(403, f"Nothing was changed: {why}.")
        return given

    def _change(
        self, visitor: Visitor, path: str, body: Mapping[str, object], then: str
    ) -> HttpReply:
        """The one way to a command; what was gathered for others before is old then."""
        self._reply(path, visitor.caller, {}, "POST", json.dumps(body).encode())
        with self._gathering:
            self._gathered = None
        return HttpReply(303, HTML, b"", {"Location": then})

    # -- what they share -----------------------------------------------------------------------------

    def _followed(self, request: Request, visitor: Visitor, pieces: Iterator[bytes]) -> HttpReply:
        """A stream of events, where there is a place for one more."""
        whose = ROOT if visitor.proxied else request.caller.uid
        whose = visitor.caller.uid if visitor.named else whose
        if not self._places.take(whose):
            busy = self._plain_page(
                503, "As many pages are followed as may be; this one is not live."
            )
            return replace(busy, headers=RETRY)
        stream = streams.Followed(pieces, partial(self._places.give_back, whose))
        # (A proxy that kept it back would make it late: nginx heeds this.)
        return HttpReply(200, streams.TYPE, stream, {"X-Accel-Buffering": "no"})

    def _ask(self, path: str, caller: Caller, **query: object) -> Mapping[str, Any]:
        """A document of the manager's."""
        told = json.loads(self._data(caller, path, {key: str(query[key]) for key in query}))
        return told if isinstance(told, dict) else {}

    def _data(self, caller: Caller, path: str, query: Mapping[str, str]) -> bytes:
        found = self._reply(path, caller, query)
        return found.data if isinstance(found.data, bytes) else b"".join(found.data)

    def _reply(
        self,
        path: str,
        caller: Caller,
        query: Mapping[str, str],
        method: str = "GET",
        body: bytes = b"",
    ) -> HttpReply:
        found = self._control.respond(Request(method, path, query, body, caller))
        assert isinstance(found, HttpReply), path
        if found.status >= 400:
            data = found.data if isinstance(found.data, bytes) else b"{}"
            raise NoAnswer(found.status, str(json.loads(data).get("error", "")))
        return found

    def _shown(self, found: Mapping[str, Html]) -> Html:
        return join([el("section", markup, id=name) for name, markup in found.items()])

    def _page(
        self, title: str, visitor: Visitor, body: Html, live: str | None = None, status: int = 200
    ) -> HttpReply:
        found = self._board.read()
        host = str(found.document.get("host", "")) if found is not None else ""
        who = f"signed in as {visitor.caller.name}" if visitor.named else "read-only"
        whole = el(
            "body",
            el("a", "Skip to the content", href="#main", class_="skip"),
            el(
                "header",
                el("h1", el("a", f"Mayfly on {host}" if host else "Mayfly", href="/", id="home")),
                el(
                    "nav",
                    el("a", "Host", href="/"),
                    el("a", "Jobs", href="/jobs", id="jobs-link"),
                    el("a", "Report", href="/report", id="report-link"),
                    aria_label="Pages of this host",
                ),
                el("p", who, class_="who"),
                el("p", id="link", role="status"),
            ),
            el(
                "main",
                el("p", visitor.note, class_="note") if visitor.note else None,
                body,
                id="main",
                tabindex="-1",
                data_live=live,
            ),
        )
        head = join(
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("link", rel="icon", href=_versioned(self._static, "icon.svg")),
            el("link", rel="stylesheet", href=_versioned(self._static, "page.css")),
            el("script", src=_versioned(self._static, "page.js"), defer=True),
        )
        name = " - ".join(one for one in (title, host, "Mayfly") if one)
        return HttpReply(status, HTML, document(name, head, whole))

    def _plain_page(self, status: int, sentence: str) -> HttpReply:
        return self._page(
            str(status), Visitor(ANYBODY), el("p", sentence, class_="note"), status=status
        )

    ROUTES: tuple[tuple[str, str, Callable[..., HttpReply]], ...] = (
        ("GET", "/", _home),
        ("GET", "/live", _live),
        ("GET", "/box", _box),
        ("GET", "/jobs", _jobs),
        ("GET", "/report", _report),
        ("GET", r"/report\.csv", _report_csv),
        ("GET", f"/jobs/{JOB}", _job),
        ("GET", f"/jobs/{JOB}/log", _log),
        ("GET", f"/jobs/{JOB}/log/live", _log_live),
        ("GET", f"/jobs/{JOB}/{_words(acts.OF_JOBS)}", _ask_of_job),
        ("POST", f"/jobs/{JOB}/{_words(acts.OF_JOBS)}", _change_job),
        ("GET", f"/reservations/{RESERVATION}/{_words(acts.OF_RESERVATIONS)}", _ask_of_reservation),
        (
            "POST",
            f"/reservations/{RESERVATION}/{_words(acts.OF_RESERVATIONS)}",
            _change_reservation,
        ),
        ("GET", "/reserve", _reserve_form),
        ("POST", "/reserve", _reserve),
    )


def _see_that_they_are_named(visitor: Visitor) -> None:
    if not visitor.named:
        raise NoAnswer(
            403, visitor.note or "You can look, and change nothing: no proxy says who you are."
        )


def _static(name: str) -> bytes:
    return (files("mayfly.service.page") / name).read_bytes()


def _versioned(static: Mapping[str, bytes], name: str) -> str:
    """An address that changes with the file, which browsers keep."""
    return f"/static/{name}?{hashlib.sha256(static[name]).hexdigest()[:12]}"

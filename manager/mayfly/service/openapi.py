"""The control socket as an OpenAPI document, made from its table of routes.

What is said here of a key, an answer or a failure is for whoever writes a client; nothing is parsed by it. A
route whose query, body or answer is not described cannot be published: a test asks for the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from mayfly.core.attaching import PROTOCOL
from mayfly.core.model import Priority
from mayfly.core.usage_report import By, Per

Schema = dict[str, Any]


class Described(Protocol):
    """A route, as far as it is told to clients."""

    @property
    def method(self) -> str:
        """``GET`` or ``POST``."""

    @property
    def path(self) -> str:
        """With ``{names}``."""

    @property
    def query(self) -> tuple[str, ...]:
        """The names of its query."""

    @property
    def body(self) -> tuple[str, ...] | None:
        """The keys of its body; ``None``: it is a read, and takes none."""

    @property
    def pieces(self) -> bool:
        """Whether its body is bytes and no document."""

    @property
    def does(self) -> str:
        """What it is, in a few words."""


def _text(description: str, **more: object) -> Schema:
    return {"type": "string", "minLength": 1, "description": description, **more}


def _number(description: str, **more: object) -> Schema:
    return {"type": "integer", "minimum": 0, "description": description, **more}


def _switch(description: str) -> Schema:
    return {"type": "string", "enum": ["0", "1"], "default": "0", "description": description}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _document(schema: str, **properties: Schema) -> Schema:
    return _object(schema={"const": schema}, **properties)


ROWS: Schema = {"type": "array", "items": {"type": "object"}}
NAMES: Schema = {"type": "array", "items": {"type": "string"}}
TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
FLAG: Schema = {"type": "boolean"}
MOMENT = {"format": "date-time"}
COMMIT = "^([0-9a-f]{40}|[0-9a-f]{64})$"
DIGEST = "^[0-9a-f]{64}$"

# Of a path, by name.
NAMED: Mapping[str, Schema] = {
    "job": _text("a job, as `POST /v1/jobs` answered"),
    "reservation": _text("a reservation, as `POST /v1/reservations` answered"),
    "run": _text("a run, as `POST /v1/runs` answered"),
    "slot": _text("a slot, as `/v1/status` lists it"),
}

# Of a query: a name means the same on every path.
QUERY: Mapping[str, Schema] = {
    "after": _number("only what is numbered above this: a `rev` of the status, a `seq` of events"),
    "wait": {"type": "number", "minimum": 0, "description": "seconds to wait for it, 60 at most"},
    "limit": _number("at most so many; of jobs: of those that have ended"),
    "most": _number("at most so many rows, of those that have ended the last"),
    "mine": _switch("1: only the caller's own"),
    "pool": _text("only of this pool"),
    "state": _text("only those in this state"),
    "group": _text("only of this group"),
    "slot": _text("only of this slot"),
    "repository": _text("only of this repository, by its path as it was submitted"),
    "ref": _text("only of this ref, by its whole name"),
    "since": _text("only what ended from then on; of runs: what was submitted", **MOMENT),
    "outcome": _text("only what ended so"),
    "by": {
        "type": "string",
        "enum": [*By],
        "default": By.PERSON,
        "description": "what a row is of",
    },
    "per": {"type": "string", "enum": [*Per], "default": Per.WEEK, "description": "a period"},
    "until": _text("only of what came before", **MOMENT),
    "zone": {**_text("the time zone whose weeks and months they are, by name"), "default": "UTC"},
    "gpu": _text("only what had this GPU, by UUID"),
    "follow": _switch("1: go on until the agent has ended"),
    "format": {
        "type": "string",
        "enum": ["framed", "text"],
        "default": "framed",
        "description": "in frames, or the bytes of both streams as they come",
    },
    "agent": _text("whose output was read before"),
    "mark": _number("the mark of the last frame that was read"),
    "count": _number("how many frames in a row had that mark"),
    "previous": _switch("1: of the agent before this one"),
}

_SLOTS = {
    **_or_null({"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1000}),
    "description": "slots by name; null or left out: every slot",
}

# Of a body: a key means the same in every one.
BODY: Mapping[str, Schema] = {
    "argv": {
        "type": "array",
        "items": TEXT,
        "minItems": 1,
        "description": "the command and its arguments; beside a job, none is a shell",
    },
    "env": {
        "type": "object",
        "additionalProperties": TEXT,
        "description": "variables of the job; they are never shown again",
    },
    "pool": _or_null(_text("the queue; null: the only one there is")),
    "timeout": _or_null(
        {"type": "number", "exclusiveMinimum": 0, "description": "seconds; null: the pool's"}
    ),
    "name": _or_null(_text("what its owner calls it", maxLength=64)),
    "priority": {"enum": [*Priority, None], "description": "null: normal; high: operators alone"},
    "after": {
        **_or_null({"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1000}),
        "description": "jobs and groups that are to end well before it runs",
    },
    "retry_lost": _or_null(
        {
            "type": "integer",
            "minimum": 0,
            "maximum": 10,
            "description": "how often it is run again where it was lost",
        }
    ),
    "cuda": {
        "anyOf": [TEXT, {"type": "array", "items": TEXT}, {"type": "null"}],
        "description": 'CUDA versions, a job for each, in pools that have them; "all": each that there is',
    },
    "gpus": _or_null(
        {
            "type": "integer",
            "minimum": 0,
            "maximum": 64,
            "description": "in a pool whose slots have so many each",
        }
    ),
    "matrix": {
        **_or_null({"type": "object", "additionalProperties": {"type": "array", "items": TEXT}}),
        "description": "values by variable: a job for each combination",
    },
    "repository": _text("where what is run comes from", maxLength=1024),
    "ref": _or_null(_text("the ref, by its whole name; null: a folder", maxLength=256)),
    "commit": _or_null(_text("its whole id; null: a folder", pattern=COMMIT)),
    "base": _or_null(
        _text("the commit that it was compared with; null: every job was asked for", pattern=COMMIT)
    ),
    "subject": _or_null(_text("the commit's first line", maxLength=200)),
    "tasks": {
        "type": "array",
        "minItems": 1,
        "maxItems": 1000,
        "items": {
            "type": "object",
            "required": ["argv"],
            "additionalProperties": False,
            "properties": {
                "argv": {"type": "array", "items": TEXT, "minItems": 1},
                "env": {"type": "object", "additionalProperties": TEXT},
                "pool": TEXT_OR_NULL,
                "timeout": {"type": ["number", "null"], "exclusiveMinimum": 0},
                "name": TEXT_OR_NULL,
                "cuda": TEXT_OR_NULL,
                "after": {"type": ["array", "null"], "items": {"type": "integer", "minimum": 0}},
                "out": {"type": ["array", "null"], "items": TEXT, "minItems": 1},
                "image": TEXT_OR_NULL,
            },
        },
        "description": "its jobs; after: places in this list, from 0, of those that are to end well before",
    },
    "workspace": _or_null(
        _text("the tree that it starts in, as `POST /v1/workspaces` answered", pattern=DIGEST)
    ),
    "stdin": _or_null(_text("digest of its standard input, which was sent", pattern=DIGEST)),
    "out": {
        **_or_null({"type": "array", "items": TEXT, "minItems": 1, "maxItems": 16}),
        "description": "paths that are brought back: from where it starts, or absolute",
    },
    "image": _or_null(
        _text(
            "what it runs in, its agent or a container, where its pool allows that; null: the pool's own",
            maxLength=255,
        )
    ),
    "hold": {**FLAG, "description": "hold its container when it has ended"},
    "hold_for": _or_null(
        {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "seconds; null: as its pool has it",
        }
    ),
    "seconds": _or_null(
        {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "for how long from the job's end, null: as its pool has it; or how much longer",
        }
    ),
    "manifest": _text("digest of the tree's list, whose content was sent", pattern=DIGEST),
    "digests": {
        "type": "array",
        "items": {"type": "string", "pattern": DIGEST},
        "maxItems": 10_000,
        "description": "SHA-256 of contents, in hexadecimal",
    },
    "jobs": {
        "type": "array",
        "items": TEXT,
        "minItems": 1,
        "maxItems": 1000,
        "description": "jobs and groups",
    },
    "rows": _or_null(_number("of the client's terminal; null: it has none")),
    "columns": _or_null(_number("of the client's terminal")),
    "term": _or_null(_text("the terminal's type", maxLength=64)),
    "slots": _SLOTS,
    "until": _or_null(_text("when the cordon ends by itself", **MOMENT)),
    "note": _or_null(_text("why, for whoever looks", maxLength=500)),
    "force": {**FLAG, "description": "end running jobs too"},
    "gpu": _or_null(_text("by UUID; null: the only one that a reset may mend")),
    "for": {"type": "number", "exclusiveMinimum": 0, "description": "seconds"},
    "at": _or_null(_text("from when on; null: at once", **MOMENT)),
    "outside": {**FLAG, "description": "the GPUs alone, and no shell in an agent"},
    "dry_run": {**FLAG, "description": "say what would change and change nothing"},
}
REQUIRED = frozenset({"for", "argv", "jobs", "repository", "tasks", "manifest", "digests"})

CHANGED = _object(slots=NAMES)
OF_HOLD = _object(job=TEXT_OR_NULL, slot=TEXT_OR_NULL)
HELD = _object(
    job=TEXT_OR_NULL,
    slot=TEXT_OR_NULL,
    user=TEXT,
    until=TEXT_OR_NULL,
    seconds={"type": "number"},
)
OUTPUT = {
    "application/vnd.mayfly.output": {"schema": {"type": "string", "format": "binary"}},
    "text/plain": {"schema": TEXT},
}

RECORDS: Mapping[str, Schema] = {
    "application/octet-stream": {
        "schema": {
            "type": "string",
            "format": "binary",
            "description": "for each content its length, 8 bytes in network order, and its bytes",
        }
    }
}

# What each route answers where all is well: JSON of this shape, or these types of content.
ANSWERS: Mapping[str, Schema] = {
    "GET /v1/version": _object(version=TEXT, api={"type": "integer"}),
    "GET /v1/openapi.json": _object(
        openapi=TEXT, info={"type": "object"}, paths={"type": "object"}
    ),
    "GET /v1/status": _document(
        "mayfly.status/1",
        rev={"type": "integer"},
        host=TEXT,
        headline=TEXT,
        paused=FLAG,
        slots=ROWS,
        health=ROWS,
    ),
    "GET /v1/jobs": _document("mayfly.jobs/1", left_out={"type": "integer"}, jobs=ROWS),
    "GET /v1/jobs/{job}": _document("mayfly.job/1", job=TEXT, pool=TEXT, state=TEXT),
    "GET /v1/reservations": _document("mayfly.reservations/1", reservations=ROWS, pools=NAMES),
    "POST /v1/reservations": _object(
        reservation=TEXT, pool=TEXT, start=TEXT, until=TEXT, shell=FLAG
    ),
    "POST /v1/reservations/{reservation}/extend": _object(reservation=TEXT, until=TEXT),
    "POST /v1/reservations/{reservation}/release": _object(reservation=TEXT),
    "GET /v1/runs": _document("mayfly.runs/1", runs=ROWS),
    "GET /v1/runs/{run}": _document("mayfly.run/1", run=TEXT, state=TEXT, jobs={"type": "object"}),
    "GET /v1/events": _document("mayfly.events/1", events=ROWS),
    "GET /v1/history": _document("mayfly.history/1", agents=ROWS),
    "GET /v1/report": _document(
        "mayfly.report/1",
        by=TEXT,
        per=TEXT,
        zone=TEXT,
        since=TEXT,
        until=TEXT,
        rows=ROWS,
        totals=ROWS,
        host={"type": ["object", "null"]},
    ),
    "GET /v1/idle": _document("mayfly.idle/1", configured=FLAG),
    "GET /v1/gpus": _document("mayfly.gpus/1", gpus=ROWS, slots=ROWS, problem=TEXT_OR_NULL),
    "GET /v1/top": _document("mayfly.top/1", at=TEXT, rows=ROWS),
    "GET /v1/recording": _document("mayfly.recording/1", state={"type": "object"}, steps=ROWS),
    "GET /v1/plan": _document("mayfly.plan/1", actions=ROWS),
    "POST /v1/content/lacking": _object(lacking=NAMES, most={"type": "integer"}),
    "POST /v1/content": _object(digests=NAMES),
    "POST /v1/workspaces": _object(
        workspace=TEXT, files={"type": "integer"}, bytes={"type": "integer"}
    ),
    "POST /v1/jobs/estimate": _document(
        "mayfly.estimate/1",
        jobs={"type": "integer"},
        pools=NAMES,
        starts_in={"type": ["number", "null"]},
        why=TEXT,
        ahead={"type": "integer"},
        slots={"type": "integer"},
        busy={"type": "integer"},
    ),
    "POST /v1/jobs": _object(job=TEXT, group=TEXT_OR_NULL, jobs=NAMES),
    "POST /v1/runs": _object(run=TEXT, jobs=NAMES),
    "POST /v1/jobs/{job}/cancel": _object(job=TEXT, jobs=NAMES, ended=NAMES),
    **{
        f"POST /v1/{whose}/{verb}": answer
        for whose in ("jobs/{job}", "slots/{slot}")
        for verb, answer in (("hold", HELD), ("extend", HELD), ("release", OF_HOLD))
    },
    "POST /v1/cancel": _object(job=TEXT, jobs=NAMES, ended=NAMES),
    "POST /v1/cordon": CHANGED,
    "POST /v1/uncordon": CHANGED,
    "POST /v1/drain": CHANGED,
    "POST /v1/pause": _object(paused=FLAG),
    "POST /v1/resume": _object(paused=FLAG),
    "POST /v1/recycle": CHANGED,
    "POST /v1/retry": CHANGED,
    "POST /v1/gpus/heal": _document(
        "mayfly.heal/1",
        gpu=TEXT,
        together=NAMES,
        mig=NAMES,
        reason=TEXT,
        stops=NAMES,
        refusals=NAMES,
    ),
    "POST /v1/reload": _object(dry_run=FLAG, added=NAMES, removed=NAMES),
}
# something new, and say so by their status
MAKE = frozenset({"POST /v1/jobs", "POST /v1/runs", "POST /v1/reservations"})
CONTENTS: Mapping[str, Mapping[str, Schema]] = {
    "GET /v1/jobs/{job}/output": OUTPUT,
    "GET /v1/slots/{slot}/output": OUTPUT,
    "GET /v1/jobs/{job}/results": {
        "application/x-tar": {"schema": {"type": "string", "format": "binary"}}
    },
    "GET /v1/metrics": {"text/plain; version=0.0.4; charset=utf-8": {"schema": TEXT}},
}

# Those whose connection goes on with another protocol.
UPGRADED = frozenset({"POST /v1/jobs/{job}/attach", "POST /v1/slots/{slot}/attach"})

# The kinds of failure, by status.
FAILURES: Mapping[int, tuple[str, ...]] = {
    400: ("bad_request", "which_pool"),
    403: ("forbidden",),
    404: (
        "no_such_path",
        "no_such_gpu",
        "no_results",
        "no_such_slot",
        "no_such_job",
        "no_such_pool",
        "no_such_run",
        "no_such_reservation",
    ),
    405: ("method",),
    409: ("ended", "no_queue", "refused", "lacking", "no_such_workspace"),
    411: ("bad_request",),
    413: ("bad_request", "too_much"),
    426: ("upgrade",),
    429: ("queue_full", "too_often"),
    431: ("bad_request",),
    500: ("bug",),
    503: ("starting", "busy", "unavailable", "no_disk"),
    504: ("timeout",),
}
OF_READS = (400, 403, 404, 409, 431, 500, 503)
OF_COMMANDS = (400, 403, 404, 409, 411, 413, 429, 431, 500, 503, 504)


def document(routes: Iterable[Described]) -> dict[str, object]:
    """The document of those routes."""
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mayfly's control socket",
            "version": "1",
            "description": "HTTP over the unix socket /run/mayfly/control.sock; the kernel says who asks.",
        },
        "servers": [{"url": "http://mayfly", "description": "any host name, over the socket"}],
        "paths": paths,
        "components": {"responses": {str(status): _failure(status) for status in FAILURES}},
    }


def _operation(route: Described) -> dict[str, object]:
    statuses = OF_READS if route.body is None else OF_COMMANDS
    if _name(route) in UPGRADED:
        statuses = (*statuses, 426)
    operation: dict[str, object] = {
        "operationId": _identity(route),
        "summary": route.does,
        "parameters": [*_names(route.path), *_query(route.query)],
        "responses": {
            **_success(route),
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses},
        },
    }
    if route.pieces:
        operation["requestBody"] = {"required": True, "content": RECORDS}
    elif route.body:
        operation["requestBody"] = {
            "required": bool(_required(route)),
            "content": {"application/json": {"schema": _body(route)}},
        }
    return operation


def _identity(route: Described) -> str:
    words = re.findall("[a-z]+", route.path.removeprefix("/v1"))
    return "_".join([route.method.lower(), *words])


def _names(path: str) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": NAMED[name]}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _query(names: Iterable[str]) -> list[Schema]:
    return [{"name": name, "in": "query", "schema": QUERY[name]} for name in names]


def _body(route: Described) -> Schema:
    found: Schema = {
        "type": "object",
        "properties": {key: BODY[key] for key in route.body or ()},
        "additionalProperties": False,
    }
    if required := _required(route):
        found["required"] = required
    return found


def _required(route: Described) -> list[str]:
    """Of its body's keys; where a command runs beside a job, a shell does without one."""
    if _name(route) in UPGRADED:
        return []
    return [key for key in route.body or () if key in REQUIRED]


def _name(route: Described) -> str:
    return f"{route.method} {route.path}"


def _success(route: Described) -> dict[str, object]:
    name = _name(route)
    if name in UPGRADED:
        return {"101": {"description": f"{route.does}: {PROTOCOL} from here on"}}
    if name in CONTENTS:
        found: dict[str, object] = {
            "200": {"description": route.does, "content": CONTENTS[name]},
        }
        if CONTENTS[name] is OUTPUT:
            found["204"] = {"description": "no agent has had it yet"}
        if name.endswith("/results"):
            found["204"] = {"description": "they are not there yet: wait, or ask again"}
        return found
    status = "201" if name in MAKE else "200"
    content = {"application/json": {"schema": ANSWERS[name]}}
    return {status: {"description": route.does, "content": content}}


def _failure(status: int) -> Schema:
    shape = _object(error=_text("one sentence, for people"), kind={"enum": list(FAILURES[status])})
    return {
        "description": ", ".join(FAILURES[status]),
        "content": {"application/json": {"schema": shape}},
    }

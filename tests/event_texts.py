"""Every event with its fields and one example, for the reference page: out of the code that writes them.

A fact's fields are what the history gives back of one that was written into it, so that what the page shows
is what a program reads; each field's words are those beside it in `core/facts.py`, or of the table here. An
event of the log alone is read from the call that logs it.
"""

from __future__ import annotations

import ast
import json
import re
import tempfile
import types
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mayfly.core.apply import apply
from mayfly.core.commands import Payload
from mayfly.core.events import EVENTS
from mayfly.core.facts import AgentCreated, Fact, JobSubmitted, event_name
from mayfly.core.memory import Agent
from mayfly.core.model import Phase
from mayfly.edge.history import History
from mayfly.edge.history_reader import HistoryReader
from mayfly.edge.log import QUIET
from mayfly.service.control import _stamped

MANAGER = Path(__file__).parents[1] / "manager/mayfly"
T = 1_790_000_000.0
COMMON = ("seq", "at", "event", "formerly", "slot", "agent", "job")
# Of each name the value that an example has.
SPECIMENS: Mapping[str, object] = {
    "generation": "mzpc1q8v0a7k2",
    "slot": "gpu-0",
    "pool": "gpu",
    "job": "tovga8bsd",
    "id": "tovga8bsd",
    "reservation": "tovga8bsd",
    "container": "4f0e…",
    "by": "ann",
    "owner": "ann",
    "user": "ann",
    "uid": 1000,
    "image": "mayfly/local:cuda12.8",
    "fingerprint": "5d41402abc4b",
    "run_id": "mzpc1q0000000",
    "reason": "its image is new",
    "note": "new fan",
    "gpu": "GPU-5e6f…",
    "name": "train",
    "url": "https://forge.example/lab/runs/7",
    "outcome": "job_done",
    "driver": "580.65.06",
    "detail": "the sentence that says more",
    "repository": "/srv/git/lab.git",
    "waiting": "4711",
    "how": "suspended",
    "mark": "k3",
}
# What a field is, where the code has no words beside it.
WORDS: Mapping[str, str] = {
    "away": "for how many seconds",
    "began": "how each GPU was then",
    "by": "who asked; not there: Mayfly itself",
    "bytes": "bytes of them",
    "cause": "why it did not end well: one of `mayfly help exit-codes` and `docs/reference/exit-codes.md`",
    "clean": "the service has let go of it by itself",
    "clock": "MHz",
    "confirmed": "`idle` or `busy`",
    "container": "the container's id",
    "cordon": "`since`, `by`, `note`, `until` (not there: until somebody lifts it), `drain`",
    "cordoned": "whether its service gives it no new job",
    "detail": "a sentence that says more; empty: there is none",
    "devices": "UUIDs of its GPUs",
    "excess": "of what it does too much",
    "exit_code": "its exit code; not there: not known",
    "failures": "young deaths in a row",
    "files": "how many files were kept",
    "fingerprint": "what the refused agent was made from",
    "gpu": "UUID of the GPU",
    "gpus": "its GPUs: UUIDs, how many, or how each was used, by the event",
    "hold": "what ends that: `person`, or what is waited for",
    "image": "the image by name",
    "jobs": "how many jobs it has",
    "lease": "UUIDs of its GPUs",
    "left_out": "how many paths were left out",
    "memory_clock": "MHz; not there: left alone",
    "mig": "MIG devices that are made again",
    "minutes": "before its end",
    "name": "its name at the service",
    "oom_kills": "processes that the kernel killed for memory",
    "outcome": "`job_done`, `no_job`, `image_too_old`, `refused`, `died_young` or `unknown`",
    "pause": "`since`, `by` and `note`",
    "phase": "`idle` or `busy`",
    "pool": "the pool's name",
    "reason": "why, in a sentence or a word",
    "refused": "how often its gateway refused something; not there: never",
    "registered": "its name at the service",
    "registration": "the service's id of it",
    "reservation": "the reservation's id",
    "retry_at": "when it is tried again",
    "run": "the run's id",
    "run_id": "the run of the manager that did it",
    "seen": "how each GPU fared",
    "shell": "whether it is entered by `mayfly attach`",
    "since": "since when",
    "slots": "the slots",
    "start": "when it is to begin",
    "state": "`succeeded`, `failed`, `cancelled` or `lost`",
    "step": "which step, from 1",
    "timeout": "its limit in seconds; not there: the pool's",
    "trials": "agents that were refused in a row",
    "until": "until when",
    "url": "where a person sees it",
    "waiting": "what the service knows it by",
    "refusal": "why it was not cancelled; not there: it is",
    "seconds": "for how many seconds",
    "used": "what an account counts for with that",
    "slot": "the slot",
    "generation": "the agent",
    "agent": "the agent",
    "message": "a sentence",
    "user": "for whom; empty: for operators",
    "uid": "their user id; not there: operators alone",
    "how": "`suspended`, `restarted` or `stopped`",
    "mark": "of what is started there",
}
# When an event is logged that is no fact.
WHEN: Mapping[str, str] = {
    "action.failed": "what was to be done to a slot or an agent failed; it is tried again",
    "agent.unbegun": "its service says busy, and no job has begun in it",
    "config.loaded": "a configuration was read and is in force",
    "config.old_key": "it has a key of an earlier version; the sentence has the new line",
    "config.rejected": "it has a mistake; the one before stays in force",
    "daemon.started": "the manager has begun",
    "daemon.stopping": "the manager ends; no agent does",
    "gpu.leftover": "a process that a job left on a GPU was to be ended; `ended` says whether it was",
    "notice.delayed": "a target takes no message; it is tried again",
    "notice.dropped": "a message is given up",
    "notice.refused": "some of a mail's boxes refuse it; those that took it are not told again",
    "disk.back": "the disk takes facts again",
    "disk.lost": "the disk took no facts; no gate opens before it does",
    "slurm.back": "Slurm's controller answers again",
    "slurm.lost": "Slurm's controller does not answer",
    "engine.back": "the Engine answers again",
    "engine.lost": "the Engine does not answer; nothing is done to containers before it does",
    "engine.restarted": "the Engine or its host was started again",
    "engine.stream_ended": "the Engine's events ended; it is looked at and followed anew",
    "history.prune_failed": "what is old could not be forgotten",
    "image.kept": "an image that jobs have fetched could not be removed",
    "image.removed": "an image that jobs have fetched is removed",
    "host.left_running": "a job of another Mayfly, which was taken over, runs to its end",
    "host.taken_over": "the Engine of another Mayfly is taken over (`--take-over`)",
    "loop.failed": "a bug, with its trace",
    "loop.starved": "a thread could not be had",
    "metrics.refused": "the address of the metrics cannot be listened on",
    "page.header_ignored": "a request named a user and did not come from a proxy that may",
    "page.refused": "the page's address cannot be listened on",
    "network.kept": "a network of Mayfly's could not be removed when it stopped",
    "pass.ended": "the one sentence that says what the pool is doing has changed",
    "dispatch.back": "a service that hands out jobs answers again",
    "dispatch.failed": "a service that hands out jobs does not answer",
    "dispatch.fallback": "a service cannot hand jobs out; each slot's agent is enrolled instead",
    "provider.back": "a service answers again",
    "provider.refused": "a service refuses the pool's credentials, or what is asked of it",
    "step.unfinished": "a step made facts without end, which is a bug",
    "door.unclosed": "an agent's door to its gateway could not be closed",
    "witness.unreadable": "the host cannot read what an agent's launcher has recorded",
}

# Fields that a call hands on without naming them.
OTHERS: Mapping[str, set[str]] = {"action.failed": {"action", "reason", "slot"}}


@cache
def facts() -> tuple[Any, ...]:
    """Every kind of fact, in the order of the table of events."""
    kinds = {event_name(kind.__new__(kind)): kind for kind in _kinds(Fact)}
    return tuple(kinds[name] for name in EVENTS if name in kinds)


def _kinds(of: object) -> Iterator[Any]:
    for one in get_args(of):
        yield from (_kinds(one) if get_args(one) else [one])


def shown() -> Mapping[str, Mapping[str, Any]]:
    """Of each fact what a program reads of it, by its event's name."""
    found: dict[str, Mapping[str, Any]] = {}
    for kind in facts():
        fact = specimen(kind)
        before: list[Any] = [AgentCreated(T, specimen(Agent), "")]
        payload = {fact.job.id: Payload(("true",), {})} if isinstance(fact, JobSubmitted) else {}
        with tempfile.TemporaryDirectory() as place:
            with closing(History(Path(place))) as history:
                memory = apply(history.load(), before)
                history.commit(before, memory)
                history.commit([fact], apply(memory, [fact]), payload)
            with closing(HistoryReader(Path(place))) as reader:
                (row,) = map(_stamped, reader.events(last=True, limit=1))
        found[str(row["event"])] = row
    return found


def specimen(kind: Any, name: str = "") -> Any:
    """A value of that type, with everything there that may be."""
    origin = get_origin(kind)
    if name == "at":
        return T
    plain = getattr(kind, "__supertype__", kind)
    if plain in (str, int, float):
        value = SPECIMENS.get(name)
        return value if type(value) is plain else _plain(plain)
    if origin in (Union, types.UnionType):
        return specimen(next(one for one in get_args(kind) if one is not type(None)), name)
    if origin is tuple:
        one = get_args(kind)[0]
        return (specimen(one, {"gpus": "gpu", "slots": "slot", "lease": "gpu"}.get(name, name)),)
    if origin is Literal:
        return get_args(kind)[0]
    if origin in (dict, Mapping) or (origin is not None and issubclass(origin, Mapping)):
        return {}
    if kind is bool:
        return True
    if kind is Phase:
        return Phase.IDLE
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        make: Any = kind
        return make(**{one.name: specimen(hints[one.name], one.name) for one in fields(kind)})
    raise AssertionError(f"no specimen of {kind}")


def _plain(kind: type) -> object:
    return {str: "…", int: 1, float: 60.0, bool: True}[kind]


@cache
def _beside() -> Mapping[tuple[str, str], str]:
    """The words beside a field, by its class and its name."""
    found: dict[tuple[str, str], str] = {}
    kind = above = ""
    for line in (MANAGER / "core/facts.py").read_text().splitlines():
        if named := re.match(r"class (\w+)", line):
            kind = named[1]
        told = re.fullmatch(r"    (\w+): [^#]*?(?:  # (.+))?", line)
        if told is not None and (words := told[2] or above):
            found[kind, told[1]] = words
        alone = re.fullmatch(r"    # (.+)", line)
        above = alone[1] if alone is not None else ""
    return found


def described(kind: Any, field: str) -> str:
    """What the field is."""
    words = _beside().get((kind.__name__, field)) or WORDS.get(field) or ""
    if words.startswith("None: ") and field in WORDS:  # which says that alone
        words = f"{WORDS[field].partition(';')[0]}; {words}"
    return words.replace("None: ", "not there: ").replace('"": ', "empty: ")


@cache
def logged() -> Mapping[str, tuple[str, ...]]:
    """The fields of each event of the log alone, by the calls that log it."""
    found: dict[str, set[str]] = {}
    for file in MANAGER.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            name = call.args[0]
            ends = ("log.event", "self._note", "Note")
            if not isinstance(name, ast.Constant) or not ast.unparse(call.func).endswith(ends):
                continue
            if name.value in EVENTS:
                own = found.setdefault(str(name.value), set())
                own.update(one.arg for one in call.keywords if one.arg is not None)
                for one in call.args[1:]:
                    if isinstance(one, ast.Dict):
                        own.update(
                            str(key.value) for key in one.keys if isinstance(key, ast.Constant)
                        )
                    elif ast.unparse(call.func).endswith("log.event"):
                        own.add("message")
    return {name: tuple(sorted(own | OTHERS.get(name, set()))) for name, own in found.items()}


def of_facts() -> Iterator[str]:
    """The part of the page on facts."""
    rows = shown()
    for kind in facts():
        name = event_name(kind.__new__(kind))
        does = " ".join((kind.__doc__ or "").split()).removeprefix(f"{name}:").strip(". ")
        does = does.removeprefix(name).strip() or "the manager acts again"
        row = rows[name]
        marks = f"level `{EVENTS[name]}`" + (", not in the log" if name in QUIET else "")
        yield f"### `{name}`"
        yield ""
        yield f"{does[0].upper()}{does[1:].replace('``', '`')}. ({marks})"
        yield ""
        own = [field for field in row if field not in COMMON]
        if own:
            yield "| field | is |"
            yield "|---|---|"
            for field in own:
                yield f"| `{field}` | {described(kind, field)} |"
            yield ""
        told = {key: value for key, value in row.items() if value is not None}
        yield "```json"
        yield json.dumps(told, ensure_ascii=False)
        yield "```"
        yield ""


def of_the_log() -> Iterator[str]:
    """The part of the page on what is in the log alone."""
    yield "| event | level | when | fields |"
    yield "|---|---|---|---|"
    for name, severity in EVENTS.items():
        if name in WHEN or name in logged():
            own = " ".join(f"`{field}`" for field in logged().get(name, ()))
            yield f"| `{name}` | {severity} | {WHEN.get(name, '')} | {own} |"

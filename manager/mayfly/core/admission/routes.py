"""A path of the Engine's API: what may be said in it, and the rule that decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mayfly.core.admission.ask import Ask, Rule
from mayfly.core.admission.keys import Key
from mayfly.core.admission.objects import Kind, Ref
from mayfly.core.admission.outcome import Answer, Forward, Outcome, Refuse, Refused, Streams
from mayfly.core.admission.request import Request, quoted, shown, target


class Expects(StrEnum):
    """What the gateway does with a request's body."""

    NOTHING = "nothing"  # it is read, as far as `Bounds.body`, and thrown away
    JSON = "json"  # it is read, as far as that, and handed to `request.with_body`
    UPLOAD = "upload"  # it is left to stream


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a query; an empty value is one that is not there."""

    name: str
    form: re.Pattern[str]
    does: str = "as it is"
    kept: bool = True  # whether it goes out where nothing else is done with it


def ignored(name: str) -> Parameter:
    """What some client says, and the Engine does not read."""
    return Parameter(name, re.compile(r".{1,4096}", re.DOTALL), "not passed on", kept=False)


def number(name: str, does: str = "as it is") -> Parameter:
    return Parameter(name, re.compile(r"-?[0-9]{1,18}", re.ASCII), does)


def switch(name: str, does: str = "as it is") -> Parameter:
    return Parameter(
        name, re.compile(r"0|1|true|false|True|False|TRUE|FALSE|t|f|T|F", re.ASCII), does
    )


def word(name: str, does: str = "as it is", form: str = r"[A-Za-z0-9_.,:/+-]{1,255}") -> Parameter:
    return Parameter(name, re.compile(form, re.ASCII), does)


def anything(name: str, does: str = "as it is") -> Parameter:
    """What a rule of its own reads."""
    return Parameter(name, re.compile(r".{1,32768}", re.DOTALL), does)


def when(name: str) -> Parameter:
    """A moment, in seconds or written out, or how long ago."""
    return word(name, form=r"[0-9A-Za-z:+.-]{1,64}")


def no_names(_request: Request, named: Mapping[str, str]) -> tuple[Ref, ...]:
    """What the path names."""
    return tuple(Ref(Kind(kind), name) for kind, name in named.items() if kind in set(Kind))


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` has parts in braces, each named for the kind that it is of; an image's may have slashes."""

    method: str
    path: str
    does: str  # for the reference: what becomes of it
    rule: Rule
    query: tuple[Parameter, ...] = ()
    expects: Expects = Expects.NOTHING
    upgrades: bool = False  # whether the connection becomes the process's
    names: Callable[[Request, Mapping[str, str]], Iterable[Ref]] = no_names
    keys: tuple[Key, ...] = ()  # of its body, for the reference

    def match(self, path: str) -> dict[str, str] | None:
        """The parts of the path; ``None``: it is another."""
        read = _pattern(self.path).fullmatch(path)
        return read.groupdict() if read else None


_PATTERNS: dict[str, re.Pattern[str]] = {}


def _pattern(path: str) -> re.Pattern[str]:
    if path not in _PATTERNS:
        told = re.sub(r"\\\{image\\\}", "(?P<image>.+)", re.escape(path))
        _PATTERNS[path] = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", told))
    return _PATTERNS[path]


def asked(ask: Ask, parameters: tuple[Parameter, ...]) -> dict[str, str]:
    """The query as it goes out: what is known and not empty; `Refused` names what is not known."""
    known = {one.name: one for one in parameters}
    found = {}
    for name, value in ask.request.query.items():
        if not value:
            continue
        if name not in known:
            raise Refused(f"parameter {shown(name)} is not known to this socket: leave it out")
        if not known[name].form.fullmatch(value):
            raise Refused(f"parameter {name} cannot be {shown(value)}", 400)
        if known[name].kept:
            found[name] = value
    return found


def out(
    ask: Ask,
    path: str,
    query: Mapping[str, str] | None = None,
    *,
    version: str | None = None,
    body: Mapping[str, Any] | None = None,
    streams: Streams = Streams.NONE,
    answer: Answer = Answer.PLAIN,
    headers: Mapping[str, str] | None = None,
) -> Forward:
    """The request to the Engine, in the client's release of the API where none is said."""
    return Forward(
        ask.request.method,
        target(version or ask.request.version, path, query),
        headers or {},
        body,
        streams=streams,
        answer=answer,
    )


def hijacked(ask: Ask) -> dict[str, str]:
    """The headers of a connection that becomes a process's, as the client asked for it."""
    asks = ask.request.headers.get("upgrade")
    return {"Connection": "Upgrade", "Upgrade": "tcp"} if asks else {}


def on_container(
    method: str,
    path: str,
    does: str,
    *query: Parameter,
    streams: Streams = Streams.NONE,
    answer: Answer = Answer.PLAIN,
    upgrades: bool = False,
) -> Route:
    """A path below a container of the job's whose query goes out as it came in."""

    def rule(ask: Ask) -> Outcome:
        said = asked(ask, query)
        rest = path.removeprefix("/containers/{container}")
        return out(
            ask,
            f"/containers/{quoted(ask.container().id)}{rest}",
            said,
            streams=streams,
            answer=answer,
            headers=hijacked(ask) if upgrades else {},
        )

    return Route(method, path, does, rule, query, upgrades=upgrades)


def refused(method: str, path: str, why: str) -> Route:
    """A path that is known, and not had."""
    return Route(method, path, f"refused: {why}", lambda _ask: Refuse(403, why))

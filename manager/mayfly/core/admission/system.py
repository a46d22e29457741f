"""What the Engine says of itself, and what of it is no business of a job's."""

from __future__ import annotations

from collections.abc import Mapping

from mayfly.core.admission.ask import Ask
from mayfly.core.admission.filters import event_filters, named_in_filters
from mayfly.core.admission.objects import Ref
from mayfly.core.admission.outcome import Answer, Outcome, Streams
from mayfly.core.admission.request import Request
from mayfly.core.admission.routes import Route, anything, asked, out, refused, when


def _events(ask: Ask) -> Outcome:
    said = asked(ask, _EVENTS) | {"filters": event_filters(ask)}
    return out(ask, "/events", said, streams=Streams.LINES, answer=Answer.EVENT)


def _names_in_filters(request: Request, _named: Mapping[str, str]) -> tuple[Ref, ...]:
    return named_in_filters(request)


def _plain(method: str, path: str, does: str, answer: Answer = Answer.PLAIN) -> Route:
    def rule(ask: Ask) -> Outcome:
        asked(ask, ())
        return out(ask, path, answer=answer)

    return Route(method, path, does, rule)


_EVENTS = (when("since"), when("until"), anything("filters", "with the agent's own prefix"))
_SWARM = "an agent's Engine is in no swarm"
_PLUGINS = "plugins are the host's"
ROUTES = (
    _plain("GET", "/_ping", "as it is"),
    _plain("HEAD", "/_ping", "as it is"),
    _plain("GET", "/version", "as it is", Answer.VERSION),
    _plain("GET", "/info", "a short one: releases, and what the agent may take", Answer.INFO),
    Route(
        "GET",
        "/events",
        "the job's own alone",
        _events,
        _EVENTS,
        names=_names_in_filters,
    ),
    refused(
        "GET", "/system/df", "the disk is the host's: docker ps --size shows the job's containers"
    ),
    *(
        refused(method, path, _SWARM)
        for method, path in (
            *(("GET", "/swarm"), ("POST", "/swarm/init"), ("POST", "/swarm/join")),
            *(("POST", "/swarm/leave"), ("POST", "/swarm/update"), ("POST", "/swarm/unlock")),
            *(
                ("GET", "/swarm/unlockkey"),
                ("GET", "/nodes"),
                ("GET", "/services"),
                ("GET", "/tasks"),
            ),
            *(("POST", "/services/create"), ("GET", "/secrets"), ("POST", "/secrets/create")),
            *(("GET", "/configs"), ("POST", "/configs/create")),
        )
    ),
    refused("GET", "/plugins", _PLUGINS),
    refused("GET", "/plugins/privileges", _PLUGINS),
    refused("POST", "/plugins/pull", _PLUGINS),
    refused("POST", "/plugins/create", _PLUGINS),
)
# What begins so is refused as a whole.
FAMILIES: Mapping[str, str] = {
    "/swarm/": _SWARM,
    "/nodes/": _SWARM,
    "/services/": _SWARM,
    "/tasks/": _SWARM,
    "/secrets/": _SWARM,
    "/configs/": _SWARM,
    "/plugins/": _PLUGINS,
}

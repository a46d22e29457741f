"""The decision about one request: what goes to the Engine for it, or why nothing does.

Nothing here is by default: a path that no table has is refused by name, and a rule that finds what it does
not know refuses, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from mayfly.core.admission import containers, images, networks, system, volumes
from mayfly.core.admission.ask import Ask
from mayfly.core.admission.grant import Grant
from mayfly.core.admission.objects import Known, Ref
from mayfly.core.admission.outcome import Outcome, Refuse, Refused
from mayfly.core.admission.request import Request, shown
from mayfly.core.admission.routes import Expects, Route

NAMED_MOST = 256  # things: each is a question to the Engine before anything is decided
# The first that fits: what is one path comes before what may be any name.
ROUTES: tuple[Route, ...] = (
    *system.ROUTES,
    *containers.ROUTES,
    *networks.ROUTES,
    *volumes.ROUTES,
    *images.ROUTES,
)


def expects(request: Request) -> Expects:
    """What is to be done with the body of such a request."""
    found = _route(request)
    return found[0].expects if found else Expects.NOTHING


def objects(request: Request) -> tuple[Ref, ...]:
    """The things that have to be looked up before it can be decided on; none where they are too many."""
    found = _route(request)
    if found is None:
        return ()
    named = _named(*found, request)
    return () if len(named) > NAMED_MOST else tuple(dict.fromkeys(named))


def _named(route: Route, named: Mapping[str, str], request: Request) -> tuple[Ref, ...]:
    return tuple(islice(route.names(request, named), NAMED_MOST + 1))


def admit(request: Request, grant: Grant, known: Mapping[Ref, Known]) -> Outcome:
    """What becomes of the request; ``known`` has those of its objects that the Engine has."""
    found = _route(request)
    if found is None:
        return _unknown(request)
    route, named = found
    if len(_named(route, named, request)) > NAMED_MOST:
        return Refuse(400, f"a request that names more than {NAMED_MOST} things is refused")
    try:
        outcome = route.rule(Ask(request, grant, known, named))
    except Refused as refused:
        return refused.refuse
    upgrade = request.headers.get("upgrade", "").lower()
    if upgrade and (upgrade != "tcp" or not route.upgrades) and not isinstance(outcome, Refuse):
        return Refuse(400, f"a connection is not changed to {shown(upgrade)} by this request")
    return outcome


def _route(request: Request) -> tuple[Route, dict[str, str]] | None:
    for route in ROUTES:
        if route.method == request.method:
            named = route.match(request.path)
            if named is not None:
                return route, named
    return None


def _unknown(request: Request) -> Refuse:
    for family, why in system.FAMILIES.items():
        if request.path.startswith(family):
            return Refuse(403, why)
    if any(route.match(request.path) is not None for route in ROUTES):
        return Refuse(405, f"{request.method} is no method of {shown(request.path)}")
    return Refuse(404, f"{shown(request.path)} is not known to this socket")

"""What a token reaches at a Gitea: its organisations, its owner's repositories, all of theirs, the instance.

Each list wants a scope of its own (`read:organization` with `read:user`, `read:repository`, `read:admin`);
one that the token may not see is left out, and a place can be typed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from mayfly.core.model import Severity
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import items, mapping, text
from mayfly.edge.web import clean
from mayfly.providers.gitea import check
from mayfly.providers.gitea.service import GiteaApi
from mayfly.providers.gitea.settings import GiteaSettings
from mayfly.providers.setting_up import OFFERED, Access, Offer, Survey


def survey(access: Access) -> Survey:
    """Where runners may belong; ``Refused`` where the token is not taken, or Gitea is too old."""
    scope, path = access.keys.get("scope"), urlsplit(access.url).path.strip("/")
    settings = GiteaSettings(access.url, access.secret, scope or "user")
    service = GiteaApi(access.pool, settings, time.time)
    for finding in check.of_version(service):
        if finding.severity is Severity.ERROR:
            raise Refused(f"{finding.text}: {finding.fix.removeprefix('# ')}")
    if scope is not None or path:
        return Survey()
    offers = tuple(_offers(service))[:OFFERED]
    found = "" if offers else "the token lists no place for runners"
    return Survey(found, "Where do its runners belong", offers, needed=True, typed="scope")


def _offers(service: GiteaApi) -> Iterator[Offer]:
    # This one tells a wrong token (401) from one without a scope (403): its place is always the owner's own.
    own = _answered(service, "user/actions/runners?limit=1", "list the person's runners")
    for entry in _listed(service, "user/orgs", "list the organisations"):
        name = text(entry.get("username") or entry.get("name"))
        yield Offer(f"the organisation {clean(name)}", {"scope": f"org:{name}"})
    for entry in _listed(service, "user/repos", "list the repositories"):
        name = text(entry.get("full_name"))
        yield Offer(f"the repository {clean(name)}", {"scope": f"repo:{name}"})
    if own is not None:
        yield Offer("all repositories of the token's owner", {"scope": "user"})
    if _answered(service, "admin/actions/runners?limit=1", "list the instance's runners"):
        yield Offer("the whole Gitea", {"scope": "instance"})


def _answered(service: GiteaApi, path: str, operation: str) -> object:
    """The answer; ``None`` where the token may not ask that."""
    reply = service.web.call("GET", f"api/v1/{path}", operation, accept=(200, 403, 404))
    return reply.body if reply.status == 200 else None


def _listed(service: GiteaApi, path: str, operation: str) -> Iterator[Mapping[str, object]]:
    answer = _answered(service, f"{path}?limit=50", operation)
    yield from map(mapping, items(answer) if answer is not None else ())

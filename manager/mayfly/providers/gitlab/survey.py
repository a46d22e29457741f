"""What a token reaches at GitLab: its scopes, and the groups and projects where it may make runners.

A personal access token tells of itself (`GET /personal_access_tokens/self`, GitLab 15.5 and newer); the
groups of which its owner is an Owner and the projects that they maintain want the scope `read_api`. Whether
runners may be made at a place is tried: one is made, paused, and deleted at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from mayfly.edge.faults import Refused
from mayfly.edge.service_json import integer, items, mapping, text
from mayfly.edge.web import clean
from mayfly.providers.gitlab.access import Access as PoolAccess
from mayfly.providers.gitlab.service import GitLabApi, place_of
from mayfly.providers.gitlab.settings import GitLabSettings
from mayfly.providers.setting_up import OFFERED, Access, Offer, Survey

MAKING = ("create_runner", "manage_runner")
OWNER, MAINTAINER = "50", "40"  # access levels
TRIAL = {
    "description": "made by `mayfly init` to see that it may, and deleted at once",
    "paused": True,
    "run_untagged": False,
    "tag_list": ["mayfly-init"],
}


def survey(access: Access) -> Survey:
    """Where runners may be made; ``Refused`` where the token is not taken, or has not the scopes."""
    scope = access.keys.get("scope")
    settings = GitLabSettings(access.url, access.secret, scope)
    pool = PoolAccess(access.pool, settings, time.time)
    secret = pool.secret()
    if pool.shared:
        pool.service.verify(secret, None)
        return Survey("the token is a runner's own, which all slots share")
    parts = urlsplit(access.url)
    service = pool.at(access.url.rstrip("/") if scope else f"{parts.scheme}://{parts.netloc}")
    scopes = _scopes(service)
    if scopes is not None:
        _see_scopes(scopes, service)
    if scope is not None or parts.path.strip("/"):
        return _named(pool, service, scope, trial=access.trial)
    offers = tuple(_offers(service))[:OFFERED]
    found = "" if scopes is None else f"the token has the scopes {', '.join(map(clean, scopes))}"
    if not offers:
        found = f"{found}; it lists no group and no project (read_api)".removeprefix("; ")
    return Survey(found, "Where do its runners belong", offers, needed=True, typed="scope")


def _scopes(service: GitLabApi) -> list[str] | None:
    """The token's scopes; ``None`` where GitLab is too old to say."""
    reply = service.web.call(
        "GET",
        "personal_access_tokens/self",
        "see what the token may",
        accept=(200, 400, 404),
    )
    if reply.status != 200:
        return None
    return [text(scope) for scope in items(mapping(reply.body).get("scopes"))]


def _see_scopes(scopes: list[str], service: GitLabApi) -> None:
    lacking = [scope for scope in MAKING if scope not in scopes]
    if "api" not in scopes and lacking:
        raise Refused(
            f"the token may make no runners at {service.web.host}: it lacks the scopes "
            f"{' and '.join(lacking)}: make one with create_runner, manage_runner and read_api"
        )


def _named(pool: PoolAccess, service: GitLabApi, scope: str | None, *, trial: bool) -> Survey:
    """See that runners may be made there: only making one tells."""
    place = place_of(scope) if scope is not None else pool.place
    if trial:
        service.delete(service.make(place, TRIAL).id)
    return Survey()


def _offers(service: GitLabApi) -> Iterator[Offer]:
    for kind, level, name in (
        ("group", OWNER, "full_path"),
        ("project", MAINTAINER, "path_with_namespace"),
    ):
        for entry in _listed(service, f"{kind}s", level):
            number = integer(entry.get("id"))
            shown = f"the {kind} {clean(text(entry.get(name)))}"
            yield Offer(shown, {"scope": f"{kind}:{number}"})


def _listed(service: GitLabApi, path: str, level: str) -> list[Mapping[str, object]]:
    """The first hundred in which the token's owner has that access level."""
    query = {"min_access_level": level, "per_page": "100"}
    reply = service.web.call("GET", path, f"list the {path}", query=query, accept=(200, 403))
    return [mapping(entry) for entry in items(reply.body)] if reply.status == 200 else []

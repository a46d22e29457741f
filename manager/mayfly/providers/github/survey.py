"""What a token, or an App, reaches at GitHub: organisations, repositories, runner groups.

Of a place that has a name only the runner groups are asked. Where none was named, the token's owner's
organisations and repositories are listed (`GET /user/orgs`, `GET /user/repos`), or where the App is installed
(`GET /app/installations`); a list that the token may not see is empty, and a place can be typed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from mayfly.edge.faults import Refused
from mayfly.edge.service_json import items, mapping, text
from mayfly.edge.web import clean
from mayfly.providers.github.connection import Connection
from mayfly.providers.github.groups import Groups
from mayfly.providers.github.settings import GitHubApp, GitHubSettings
from mayfly.providers.setting_up import OFFERED, Access, Offer, Survey

HOSTED = "GitHub Actions"  # the group of GitHub's own runners
UNNAMED = "-"  # no place is called so: with it the API's address is found


def survey(access: Access) -> Survey:
    """What is left to be chosen; ``Refused`` where the token or the App is not taken."""
    site = access.url.rstrip("/")
    if not urlsplit(site).path.strip("/"):
        return _places(access, site)
    connection = _connection(access, site)
    if connection.place.kind != "organisation" or "runner_group" in access.keys:
        return Survey()
    return _groups(connection)


def _connection(access: Access, url: str) -> Connection:
    app = GitHubApp(access.app, access.secret) if access.app is not None else None
    settings = GitHubSettings(url, None if app is not None else access.secret, app)
    return Connection(access.pool, settings, time.time)


def _groups(connection: Connection) -> Survey:
    """The runner groups of an organisation; only GitHub's larger plans have more than one."""
    reply = connection.call(
        "GET",
        f"{connection.place.path}/actions/runner-groups",
        "list the runner groups",
        query={"per_page": "1"},
        accept=(200, 403, 404),
    )
    if reply.status != 200:
        return Survey()  # who may not see them may still register; the check tells
    # The first is what is taken where nobody is asked: the one that GitHub itself would take.
    groups = sorted(Groups(connection, None).all(), key=lambda one: one.get("default") is not True)
    own = [name for name in (text(one.get("name")) for one in groups) if name != HOSTED]
    if len(own) < 2:
        return Survey()
    offers = tuple(Offer(clean(name), {"runner_group": name}) for name in own[:OFFERED])
    found = f"{connection.place.web} has {len(own)} runner groups"
    return Survey(found, "Which runner group", offers, typed="runner_group")


def _places(access: Access, site: str) -> Survey:
    connection = _connection(access, f"{site}/{UNNAMED}")
    if access.app is not None:
        accounts = connection.installations()
        if not accounts:
            raise Refused(
                f"the GitHub App {clean(access.app)} is installed nowhere: install it at your organisation "
                "(its settings, Install App), then run `mayfly init` again"
            )
        found = f"the App is installed at {', '.join(map(clean, accounts[:5]))}"
        names = accounts
    else:
        user = mapping(connection.call("GET", "user", "see whose the token is").body)
        found = f"the token is {clean(text(user.get('login')))}'s"
        names = [*_organisations(connection), *_repositories(connection)]
    offers = tuple(Offer(clean(name), {"url": f"{site}/{name}"}) for name in names[:OFFERED])
    return Survey(found, "Whose runners are they to be", offers, needed=True, typed="url")


def _organisations(connection: Connection) -> Iterator[str]:
    for entry in _listed(connection, "user/orgs", "list the organisations"):
        yield text(entry.get("login"))


def _repositories(connection: Connection) -> Iterator[str]:
    """Those that the token's owner administers: nobody else registers runners there."""
    query = {"sort": "pushed"}
    for entry in _listed(connection, "user/repos", "list the repositories", query):
        may = entry.get("permissions")
        if isinstance(may, dict) and may.get("admin") is True:
            yield text(entry.get("full_name"))


def _listed(
    connection: Connection, path: str, operation: str, query: Mapping[str, str] | None = None
) -> Iterator[Mapping[str, object]]:
    """The first hundred."""
    reply = connection.call(
        "GET",
        path,
        operation,
        query={"per_page": "100", **(query or {})},
        accept=(200, 403, 404),
    )
    if reply.status == 200:
        yield from map(mapping, items(reply.body))

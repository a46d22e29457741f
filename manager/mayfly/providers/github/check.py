"""What the doctor is told of a pool at GitHub: what is unwise, and what lags behind."""

from __future__ import annotations

from collections.abc import Iterator

from mayfly.core.client_release import is_older, newest
from mayfly.core.model import Severity
from mayfly.edge.service_json import mapping, text
from mayfly.edge.web import clean
from mayfly.providers import Finding
from mayfly.providers.github.client_release import handed_out, path_of
from mayfly.providers.github.connection import Connection
from mayfly.providers.github.groups import Groups

SKEW_TOLD = 30.0


def findings(connection: Connection, groups: Groups, versions: frozenset[str]) -> Iterator[Finding]:
    """What is unwise; ``versions`` are those of our runners."""
    yield from _about_clock(connection)
    yield from _about_public(connection, groups)
    yield from _about_version(connection, versions)


def _about_clock(connection: Connection) -> Iterator[Finding]:
    skew = connection.web.skew
    if skew is not None and abs(skew) > SKEW_TOLD:
        way = "behind" if skew > 0 else "ahead of"
        yield Finding(
            Severity.WARNING,
            f"this host's clock is {abs(skew):.0f} s {way} GitHub's, which refuses runners for that",
            "sudo timedatectl set-ntp true",
        )


def _about_public(connection: Connection, groups: Groups) -> Iterator[Finding]:
    """Anybody who may open a pull request can run code on a public repository's runners."""
    fix = "# use a private repository, or a group that public repositories may not use"
    if connection.place.kind == "repository":
        reply = connection.call(
            "GET", connection.place.path, "look at the repository", accept=(200, 403, 404)
        )
        if reply.status == 200 and mapping(reply.body).get("private") is False:
            what = f"{connection.place.name} is public: any pull request can run code on this host"
            yield Finding(Severity.WARNING, what, fix)
        return
    number = groups.number()
    for group in groups.all():
        if group.get("id") == number and group.get("allows_public_repositories") is True:
            name = clean(text(group.get("name")))
            what = (
                f'group "{name}" is open to public repositories: any pull request can run code here'
            )
            yield Finding(Severity.WARNING, what, fix)


def _about_version(connection: Connection, versions: frozenset[str]) -> Iterator[Finding]:
    """Whether the image's runner is the one that GitHub hands out."""
    reply = connection.call(
        "GET", path_of(connection), "look at the newest runner", accept=(200, 403, 404)
    )
    offered = newest(handed_out(reply.body)) if reply.status == 200 else None
    for version in sorted(versions) if offered is not None else ():
        if is_older(version, offered or ""):
            yield Finding(
                Severity.WARNING,
                f"the image's runner is {clean(version)}, GitHub hands out {offered}; a runner that is a "
                "month behind gets no jobs",
                "sudo mayfly images refresh --newest",
            )

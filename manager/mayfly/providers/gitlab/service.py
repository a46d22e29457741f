"""GitLab's REST as one pool uses it: runners by a personal access token, and by their own tokens.

Calls only, and what their answers mean; what is made, kept and deleted when is decided in gitlab.py. The
scopes that a call wants are those of the server's ``lib/api/ci/runners.rb`` and ``lib/api/user_runners.rb``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from mayfly.core.model import PoolSpec
from mayfly.core.quantities import moment
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import Pages, integer, items, mapping, text
from mayfly.edge.web import Budget, ServiceReply, Web

WHERE = 'say where its runners belong: scope = "group:ID", "project:ID" or "instance"'
DAY = len("2027-11-29")
_OWNERS = {
    "instance": "an administrator of the instance",
    "group": "an Owner of the group",
    "project": "a Maintainer of the project",
}


@dataclass(frozen=True, slots=True)
class GitLabScope:
    """Where a pool's runners belong."""

    kind: Literal["instance", "group", "project"]
    id: int | None  # None: the instance

    @property
    def list_path(self) -> str:
        """The path of the list of its runners."""
        return "runners/all" if self.id is None else f"{self.kind}s/{self.id}/runners"

    @property
    def body(self) -> dict[str, object]:
        """What the call that makes a runner wants to know of it."""
        kind: dict[str, object] = {"runner_type": f"{self.kind}_type"}
        return kind if self.id is None else {**kind, f"{self.kind}_id": self.id}

    def __str__(self) -> str:
        """As ``scope`` has it."""
        return self.kind if self.id is None else f"{self.kind}:{self.id}"


def place_of(scope: str) -> GitLabScope:
    """What a pool's ``scope`` names."""
    if scope == "instance":
        return GitLabScope("instance", None)
    match = re.fullmatch(r"(group|project):([0-9]+)", scope)
    if match is None:
        raise Refused(f'`scope` {scope!r} is none of "group:ID", "project:ID" and "instance"')
    return GitLabScope("group" if match[1] == "group" else "project", int(match[2]))


@dataclass(frozen=True, slots=True)
class Issued:
    """A runner's token as GitLab gave it; ``id`` is the runner's."""

    id: int
    token: Secret
    expires: float | None  # None: never


class GitLabApi:
    """The instance at one address, as one pool speaks with it."""

    def __init__(
        self,
        base: str,
        pool: PoolSpec,
        calls_per_hour: int,
        secret: Callable[[], Secret],
        clock: Callable[[], float],
    ) -> None:
        self.base = base
        self._whose = f'pool "{pool.name}"'
        self._lists = True  # whether the token may list runners
        self.web = Web(
            f"{base}/api/v4",
            "GitLab",
            self._whose,
            keys="`scope` or `url`",
            authorise=lambda: {"PRIVATE-TOKEN": secret()},
            budget=Budget(calls_per_hour),
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
            ca=pool.ca,
            clock=clock,
        )

    # -- places --------------------------------------------------------------------------------------

    def look_up(self, path: str) -> GitLabScope:
        """The group or project of that path; wants ``read_api``."""
        if not path:
            raise Refused(f"`url` of {self._whose} names no group or project: {WHERE}")
        kinds: tuple[Literal["group", "project"], ...] = ("group", "project")
        for kind in kinds:
            place = f"{kind}s/{quote(path, safe='')}"
            reply = self.web.call(
                "GET", place, f"look for the {kind} {path}", accept=(200, 403, 404)
            )
            if reply.status == 200:
                return GitLabScope(kind, integer(mapping(reply.body).get("id")))
            if reply.status == 403:
                raise Refused(
                    f"the token of {self._whose} may not look for {path} (read_api): {WHERE}"
                )
        raise Refused(f"GitLab at {self.web.host} has no group or project {path}: check `url`")

    def own_end(self) -> float | None:
        """When the token that asks ends: ``None``: never, or GitLab does not tell it."""
        path, what = "personal_access_tokens/self", "see when the token ends"
        reply = self.web.call("GET", path, what, accept=(200, 400, 401, 403, 404))
        day = mapping(reply.body).get("expires_at") if reply.status == 200 else None
        # GitLab lets it end as that day begins, by its own clock (UTC).
        return moment(f"{day}T00:00:00Z") if isinstance(day, str) and len(day) == DAY else None

    # -- runners, by a person's token ------------------------------------------------------------------

    def runners(self, place: GitLabScope, tag: str) -> list[Mapping[str, object]] | None:
        """The place's runners that bear the tag; ``None`` where the token may not list runners."""
        if not self._lists:
            return None
        found: list[Mapping[str, object]] = []
        pages = Pages()
        path: str | None = f"{place.list_path}?tag_list={quote(tag)}&per_page=100"
        while path is not None:
            reply = self.web.call("GET", path, "list the runners", accept=(200, 403))
            if reply.status == 403:
                if not insufficient(reply):
                    raise self.web.fault(reply, "list the runners")
                self._lists = False
                return None
            found += pages.entries(reply.content, reply.body)
            path = reply.next_page
        return found

    def answer(self, place: GitLabScope, tag: str, known: Sequence[int]) -> None:
        """Ask for one runner of the place's, or for one that is ``known`` where the token may list none."""
        if not self._lists:
            for number in known[:1]:
                self.runner(number)
            return
        path = f"{place.list_path}?tag_list={quote(tag)}&per_page=1"
        self.web.call("GET", path, "list one runner", accept=(200, 403))

    def runner(self, number: int) -> Mapping[str, object] | None:
        """A runner's particulars; ``None`` where it is gone."""
        reply = self.web.call("GET", f"runners/{number}", "look at a runner", accept=(200, 404))
        return mapping(reply.body) if reply.status == 200 else None

    def make(self, place: GitLabScope, body: Mapping[str, object]) -> Issued:
        """A new runner; its token is given this once."""
        what = "make a runner"
        reply = self.web.call(
            "POST", "user/runners", what, body={**place.body, **body}, accept=(201, 400, 403)
        )
        if reply.status == 400:
            raise self._unwanted(reply, what)
        if reply.status == 403:
            raise self._unallowed(reply, place)
        made = mapping(reply.body)
        return Issued(integer(made.get("id")), *_token(made))

    def change(self, number: int, body: Mapping[str, object]) -> bool:
        """Change a runner; False where it is gone."""
        what = "set up a runner"
        reply = self.web.call("PUT", f"runners/{number}", what, body=body, accept=(200, 400, 404))
        if reply.status == 400:
            raise self._unwanted(reply, what)
        return reply.status == 200

    def rotate(self, number: int) -> Issued | None:
        """A new token in place of the runner's old one; ``None`` where the runner is gone."""
        reply = self.web.call(
            "POST",
            f"runners/{number}/reset_authentication_token",
            "rotate a runner's token",
            accept=(201, 404),
        )
        return Issued(number, *_token(mapping(reply.body))) if reply.status == 201 else None

    def delete(self, number: int) -> None:
        """Delete a runner; gone already is success."""
        self.web.call("DELETE", f"runners/{number}", "delete a runner", accept=(204, 404))

    def running(self, number: int, system_id: str | None) -> list[Mapping[str, object]]:
        """The jobs that GitLab says run on the runner, of that manager alone where one is given.

        None where the runner is gone, none of projects that the token's owner may not see, and none that
        the runner has not acknowledged.
        """
        path = f"runners/{number}/jobs?status=running"
        path += f"&system_id={system_id}" if system_id is not None else ""
        reply = self.web.call("GET", path, "list a runner's jobs", accept=(200, 404))
        return [mapping(job) for job in items(reply.body)] if reply.status == 200 else []

    def managers(self, number: int) -> list[Mapping[str, object]]:
        """Who has used the runner's token; nobody where it is gone."""
        path = f"runners/{number}/managers?per_page=100"
        reply = self.web.call("GET", path, "list a runner's managers", accept=(200, 404))
        return [mapping(one) for one in items(reply.body)] if reply.status == 200 else []

    def version(self) -> str | None:
        """What the server says of its version; ``None`` where the token may not ask."""
        reply = self.web.call("GET", "version", "tell its version", accept=(200, 401, 403, 404))
        found = mapping(reply.body).get("version") if reply.status == 200 else None
        return found if isinstance(found, str) else None

    # -- runners, by their own token -------------------------------------------------------------------

    def takes(self, token: Secret, system_id: str | None) -> ServiceReply:
        """What GitLab says of a runner's token: 200, or why not."""
        body: dict[str, object] = {"token": token}
        if system_id is not None:
            body["system_id"] = system_id
        return self.web.call(
            "POST",
            "runners/verify",
            "verify a runner's token",
            body=body,
            headers={},
            accept=(200, 403, 404, 410, 422),
        )

    def verify(self, token: Secret, system_id: str | None) -> float | None:
        """When a runner's token expires (``None``: never); ``Refused`` where it is worth nothing."""
        reply = self.takes(token, system_id)
        if reply.status == 200:
            return moment(mapping(reply.body).get("token_expires_at"))
        if reply.status == 404:
            raise Refused(
                f"there is no GitLab at {self.base}: `url` of {self._whose} is to be its own address"
            )
        raise Refused(
            f"GitLab at {self.web.host} does not take the runner's token of {self._whose} "
            f"({reply.status}): it was revoked, has expired, or its runner was deleted; put a valid one "
            "where `token` points"
        )

    def delete_by_token(self, token: Secret) -> None:
        """Have a runner delete itself; gone already is success."""
        self.web.call(
            "DELETE",
            "runners",
            "delete a runner that is not used any more",
            body={"token": token},
            headers={},
            accept=(200, 202, 204, 403, 404),
        )

    # -- sentences ---------------------------------------------------------------------------------------

    def _unwanted(self, reply: ServiceReply, operation: str) -> Refused:
        if "tag" not in reply.said:
            return Refused(str(self.web.fault(reply, operation)))
        return Refused(
            f"GitLab refused the tags of {self._whose} when asked to {operation}: {reply.said}; set `labels`"
        )

    def _unallowed(self, reply: ServiceReply, place: GitLabScope) -> Refused:
        """Why no runner may be made: the token's scopes, or its owner's role."""
        if insufficient(reply):
            return Refused(
                f"the token of {self._whose} may make no runners at {self.web.host}: give it the scopes "
                "create_runner and manage_runner"
            )
        there = "" if place.kind == "instance" else "that it is there, and "  # (403 is for both)
        return Refused(
            f"the token of {self._whose} may make no runners for {place} at {self.web.host}: see {there}"
            f"that the token belongs to {_OWNERS[place.kind]}"
        )


def insufficient(reply: ServiceReply) -> bool:
    """Whether the answer says that the token's scopes do not reach so far."""
    return isinstance(reply.body, dict) and reply.body.get("error") == "insufficient_scope"


def _token(body: Mapping[str, object]) -> tuple[Secret, float | None]:
    return Secret(text(body.get("token"))), moment(body.get("token_expires_at"))

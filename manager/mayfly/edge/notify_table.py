"""``[[host.notify]]``: its keys, and what of them is said of one target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mayfly.core.notice_targets import MailTarget, Target
from mayfly.core.notices import template_fault
from mayfly.edge import config_values as values
from mayfly.edge.config_types import (
    AbsolutePath,
    PlainText,
    Reference,
    Table,
    form,
    key,
    said,
)
from mayfly.edge.sources import Where

ADDRESS = r"[A-Za-z0-9.!#$%&'*+/=?^_`{}|~-]{1,64}@[A-Za-z0-9.-]{1,253}"
Mailbox = Annotated[str, form(ADDRESS, "is not a mail address")]
MailServer = Annotated[
    str, form(r"\S{1,253}:[0-9]{1,5}", 'is not a host and a port, "mail.lab.example:587"')
]
NameText = Annotated[
    str, form(r"[a-z0-9][a-z0-9-]{0,62}", "must be lower-case letters, digits and -")
]


def _address(value: object) -> object:
    """An address as it is, or where it is."""
    if isinstance(value, dict):
        return values.reference(value)
    return values.url("https", "http")(value)


def _template(value: object) -> object:
    if isinstance(value, str) and (fault := template_fault(value)):
        raise ValueError(fault)
    return value


To = Annotated[str | dict[str, str], BeforeValidator(_address)]
Template = Annotated[str, Field(max_length=4000), BeforeValidator(_template)]
OR_A_FILE = ', or { file = "/path" } where the address is a secret'


class MailTable(Table):
    """A mail server, and whom it writes to."""

    server: MailServer = Field(description='its host and port, "mail.lab.example:587"')
    tls: Literal["starttls", "tls", "none"] = key(
        MailTarget,
        "tls",
        "how it is encrypted: after a greeting, from the start (port 465), or not at all",
    )
    user: PlainText | None = key(MailTarget, "user", "as whom to log in; absent: nobody")
    password: Reference | None = key(MailTarget, "password", "where that user's password is")
    sender: Mailbox = Field(description="the address that it comes from")
    to: list[Mailbox] = Field(
        min_length=1,
        max_length=50,
        description='who gets it, ["ops@lab.example"]; {user} in one stands for the job\'s owner',
    )


class NotifyTable(Table):
    """Somebody who is told when a condition stands and when it is over, or when a job has ended."""

    name: NameText = Field(description="what `mayfly notify test` and `status` call it")
    webhook: To | None = Field(default=None, description="gets JSON by POST" + OR_A_FILE)
    ntfy: To | None = Field(
        default=None, description='a topic, "https://ntfy.lab.example/mayfly"' + OR_A_FILE
    )
    slack: To | None = Field(
        default=None, description="an incoming webhook of Slack, or what is compatible" + OR_A_FILE
    )
    mail: MailTable | None = Field(default=None, description="mail by SMTP")
    token: Reference | None = key(
        Target, "token", "where the token is that is sent as `Authorization: Bearer …`"
    )
    ca: AbsolutePath | None = key(
        Target, "ca", "a PEM file of authorities that are trusted beside the system's"
    )
    conditions: Literal["error", "warning", "none"] = key(
        Target, "conditions", "of which conditions: errors, also warnings, or none"
    )
    jobs: Literal["failed", "all", "none"] = key(
        Target, "jobs", "of which ends of the embedded queue's jobs"
    )
    reservations: bool = key(
        Target, "reservations", "that a reservation begins, ends soon, is not used, or is over"
    )
    users: list[PlainText] = key(
        Target, "users", "whose jobs and reservations; absent: everybody's"
    )
    pools: list[PlainText] = key(
        Target, "pools", "of which pools; absent: of all, and of the host itself"
    )
    title: Template = key(Target, "title", "a template of one line, in place of Mayfly's own")
    text: Template = key(Target, "text", "a template of the rest, in place of Mayfly's own")


def target(table: NotifyTable) -> Target:
    """The target that a table is about, whatever is wrong with it."""
    mail = table.mail
    return Target(mail=None if mail is None else MailTarget(**said(mail)), **said(table, "mail"))


def wrong(tables: Iterable[NotifyTable], pools: Iterable[str]) -> Iterator[tuple[Where, str]]:
    """What contradicts itself, or names what is not there."""
    known, seen = frozenset(pools), set[str]()
    for index, table in enumerate(tables):
        where: Where = ("host", "notify", index)
        if table.name in seen:
            yield (*where, "name"), f"{table.name} is the name of an earlier one"
        seen.add(table.name)
        ways = target(table).ways
        if len(ways) != 1:
            named = "none is" if not ways else f"{' and '.join(ways)} are"
            yield where, f"wants one of webhook, ntfy, slack and mail, and {named} there"
        of_people = table.jobs != "none" or table.reservations
        if table.conditions == "none" and not of_people:
            yield where, "is told nothing: set `conditions`, `jobs` or `reservations`"
        for pool in table.pools:
            if pool not in known:
                yield (*where, "pools"), f'there is no pool "{pool}"'
        if table.users and not of_people:
            yield (*where, "users"), "are of jobs: set `jobs` or `reservations`, too"
        yield from _of_mail(where, table)


def _of_mail(where: Where, table: NotifyTable) -> Iterator[tuple[Where, str]]:
    mail = table.mail
    if mail is None:
        return
    if table.token is not None:
        yield (*where, "token"), "is of HTTP: mail has `user` and `password`"
    if (mail.user is None) is not (mail.password is None):
        yield (*where, "mail"), "`user` and `password` come together"
    if mail.user is not None and mail.tls == "none":
        yield (*where, "mail", "tls"), "everybody on the way could read the password"
    port = int(mail.server.rpartition(":")[2])
    if not 0 < port < 65536:
        yield (*where, "mail", "server"), f"{port} is no port"
    for_owners = [address for address in mail.to if "{" in address or "}" in address]
    for address in for_owners:
        if address.replace("{user}", "").strip("{}") != address.replace("{user}", ""):
            yield (*where, "mail", "to"), f"{address}: only {{user}} is known there"
    if for_owners and table.jobs == "none" and not table.reservations:
        text = "{user} is the owner of a job: set `jobs` or `reservations`, too"
        yield (*where, "mail", "to"), text

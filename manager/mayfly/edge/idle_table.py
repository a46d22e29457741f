"""``[host.idle]``: its keys, and what of them is said of one host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field

from mayfly.core.idle_settings import IdleSettings
from mayfly.edge import config_values as values
from mayfly.edge.config_types import (
    AbsolutePath,
    Reference,
    Second,
    SecondToHour,
    Table,
    TimeLimit,
    form,
    key,
    said,
)
from mayfly.edge.sources import Where

Word = Annotated[str, form(r"[^\0]{1,4096}", "is empty, too long, or has a zero byte")]
Currency = Annotated[str, form(r"[A-Za-z]{1,8}|[$€£¥]", 'is no currency as in "EUR" or "$"')]


def _words(value: object) -> object:
    if isinstance(value, str):
        raise ValueError('must be a list of words, ["/usr/local/sbin/pause-host", "--now"]')
    return value


def _address(value: object) -> object:
    """An address as it is, or where it is."""
    if isinstance(value, dict):
        return values.reference(value)
    return values.url("https", "http")(value)


Words = Annotated[list[Word], Field(max_length=64), BeforeValidator(_words)]


class IdleTable(Table):
    """A host that has nothing to do is paused or stopped."""

    after: Second = key(
        IdleSettings, "after", "how long there has to be nothing to do, a second at the least", ge=1
    )
    command: Words = key(
        IdleSettings,
        "command",
        'what pauses or stops the host, a program and its words, ["/usr/local/sbin/pause-host"]; run as the '
        "manager's user",
    )
    webhook: Annotated[str | dict[str, str], BeforeValidator(_address)] | None = key(
        IdleSettings,
        "webhook",
        'gets JSON by POST instead; or { file = "/path" } where the address is a secret',
    )
    token: Reference | None = key(
        IdleSettings, "token", "where the token is that is sent as `Authorization: Bearer …`"
    )
    ca: AbsolutePath | None = key(
        IdleSettings, "ca", "a PEM file of authorities that are trusted beside the system's"
    )
    timeout: SecondToHour = key(
        IdleSettings,
        "timeout",
        "how long `command`, `webhook` and `veto` may take, each",
        ge=1,
        le=3600,
    )
    veto: Words = key(
        IdleSettings,
        "veto",
        "a program that is asked before: the host stays up while it ends with anything but 0",
    )
    logins: TimeLimit = key(
        IdleSettings,
        "logins",
        "somebody who is logged in and has used their terminal within so long keeps the host up; "
        '"none": nobody does',
    )
    gone_within: Second = key(
        IdleSettings,
        "gone_within",
        "how long after the command the host may still be up; then gates are opened again",
        ge=1,
    )
    price_per_hour: Annotated[float, Field(ge=0, le=1e9)] | None = key(
        IdleSettings,
        "price_per_hour",
        "what an hour costs while the host is up, for `mayfly report`",
    )
    currency: Currency | None = key(IdleSettings, "currency", 'of that price, "EUR"')


def idle(table: IdleTable | None) -> IdleSettings | None:
    """What the table is about, whatever is wrong with it."""
    return None if table is None else IdleSettings(**said(table))


def wrong(table: IdleTable | None, engine: str, elsewhere: str) -> Iterator[tuple[Where, str]]:
    """What contradicts itself; ``elsewhere``: the engine whose hosts are not this one."""
    if table is None:
        return
    where: Where = ("host", "idle")
    if engine == elsewhere:
        yield where, "is about one host, and a cluster has many: its own autoscaler knows them"
    if bool(table.command) == (table.webhook is not None):
        named = "both are" if table.command else "neither is"
        yield where, f"wants one of `command` and `webhook`, and {named} there"
    if table.webhook is None:
        for name in ("token", "ca"):
            if getattr(table, name) is not None:
                yield (*where, name), "is of `webhook`, and there is none"
    if table.currency and table.price_per_hour is None:
        yield (*where, "currency"), "is of `price_per_hour`, and there is none"

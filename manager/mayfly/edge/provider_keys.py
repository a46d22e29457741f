"""The table ``[pool.NAME]`` of one provider, as its package describes it.

What its keys mean is known in that package alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any
from urllib.parse import urlsplit

from mayfly.edge.config_types import Table, said
from mayfly.edge.sources import Where

Sentences = Iterator[tuple[Where, str]]  # a key of the table, and what is wrong with it


def no_sentences(_: object) -> Sentences:
    """Nothing is wrong."""
    return iter(())


def never(_: object) -> bool:
    """By no settings."""
    return False


@dataclass(frozen=True, slots=True, eq=False)
class ProviderKeys:
    """How one provider's keys are read."""

    name: str
    embedded: bool = False
    # the repository of its agents' images; None: Mayfly builds them
    images: str | None = None
    # None: it has no keys of its own
    table: type[Table] | None = None
    # what the table is read into: a frozen dataclass, opaque outside of the package
    settings: Callable[..., Any] | None = None
    # contradictions between keys, each of which is right by itself
    problems: Callable[[Any], Sentences] = no_sentences
    # what this installation lacks for those settings
    lacks: Callable[[Any], Sentences] = no_sentences
    # whether by those settings an agent is never enrolled before there is a job for it
    hands_out: Callable[[Any], bool] = never
    # keys that stood in the pool itself once, and where they stand in the table now
    flat: Mapping[str, Where] = field(default_factory=dict)
    # keys that stood in the pool itself once and meant nothing to this provider
    ignored: frozenset[str] = frozenset()

    def read(self, table: Table | None) -> tuple[object, tuple[tuple[Where, str], ...]]:
        """The settings, and what is wrong; they are ``None`` where something is, or there are no keys."""
        if self.table is None or self.settings is None:
            return None, ()
        table = table if table is not None else self.table()
        wrong = tuple(self.problems(table))
        return (None if wrong else self.settings(**said(table))), wrong


def unencrypted(table: Table | None) -> Sentences:
    """What is wrong with addresses of the service over which a token would leave this host in clear text."""
    for name in table.model_fields_set if table is not None else ():
        value = getattr(table, name)
        # A package beside Mayfly may read an address that is spelt in another way than `ServiceUrl` allows.
        plain = isinstance(value, str) and value.lstrip().lower().startswith("http:")
        if plain and not _of_this_host(value):
            text = "is not https: everybody on the way could read the token; if it has to be"
            yield (name,), f"{text}, say plain_http = true in the pool"


def _of_this_host(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def secrets_of(settings: object) -> Iterator[Mapping[str, str]]:
    """The references to secrets in a provider's settings: fields that their dataclass marks as such."""
    if settings is None or not is_dataclass(settings):
        return
    for one in fields(settings):
        value = getattr(settings, one.name)
        if one.metadata.get("secret") and value is not None:
            yield value
        else:
            yield from secrets_of(value)
